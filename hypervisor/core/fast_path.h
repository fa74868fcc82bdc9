/* SPDX-License-Identifier: MIT */
/*
 * What a backend needs to answer the most frequent exit, a CPUID leaf that no
 * policy concerns, without saving more than it uses. Inline, so that the one
 * source becomes short code in both backends; everything else, and everything
 * unusual, takes the way through handle_exit().
 */
#ifndef VENEER_FAST_PATH_H
#define VENEER_FAST_PATH_H

#include "vcpu.h"

/* Basic leaves whose answer depends on the guest's CR4, or on what is hidden: adjust_feature_leaf(). */
#define ADJUSTED_BASIC_LEAVES (BIT_ULL_AT(1) | BIT_ULL_AT(7))

static inline bool is_plain_leaf(u32 leaf)
{
	return leaf < 32 && !((u32)ADJUSTED_BASIC_LEAVES >> leaf & 1);
}

/* The first thing in every exit: it is counted, and it is on record if it should be the last one. */
static inline void record_exit(struct vcpu *vcpu, enum exit_reason reason, u32 code, u64 rip,
			       u32 eax, u32 ecx)
{
	struct trace_entry *entry = &vcpu->trace[++vcpu->exits % TRACE_ENTRIES];

	/* Keep gcc from computing the address anew for every member. */
	asm("" : "+r"(entry));
	vcpu->counts[reason]++;
	entry->rip = rip;
	entry->code = code;
	entry->eax = eax;
	entry->ecx = ecx;
}

/*
 * Where the hardware does not tell the length of an instruction, its bytes are
 * read through the guest's page tables. The last such walk is remembered with every
 * entry that it passed; it counts as long as each of them still has the same
 * value, so it cannot be stale.
 */
static inline bool is_unprefixed_cpuid(const struct vcpu *vcpu, u64 rip, u64 cr3)
{
	const struct code_walk *walk = &vcpu->code_walk;

	return rip == walk->rip && cr3 == walk->cr3 && *walk->entry[0] == walk->value[0] &&
	       *walk->entry[1] == walk->value[1] && *walk->entry[2] == walk->value[2] &&
	       *walk->entry[3] == walk->value[3] && *(const u16 *)walk->bytes == 0xa20f;
}

#endif
