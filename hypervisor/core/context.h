/* SPDX-License-Identifier: MIT */
/* What this CPU is: the state outside of the GPRs, its segments, and what its paging can do. */
#ifndef VENEER_CONTEXT_H
#define VENEER_CONTEXT_H

#include "vcpu.h"

/* Capture what of struct context can be read on this CPU (not GPRs, RIP). */
void capture_context(struct context *context);

/* A segment as VMCB and VMCS want it, looked up in the captured descriptor tables. */
struct segment {
	u16 selector;
	/* Bits 0-7: type, S, DPL, P; bits 8-11: AVL, L, D/B, G, as in a VMCB (APM2 15.5.1). */
	u16 attributes;
	u32 limit;
	u64 base;
};
struct segment read_segment(const struct context *context, u16 selector);

unsigned int physical_address_bits(void);
bool has_gigabyte_pages(void);
bool has_five_level_paging(void);

#endif
