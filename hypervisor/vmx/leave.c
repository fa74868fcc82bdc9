// SPDX-License-Identifier: MIT
/* Leaving VMX operation, with the guest's state loaded. */
#include "leave.h"

#include "../core/leave.h"
#include "vmx_cpu.h"

/*
 * The MSRs that a VM exit loads from the host-state area or a list, or sets to a fixed value (SDM 3C
 * 28.5.1, 28.6), and that resume_context() does not load, as it does EFER (and DR7).
 */
static void restore_msrs(const struct vmx_cpu *vmx)
{
	if (vmx->has_debugctl)
		write_msr(MSR_DEBUGCTL, vmcs_read(VMCS_GUEST_DEBUGCTL));
	if (vmx->has_pebs)
		write_msr(MSR_PEBS_ENABLE, vmx->msr_lists[0].value);
	write_msr(MSR_PAT, vmcs_read(VMCS_GUEST_PAT));
	write_msr(MSR_SYSENTER_CS, vmcs_read(VMCS_GUEST_SYSENTER_CS));
	write_msr(MSR_SYSENTER_ESP, vmcs_read(VMCS_GUEST_SYSENTER_ESP));
	write_msr(MSR_SYSENTER_EIP, vmcs_read(VMCS_GUEST_SYSENTER_EIP));
}

/*
 * While it was the guest the OS has flushed only translations tagged with the guest's VPID. A
 * change of CR4.PGE flushes the others (SDM 3A 4.10.4.1).
 */
static void flush_tlb(void)
{
	u64 cr4 = read_cr4();

	write_cr4(cr4 ^ CR4_PGE);
	write_cr4(cr4);
}

static void read_context(struct vcpu *vcpu)
{
	struct context *context = &vcpu->context;

	context->regs = vcpu->regs;
	context->regs.rsp = vmcs_read(VMCS_GUEST_RSP);
	context->rip = vmcs_read(VMCS_GUEST_RIP);
	context->rflags = vmcs_read(VMCS_GUEST_RFLAGS);
	context->cr0 = vcpu->backend->read[GUEST_CR0](vcpu);
	context->cr3 = vmcs_read(VMCS_GUEST_CR3);
	context->cr4 = vcpu->backend->read[GUEST_CR4](vcpu);
	context->efer = vmcs_read(VMCS_GUEST_EFER);
	context->dr7 = vmcs_read(VMCS_GUEST_DR7);
	context->fs_base = vmcs_read(GUEST_BASE(SEGMENT_FS));
	context->gs_base = vmcs_read(GUEST_BASE(SEGMENT_GS));
	context->gdtr = (struct table_register){ .limit = vmcs_read(VMCS_GUEST_GDTR_LIMIT),
						 .base = vmcs_read(VMCS_GUEST_GDTR_BASE) };
	context->idtr = (struct table_register){ .limit = vmcs_read(VMCS_GUEST_IDTR_LIMIT),
						 .base = vmcs_read(VMCS_GUEST_IDTR_BASE) };
	context->cs = vmcs_read(GUEST_SELECTOR(SEGMENT_CS));
	context->ss = vmcs_read(GUEST_SELECTOR(SEGMENT_SS));
	context->ds = vmcs_read(GUEST_SELECTOR(SEGMENT_DS));
	context->es = vmcs_read(GUEST_SELECTOR(SEGMENT_ES));
	context->fs = vmcs_read(GUEST_SELECTOR(SEGMENT_FS));
	context->gs = vmcs_read(GUEST_SELECTOR(SEGMENT_GS));
	context->ldtr = vmcs_read(GUEST_SELECTOR(SEGMENT_LDTR));
	context->tr = vmcs_read(GUEST_SELECTOR(SEGMENT_TR));
}

void vmx_leave(struct vcpu *vcpu)
{
	struct vmx_cpu *vmx = vmx_of(vcpu);

	read_context(vcpu);
	restore_msrs(vmx);
	/* From here on an NMI is only counted; the core raises it later. */
	__atomic_store_n(&vmx->vmcs_is_current, false, __ATOMIC_SEQ_CST);
	/*
	 * Write the processor's copy of the VMCS back to memory before that is freed (SDM 3C
	 * 25.11.3).
	 */
	vmclear(vmx->vmcs_physical);
	vmxoff();
	flush_tlb();
	resume_context(vcpu);
}

/*
 * A refused VM entry loads the host state (SDM 3C 27.8); the guest state is what vmx_enter() has
 * written. Return to vmx_launch(), still in VMX operation, where CR0.NE and CR4.VMXE must stay
 * set.
 */
void vmx_return_from_failed_entry(struct vcpu *vcpu)
{
	struct context *context = &vcpu->context;

	restore_msrs(vmx_of(vcpu));
	context->cr0 |= read_msr(MSR_VMX_CR0_FIXED0);
	context->cr4 |= read_msr(MSR_VMX_CR4_FIXED0);
	context->regs = (struct regs){ .rsp = vmcs_read(VMCS_GUEST_RSP) };
	context->rip = vmx_of(vcpu)->refused_entry_rip;
	resume_context(vcpu);
}
