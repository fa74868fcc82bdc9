/* SPDX-License-Identifier: MIT */
/* Reading the state of this CPU: registers, segments, and paging features. */
#ifndef VENEER_CONTEXT_H
#define VENEER_CONTEXT_H

#include "vcpu.h"

/* Fill in struct context from this CPU, except for GPRs and RIP. */
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
