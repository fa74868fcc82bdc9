// SPDX-License-Identifier: MIT
#include "hypercall.h"

#include "completion.h"

static void answer_counts(struct vcpu *vcpu, u64 first)
{
	struct regs *regs = &vcpu->regs;

	regs->rax = first < EXIT_REASONS ? vcpu->counts[first] : 0;
	regs->rdx = first < EXIT_REASONS - 1 ? vcpu->counts[first + 1] : 0;
	regs->rcx = first < EXIT_REASONS - 2 ? vcpu->counts[first + 2] : 0;
}

static void answer_trace(struct vcpu *vcpu, u64 back)
{
	const struct trace_entry *entry;
	struct regs *regs = &vcpu->regs;

	/* This hypercall has overwritten one entry of the ring. */
	if (back >= TRACE_ENTRIES - 1 || back >= vcpu->exits) {
		regs->rax = 0;
		regs->rdx = ~0ull;
		regs->rcx = 0;
		return;
	}
	entry = &vcpu->trace[(vcpu->exits - back) % TRACE_ENTRIES];
	regs->rax = entry->rip;
	regs->rdx = entry->code | (u64)entry->eax << 32;
	regs->rcx = entry->ecx;
}

/* Control hypercalls are not counted as exits. */
static void uncount(struct vcpu *vcpu)
{
	vcpu->exits--;
	vcpu->counts[EXIT_HYPERCALL]--;
}

/*
 * VMCALL (SDM 3C 26.1.2), VMMCALL (APM2 15.9). Control hypercalls come from the stub at CPL 0; any
 * other is #UD.
 */
void handle_hypercall(struct vcpu *vcpu)
{
	struct regs *regs = &vcpu->regs;

	if (vcpu->rip != (u64)vcpu->backend->hypercall_address ||
	    vcpu->backend->read[GUEST_CPL](vcpu)) {
		inject_exception(vcpu, VECTOR_UD, 0);
		return;
	}
	switch (regs->rax) {
	case HYPERCALL_PROVE:
		uncount(vcpu);
		regs->rax = vcpu->cpu;
		break;
	case HYPERCALL_UNLOAD:
		/*
		 * The guest takes an NMI or a machine check that came before at once, injected, and
		 * executes the hypercall again.
		 */
		if (vcpu->pending_nmis || vcpu->machine_check_pending)
			return;
		regs->rax = 0;
		complete_instruction(vcpu);
		vcpu->backend->leave(vcpu);
	case HYPERCALL_COUNT:
		uncount(vcpu);
		answer_counts(vcpu, regs->rdi);
		break;
	case HYPERCALL_TRACE:
		uncount(vcpu);
		answer_trace(vcpu, regs->rdi);
		break;
	default:
		inject_exception(vcpu, VECTOR_UD, 0);
		return;
	}
	complete_instruction(vcpu);
}
