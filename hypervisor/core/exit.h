/* SPDX-License-Identifier: MIT */
/* What both backends do with an exit, once they know its reason: count it, record it, handle it. */
#ifndef VENEER_EXIT_H
#define VENEER_EXIT_H

#include "vcpu.h"

/* Handlers, and names of the counters (what a suite's `exits:` says), by reason. */
extern void (*const exit_handlers[EXIT_REASONS])(struct vcpu *vcpu);
extern const char *const exit_names[EXIT_REASONS];

/*
 * Called by a backend when RIP, RFLAGS and the next RIP are in struct vcpu. Inline, so that what
 * the backend has in registers is stored from there, and the handler is called directly.
 */
static inline void handle_exit(struct vcpu *vcpu, size_t reason, u32 code, u64 rip)
{
	struct trace_entry *entry = &vcpu->trace[++vcpu->exits % TRACE_ENTRIES];

	/* Keep gcc from computing the address anew for every member. */
	asm("" : "+r"(entry));
	entry->rip = rip;
	entry->code = code;
	entry->eax = vcpu->regs.rax;
	entry->ecx = vcpu->regs.rcx;
	vcpu->counts[reason]++;
	exit_handlers[reason](vcpu);
}

#endif
