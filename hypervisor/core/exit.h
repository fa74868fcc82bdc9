/* SPDX-License-Identifier: MIT */
/* What both backends do with an exit, once they know its reason: count it, record it, handle it. */
#ifndef VENEER_EXIT_H
#define VENEER_EXIT_H

#include "vcpu.h"

/* Handlers, and names of the counters (what a suite's `exits:` says), by reason. */
extern void (*const exit_handlers[EXIT_REASONS])(struct vcpu *vcpu);
extern const char *const exit_names[EXIT_REASONS];

/*
 * The backend has filled in RIP, RFLAGS and the next RIP of struct vcpu. Inline, so that the
 * backend's registers are stored directly and the handler is called without another call in
 * between.
 */
static inline void handle_exit(struct vcpu *vcpu, size_t reason, u32 code, u64 rip)
{
	struct trace_entry *entry = &vcpu->trace[++vcpu->exits % TRACE_ENTRIES];

	/* Without it gcc computes the address again for every member. */
	asm("" : "+r"(entry));
	entry->rip = rip;
	entry->code = code;
	entry->eax = vcpu->regs.rax;
	entry->ecx = vcpu->regs.rcx;
	vcpu->counts[reason]++;
	exit_handlers[reason](vcpu);
}

#endif
