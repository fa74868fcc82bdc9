// SPDX-License-Identifier: MIT
/* Exits of single system instructions that both vendors share. */
#include "system.h"

#include "completion.h"
#include "decode.h"
#include "local_apic.h"
#include "safe_instructions.h"

/*
 * XSETBV exits unconditionally on VMX (SDM 3C 26.1.2); on SVM it is intercepted, so that both
 * handle it alike.
 */
void handle_xsetbv(struct vcpu *vcpu)
{
	const struct regs *regs = &vcpu->regs;

	/*
	 * CR4.OSXSAVE and CPL come before the exit (SDM 3C 26.1.1, APM2 15.9), but not in Bochs 2.7 and
	 * QEMU 10. The value is checked by executing it: XCR0 is the guest's.
	 */
	if (!(vcpu->backend->read[GUEST_CR4](vcpu) & CR4_OSXSAVE)) {
		inject_exception(vcpu, VECTOR_UD, 0);
		return;
	}
	if (!vcpu->backend->read[GUEST_CPL](vcpu) &&
	    xsetbv_safe(regs->rcx, (u32)regs->rax | regs->rdx << 32))
		complete_instruction(vcpu);
	else
		inject_exception(vcpu, VECTOR_GP, 0);
}

/*
 * INVD would discard what Veneer and other CPUs have not yet written back. WBINVD may replace it.
 */
void handle_invd(struct vcpu *vcpu)
{
	/* CPL comes before the exit, but not in QEMU 10. */
	if (vcpu->backend->read[GUEST_CPL](vcpu)) {
		inject_exception(vcpu, VECTOR_GP, 0);
		return;
	}
	write_back_invalidate();
	complete_instruction(vcpu);
}

/*
 * Instructions of VMX and SVM, and GETSEC: on a processor without the extension they are #UD at
 * every privilege level.
 */
void handle_hidden_instruction(struct vcpu *vcpu)
{
	inject_exception(vcpu, VECTOR_UD, 0);
}

/*
 * Whether the instruction at RIP is not wholly in the code segment, whose limit 64-bit code does not have: it is not
 * fetched then, and the #GP is that of the limit (SDM 3A 6.3, APM2 4.12.1).
 */
static bool is_behind_limit(struct vcpu *vcpu, unsigned int length)
{
	u64 limit = vcpu->backend->read[GUEST_CS_LIMIT](vcpu);

	/* Code goes on at 0 behind 4 GiB. */
	return vcpu->backend->read[GUEST_CODE_BITS](vcpu) != 64 &&
	       (vcpu->rip > limit || (u32)(vcpu->rip + length - 1) > limit);
}

/*
 * EFER.SVME is set in hardware, so SVM instructions raise #GP before their intercept outside of
 * ring 0 and for a bad operand, such as VMRUN's address (APM2 15.9). With SVM hidden they must
 * raise #UD, whatever their operands.
 */
void handle_gp_fault(struct vcpu *vcpu)
{
	u32 error_code = vcpu->fault_error;
	struct instruction instruction;

	if (!error_code && !vcpu->interrupted_event && decode_instruction(vcpu, &instruction) &&
	    instruction.is_svm && !is_behind_limit(vcpu, instruction.length))
		inject_exception(vcpu, VECTOR_UD, 0);
	else
		inject_exception(vcpu, VECTOR_GP, error_code);
}

/*
 * Task switches exit unconditionally on VMX (SDM 3C 26.2). They exist outside of IA-32e mode only
 * and are not emulated: the guest gets #GP with the selector of the TSS, as for an invalid TSS.
 */
void handle_task_switch(struct vcpu *vcpu)
{
	inject_exception(vcpu, VECTOR_GP, vcpu->fault_error);
}

/*
 * INIT in guest mode (SDM 3C 26.2). A SIPI that comes before this CPU waits for it is lost, and an OS for current
 * processors sends the first at once and the second 20 microseconds later. So this does what cannot wait, and
 * handle_sipi() the rest: no instruction of the guest comes between the two.
 */
void handle_init(struct vcpu *vcpu)
{
	disable_local_apic();
	vcpu->backend->wait_for_sipi(vcpu);
}

/*
 * SIPI, which only a CPU that waits for it can see (SDM 3C 26.2): the registers are as INIT leaves them (SDM 3A table
 * 9-1), and execution begins in the page of the vector.
 */
void handle_sipi(struct vcpu *vcpu)
{
	u32 a, b, c, d;

	cpuid(1, 0, &a, &b, &c, &d);
	vcpu->regs = (struct regs){ .rdx = a };
	vcpu->pending_nmis = 0;
	vcpu->machine_check_pending = false;
	vcpu->backend->write_rflags(vcpu, RFLAGS_ALWAYS);
	vcpu->backend->continue_at(vcpu, 0);
	vcpu->backend->reset(vcpu);
	reset_local_apic();
	vcpu->backend->start(vcpu);
}
