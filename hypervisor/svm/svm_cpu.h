/* SPDX-License-Identifier: MIT */
/* What the SVM backend keeps of a CPU. */
#ifndef VENEER_SVM_CPU_H
#define VENEER_SVM_CPU_H

#include "../core/vcpu.h"
#include "vmcb.h"

struct svm_cpu {
	void *host_save_area;
	u64 host_save_area_physical;
	/* VM_HSAVE_PA before Veneer was loaded. */
	u64 old_host_save_area;
	/* Built once, used by every CPU. */
	u64 nested_cr3, msrpm;
	/* Whether a VMRUN has succeeded since SVM was enabled. */
	bool launched;
};

static inline struct svm_cpu *svm_of(const struct vcpu *vcpu)
{
	return vcpu->backend_data;
}

#endif
