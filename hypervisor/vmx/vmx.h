/* SPDX-License-Identifier: MIT */
/* What the files of the VMX backend share. */
#ifndef VENEER_VMX_H
#define VENEER_VMX_H

#include "../core/vcpu.h"
#include "vmcs.h"

/* The controls of a CPU. */
struct vmx_controls {
	u32 pin, primary, secondary, exit, entry;
};

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

/* Fill in a refusal; returns its error. */
static inline int vmx_refuse(struct refusal *refusal, int error, const char *reason, u64 detail)
{
	*refusal = (struct refusal){ .error = error, .reason = reason, .detail = detail };
	return error;
}

/* Filling the VMCS: a field that is refused is remembered. */
static inline void vmx_set(struct vmx_cpu *vmx, u64 field, u64 value)
{
	if (!vmcs_write_safe(field, value))
		vmx->refused_field = field;
}

/* capabilities.c: the controls for this CPU from its capability MSRs, or what it lacks. */
int vmx_examine(struct refusal *refusal);
int vmx_find_controls(struct vmx_controls *controls, struct refusal *refusal);

/* ept.c: the identity map that all CPUs share; 0, or a negative errno. */
int vmx_build_ept(u64 *ept_pointer);
/* In host mode: the memory types are those of this CPU's MTRRs, read now. */
void vmx_change_memory_types(struct vcpu *vcpu);

/* setup.c */
int vmx_allocate(struct vcpu *vcpu);
int vmx_enable(struct vcpu *vcpu, struct refusal *refusal);
void vmx_disable(struct vcpu *vcpu);
int vmx_enter(struct vcpu *vcpu, struct refusal *refusal);

/* state.c: fill the VMCS that is current. */
void vmx_fill_guest_state(const struct vcpu *vcpu);
void vmx_fill_host_state(struct vcpu *vcpu);

/* leave.c: continue as the guest without VMX; return to vmx_launch() after a refused entry. */
__attribute__((noreturn)) void vmx_leave(struct vcpu *vcpu);
__attribute__((noreturn)) void vmx_return_from_failed_entry(struct vcpu *vcpu);

/* entry_checks.c: which rule of VM entry the VMCS breaks, as text; "" if it is none that we know. */
void vmx_find_broken_rules(const struct vcpu *vcpu, char *buffer, size_t size);

/* reset.c: INIT and SIPI (SDM 3A 9.1.4, 9.4.4). */
void vmx_reset(struct vcpu *vcpu);
void vmx_start(struct vcpu *vcpu);

/* enter.S */
enum vmx_launch_result {
	VMX_IN_GUEST_MODE,
	/* VMLAUNCH failed with VMfailInvalid or VMfailValid; nothing has changed. */
	VMX_FAILED,
	/*
	 * VM entry was refused after the host state was loaded; vmx_return_from_failed_entry()
	 * returned here.
	 */
	VMX_ENTRY_REFUSED,
};
int vmx_launch(struct vcpu *vcpu);
extern const char vmx_exited[], vmx_entry_refused[];

/* unblock_nmis.S: unblock NMIs after an exit by an NMI. */
void vmx_unblock_nmis(void);

/* exit.c: called by enter.S with all GPRs but RSP in struct vcpu; does not return when Veneer leaves this CPU. */
void vmx_handle_exit(struct vcpu *vcpu);
/* VMRESUME has failed. */
__attribute__((noreturn)) void vmx_resume_failed(struct vcpu *vcpu);

#endif
