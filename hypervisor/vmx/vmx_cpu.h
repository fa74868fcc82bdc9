/* SPDX-License-Identifier: MIT */
/* What the VMX backend keeps of a CPU. */
#ifndef VENEER_VMX_CPU_H
#define VENEER_VMX_CPU_H

#include "../core/vcpu.h"
#include "capabilities.h"
#include "vmcs.h"

/* An entry of a list of MSRs to store or load (SDM 3C 25.7.2, 25.8.2). */
struct msr_entry {
	u32 number, reserved;
	u64 value;
};

struct vmx_cpu {
	void *vmxon_region, *vmcs;
	/* IA32_PEBS_ENABLE exists; its value in guest mode, and in host mode. */
	bool has_pebs;
	struct msr_entry *msr_lists;
	u64 msr_lists_physical;
	struct vmx_controls controls;
	/*
	 * Guest/host masks: bits of CR0 and CR4 that the guest reads from the read shadow (SDM 3C
	 * 25.6.6).
	 */
	u64 cr0_mask, cr4_mask;
	/* Before Veneer was loaded: VMX operation requires CR0.NE and CR4.VMXE. */
	u64 old_cr0, old_cr4;
	/* IA32_DEBUGCTL before Veneer was loaded, if it exists: Bochs has VMX without it. */
	bool has_debugctl;
	u64 old_debugctl;
	/* Built once, used by every CPU. */
	u64 ept_pointer, msr_bitmap;
	u64 vmcs_physical;
	/* Whether VMREAD and VMWRITE access this CPU's VMCS; whether it has been launched. */
	bool vmcs_is_current, launched;
	/* RIP at which vmx_launch() continues after a refused VM entry. */
	u64 refused_entry_rip;
	/* The last field that VMWRITE refused while the VMCS was being filled; 0: none. */
	u64 refused_field;
};

static inline struct vmx_cpu *vmx_of(const struct vcpu *vcpu)
{
	return vcpu->backend_data;
}

/* Filling the VMCS: a field that is refused is remembered. */
static inline void vmx_set(struct vmx_cpu *vmx, u64 field, u64 value)
{
	if (!vmcs_write_safe(field, value))
		vmx->refused_field = field;
}

#endif
