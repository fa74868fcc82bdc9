// SPDX-License-Identifier: MIT
#include "policy.h"

/*
 * An instruction that was executed on the guest's behalf ends like any other:
 * RIP moves on, RFLAGS.RF is cleared (SDM 3B 18.3.1.1), the STI or MOV SS
 * shadow is over, and with TF set a single-step trap follows.
 */
void complete_instruction(struct vcpu *vcpu)
{
	unsigned int length = vcpu->backend->instruction_length(vcpu);
	u64 next = vcpu->rip + length;

	if (unlikely_(!length)) {
		/* The bytes are gone: another CPU has changed them or their mapping meanwhile. Execute what is there now. */
		return;
	}
	/* Outside of 64-bit code segments the instruction pointer wraps at 4 GiB. */
	if (unlikely_((next ^ vcpu->rip) >> 32) && vcpu->backend->read(vcpu, GUEST_CODE_BITS) != 64)
		next = (u32)next;
	vcpu->rip = next;
	if (unlikely_(vcpu->rflags & (RFLAGS_TF | RFLAGS_RF))) {
		bool trap = vcpu->rflags & RFLAGS_TF;

		vcpu->rflags &= ~RFLAGS_RF;
		if (trap) {
			vcpu->backend->single_step(vcpu);
			return;
		}
	}
	vcpu->backend->end_shadow(vcpu);
}

/* Contributory exceptions: SDM 3A table 6-4, APM2 table 8-3. */
static bool is_contributory(u32 vector)
{
	return vector == VECTOR_DE || (vector >= VECTOR_TS && vector <= VECTOR_GP);
}

void inject_exception(struct vcpu *vcpu, enum vector vector, u32 error_code)
{
	u32 event = vcpu->interrupted_event;
	u32 first = event & 0xff, type = event >> 8 & 7;

	vcpu->interrupted_event = 0;
	/* Type 3: a hardware exception was being delivered. */
	if (event && type == 3) {
		if (first == VECTOR_DF)
			die(vcpu, "guest triple fault", vcpu->rip, 0);
		if ((is_contributory(first) && is_contributory(vector)) ||
		    (first == VECTOR_PF && (is_contributory(vector) || vector == VECTOR_PF))) {
			vector = VECTOR_DF;
			error_code = 0;
		}
	}
	/* A fault saves RFLAGS with RF set (SDM 3B 18.3.1.1, APM2 13.1.4); an injected one saves them as they are. */
	if (vector != VECTOR_DF)
		vcpu->rflags |= RFLAGS_RF;
	vcpu->backend->inject(vcpu, vector, error_code);
}
