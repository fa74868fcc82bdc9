// SPDX-License-Identifier: MIT
#include "completion.h"

#include "crash_report.h"
#include "decode.h"

static void set_rflags(struct vcpu *vcpu, u64 rflags)
{
	vcpu->rflags = rflags;
	vcpu->backend->write_rflags(vcpu, rflags);
}

/*
 * Bits 3:0 of DR6: the instruction breakpoints that are enabled and whose condition is met at this
 * address, which a #DB of another cause reports as well (SDM 3B 18.2.3; APM2 13.1.1.3). The
 * processor does not compare for a #DB that a VM entry delivers. DR0 to DR3 are the guest's in host
 * mode too.
 */
static u64 find_breakpoints(struct vcpu *vcpu, u64 rip)
{
	const struct backend *backend = vcpu->backend;
	u64 dr7 = backend->read[GUEST_DR7](vcpu), found = 0;

	if (!(dr7 & DR7_ENABLED))
		return 0;
	if (backend->read[GUEST_CODE_BITS](vcpu) != 64)
		rip = (u32)(rip + backend->read[GUEST_CS_BASE](vcpu));
	for (unsigned int i = 0; i < 4; i++) {
		if (dr7 & DR7_LOCAL_GLOBAL(i) && !(dr7 & DR7_CONDITION(i)) && read_dr(i) == rip)
			found |= 1u << i;
	}
	return found;
}

/*
 * The rare cases: the length must be read from the guest's code, RIP wraps at 4 GiB, or RFLAGS.RF
 * or TF is set.
 */
static rarely_called void complete_with_care(struct vcpu *vcpu)
{
	u64 next = vcpu->next_rip;
	bool trap = vcpu->rflags & RFLAGS_TF;
	struct instruction instruction;

	if (!next) {
		/*
		 * The instruction cannot be read any more, since another CPU has changed it or its
		 * mapping. Execute what is there now.
		 */
		if (!decode_instruction(vcpu, &instruction))
			return;
		next = vcpu->rip + instruction.length;
	}
	/* Outside of 64-bit code segments the instruction pointer wraps at 4 GiB. */
	if ((next ^ vcpu->rip) >> 32 && vcpu->backend->read[GUEST_CODE_BITS](vcpu) != 64)
		next = (u32)next;
	if (vcpu->rflags & RFLAGS_RF)
		set_rflags(vcpu, vcpu->rflags & ~RFLAGS_RF);
	vcpu->backend->continue_at(vcpu, next);
	if (trap)
		vcpu->backend->single_step(vcpu, find_breakpoints(vcpu, next));
}

/*
 * Complete an instruction that was emulated: advance RIP, clear RFLAGS.RF (SDM 3B 18.3.1.1), end
 * blocking by STI or MOV SS, and raise a single-step trap if TF is set.
 */
void complete_instruction(struct vcpu *vcpu)
{
	u64 next = vcpu->next_rip;

	/* Covers next == 0 as well as a carry out of the lower 32 bits. */
	if (unlikely_((u32)next <= (u32)vcpu->rip || vcpu->rflags & (RFLAGS_TF | RFLAGS_RF)))
		complete_with_care(vcpu);
	else
		vcpu->backend->continue_at(vcpu, next);
}

/* Contributory exceptions: SDM 3A table 6-4, APM2 table 8-3. */
static bool is_contributory(u32 vector)
{
	return vector == VECTOR_DE || (vector >= VECTOR_TS && vector <= VECTOR_GP);
}

/* SDM 3A table 6-1, APM2 table 8-1; real mode: SDM 3B 21.1.4. */
bool pushes_error_code(const struct vcpu *vcpu, enum vector vector)
{
	return (vector == VECTOR_DF || (vector >= VECTOR_TS && vector <= VECTOR_PF)) &&
	       vcpu->backend->read[GUEST_CR0](vcpu) & CR0_PE;
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
		set_rflags(vcpu, vcpu->rflags | RFLAGS_RF);
	vcpu->backend->inject(vcpu, vector, error_code);
}
