// SPDX-License-Identifier: MIT
/*
 * Faults in host mode. #GP or #UD of an instruction in safe_instructions.S makes its function
 * return false; any other fault ends in a crash report.
 */
#include "fault.h"

#include "crash_report.h"
#include "machine_check.h"
#include "nmi.h"
#include "safe_instructions.h"
#include "text.h"
#include "vcpus.h"

static const char *const expected_faults[] = {
	read_msr_safe_insn,
	write_msr_safe_insn,
	xsetbv_safe_insn,
	vmxon_safe_insn,
};

void host_fault(struct fault_frame *frame)
{
	char why[80];
	struct text text = { .buffer = why, .size = sizeof(why) };

	if (frame->vector == VECTOR_NMI) {
		note_nmi_in_host_mode();
		return;
	}
	if (frame->vector == VECTOR_MC && note_machine_check_in_host_mode())
		return;
	/*
	 * Host mode has TF clear and no breakpoints. Bochs 2.7 delivers a single-step trap here
	 * that was pending in the guest when it exited; the guest gets its own from
	 * complete_instruction().
	 */
	if (frame->vector == VECTOR_DB)
		return;
	/*
	 * RDMSR and WRMSR raise #GP; XSETBV and VMXON raise #UD as well, with CR4.OSXSAVE or
	 * CR4.VMXE clear (SDM 2B RDMSR, 2C WRMSR, XSETBV, 3C VMXON).
	 */
	if (frame->vector == VECTOR_GP || frame->vector == VECTOR_UD) {
		for (unsigned int i = 0; i < COUNT_OF(expected_faults); i++) {
			if (frame->rip == (u64)expected_faults[i]) {
				frame->rip = (u64)fault_return_false;
				return;
			}
		}
	}
	text_add(&text, "fault in host mode: vector=");
	text_add_hex(&text, frame->vector);
	text_add_field(&text, "error", frame->error_code);
	if (frame->vector == VECTOR_MC)
		text_add_field(&text, "mcg-status", machine_check_status());
	die(vcpu_of_stack(frame->rsp), why, frame->rip, frame->rsp);
}
