// SPDX-License-Identifier: MIT
/* Exits of single system instructions that both vendors share. */
#include "insn.h"
#include "policy.h"

/* XSETBV exits unconditionally on VMX (SDM 3C 26.1.2); on SVM it is intercepted so that both take the same way. */
bool handle_xsetbv(struct vcpu *vcpu)
{
	const struct regs *regs = &vcpu->regs;

	/* CPL and CR4.OSXSAVE were checked before the exit; the value, by executing it: XCR0 is the guest's. */
	if (xsetbv_safe(regs->rcx, (u32)regs->rax | regs->rdx << 32))
		complete_instruction(vcpu);
	else
		inject_exception(vcpu, VECTOR_GP, 0);
	return false;
}

/* INVD would throw away what Veneer, and other CPUs, have not yet written back. WBINVD is allowed in its place. */
bool handle_invd(struct vcpu *vcpu)
{
	write_back_invalidate();
	complete_instruction(vcpu);
	return false;
}

/* An instruction of VMX or SVM itself, and GETSEC: without the extension it is #UD at every privilege level. */
bool handle_hidden_instruction(struct vcpu *vcpu)
{
	inject_exception(vcpu, VECTOR_UD, 0);
	return false;
}

/*
 * SVM instructions outside of ring 0 raise #GP before their intercept, since
 * the real EFER.SVME is set (APM2 15.9); with SVM hidden they must raise #UD.
 */
bool handle_gp_fault(struct vcpu *vcpu)
{
	u32 error_code = vcpu->fault_error;
	struct instruction instruction;

	if (!error_code && !vcpu->interrupted_event && vcpu->backend->read(vcpu, GUEST_CPL) &&
	    decode_instruction(vcpu, &instruction) && instruction.is_svm)
		inject_exception(vcpu, VECTOR_UD, 0);
	else
		inject_exception(vcpu, VECTOR_GP, error_code);
	return false;
}
