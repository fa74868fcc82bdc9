/* SPDX-License-Identifier: MIT */
/* What the files of the SVM backend share. */
#ifndef VENEER_SVM_H
#define VENEER_SVM_H

#include "../core/vcpu.h"
#include "vmcb.h"

struct svm_cpu {
	void *host_save_area;
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

/* setup.c */
int svm_examine(struct refusal *refusal);
int svm_allocate(struct vcpu *vcpu);
int svm_enable(struct vcpu *vcpu, struct refusal *refusal);
void svm_disable(struct vcpu *vcpu);
int svm_enter(struct vcpu *vcpu, struct refusal *refusal);
__attribute__((noreturn)) void svm_leave(struct vcpu *vcpu);
/* The first VMRUN was refused: return to svm_launch(), with SVM still enabled. */
__attribute__((noreturn)) void svm_return_from_refused_entry(struct vcpu *vcpu);

/* enter.S: returns 0 in guest mode, 1 outside of it if VMRUN was refused. */
int svm_launch(struct vcpu *vcpu, struct vmcb *vmcb);
extern const char svm_entry_refused[];

/* exit.c: called by enter.S with all GPRs but RSP in struct vcpu; does not return when Veneer leaves this CPU. */
void svm_handle_exit(struct vcpu *vcpu, struct vmcb *vmcb);

#endif
