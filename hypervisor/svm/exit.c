// SPDX-License-Identifier: MIT
/* #VMEXIT, translated for the core and back; and the guest state that the core asks for. */
#include "../core/hypercall.h"
#include "../core/insn.h"
#include "../core/text.h"
#include "svm.h"

#define DR6_SINGLE_STEP BIT_ULL_AT(14)

static const u8 reasons[] = {
	[VMEXIT_EXCEPTION_GP] = EXIT_GP_FAULT,
	[VMEXIT_CPUID] = EXIT_CPUID,
	[VMEXIT_INVD] = EXIT_INVD,
	[VMEXIT_INVLPGA] = EXIT_NESTED,
	/* EXITINFO1 tells RDMSR from WRMSR. */
	[VMEXIT_MSR] = EXIT_RDMSR,
	[VMEXIT_SHUTDOWN] = EXIT_SHUTDOWN,
	[VMEXIT_VMRUN] = EXIT_NESTED,
	[VMEXIT_VMMCALL] = EXIT_HYPERCALL,
	[VMEXIT_VMLOAD] = EXIT_NESTED,
	[VMEXIT_VMSAVE] = EXIT_NESTED,
	[VMEXIT_STGI] = EXIT_NESTED,
	[VMEXIT_CLGI] = EXIT_NESTED,
	[VMEXIT_SKINIT] = EXIT_NESTED,
	[VMEXIT_XSETBV] = EXIT_XSETBV,
};

static enum exit_reason find_reason(const struct vmcb *vmcb)
{
	u64 code = vmcb->exit_code;

	if (code < COUNT_OF(reasons))
		return code == VMEXIT_MSR && vmcb->exit_info1 ? EXIT_WRMSR : reasons[code];
	if (code == VMEXIT_NPF)
		return EXIT_NESTED_PAGING;
	return code == VMEXIT_INVALID ? EXIT_INVALID_STATE : EXIT_OTHER;
}

void svm_handle_exit(struct vcpu *vcpu)
{
	struct vmcb *vmcb = vcpu->vmcb;
	u32 event = vmcb->exit_int_info;

	vcpu->regs.rax = vmcb->rax;
	vcpu->rip = vmcb->rip;
	vcpu->rflags = vmcb->rflags;
	vcpu->code = vmcb->exit_code;
	vcpu->reason = find_reason(vmcb);
	vcpu->fault_error = vmcb->exit_info1;
	vcpu->interrupted_event = event & EVENT_VALID ? event : 0;
	vmcb->tlb_control = 0;
	vmcb->event_injection = 0;

	if (unlikely_(handle_exit(vcpu)))
		svm_leave(vcpu);
	vmcb->rax = vcpu->regs.rax;
	vmcb->rip = vcpu->rip;
	vmcb->rflags = vcpu->rflags;
}

static u64 svm_read(struct vcpu *vcpu, enum guest_field field)
{
	const struct vmcb *vmcb = vcpu->vmcb;

	switch (field) {
	case GUEST_CR0:
		return vmcb->cr0;
	case GUEST_CR3:
		return vmcb->cr3;
	case GUEST_CR4:
		return vmcb->cr4;
	case GUEST_EFER:
		return vmcb->efer;
	case GUEST_CPL:
		return vmcb->cpl;
	case GUEST_CS_BASE:
		return vmcb->cs.base;
	case GUEST_CODE_BITS:
		if (vmcb->efer & EFER_LMA && vmcb->cs.attributes & CS_LONG)
			return 64;
		return vmcb->cs.attributes & CS_DEFAULT_32 ? 32 : 16;
	}
	return 0;
}

static void svm_write(struct vcpu *vcpu, enum guest_field field, u64 value)
{
	/* EFER is the only one that the core changes; hardware insists on SVME (APM2 15.5.1). */
	if (field == GUEST_EFER)
		vcpu->vmcb->efer = value | EFER_SVME;
}

static unsigned int svm_instruction_length(struct vcpu *vcpu)
{
	struct instruction instruction;

	if (vcpu->has_next_rip)
		return vcpu->vmcb->next_rip - vcpu->rip;
	if (!decode_instruction(vcpu, &instruction))
		return 0;
	if (vcpu->reason == EXIT_CPUID && instruction.length == 2)
		remember_code_walk(vcpu);
	return instruction.length;
}

static void svm_inject(struct vcpu *vcpu, enum vector vector, u32 error_code)
{
	u64 event = EVENT_VALID | EVENT_EXCEPTION | vector;

	if (vector == VECTOR_DF || (vector >= VECTOR_TS && vector <= VECTOR_PF))
		event |= EVENT_ERROR_CODE | (u64)error_code << 32;
	vcpu->vmcb->event_injection = event;
}

static void svm_end_shadow(struct vcpu *vcpu)
{
	vcpu->vmcb->interrupt_shadow = 0;
}

static void svm_single_step(struct vcpu *vcpu)
{
	struct vmcb *vmcb = vcpu->vmcb;
	u64 debugctl;

	vmcb->interrupt_shadow = 0;
	/*
	 * With BTF only branches trap (APM2 13.2.2). DEBUGCTL is the guest's own, as
	 * LBR virtualization is off; Bochs 2.7 has none.
	 */
	if (read_msr_safe(MSR_DEBUGCTL, &debugctl) && debugctl & DEBUGCTL_BTF)
		return;
	vmcb->dr6 |= DR6_SINGLE_STEP;
	svm_inject(vcpu, VECTOR_DB, 0);
}

static void svm_describe_exit(struct vcpu *vcpu, char *line, size_t size)
{
	const struct vmcb *vmcb = vcpu->vmcb;
	struct text text = { .buffer = line, .size = size };

	text_add_field(&text, "exitcode", vmcb->exit_code);
	text_add_field(&text, "info1", vmcb->exit_info1);
	text_add_field(&text, "info2", vmcb->exit_info2);
	text_add_field(&text, "intinfo", vmcb->exit_int_info);
	text_add_field(&text, "guest-rsp", vmcb->rsp);
	text_add_field(&text, "guest-cr3", vmcb->cr3);
}

const struct backend svm_backend = {
	.name = "svm",
	.vendors = {
		/* AuthenticAMD, HygonGenuine */
		{ 0x68747541, 0x69746e65, 0x444d4163 },
		{ 0x6f677948, 0x6e65476e, 0x656e6975 },
	},
	.hypercall = hypercall_svm,
	.hypercall_address = hypercall_svm_address,
	.examine = svm_examine,
	.allocate = svm_allocate,
	.enable = svm_enable,
	.disable = svm_disable,
	.enter = svm_enter,
	.leave = svm_leave,
	.read = svm_read,
	.write = svm_write,
	.instruction_length = svm_instruction_length,
	.inject = svm_inject,
	.end_shadow = svm_end_shadow,
	.single_step = svm_single_step,
	.describe_exit = svm_describe_exit,
};
