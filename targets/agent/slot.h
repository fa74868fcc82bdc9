/* SPDX-License-Identifier: MIT */
/* The slot: the memory of one CPU that probes use (PROTOCOL.md, "The slot"). */
#ifndef AGENT_SLOT_H
#define AGENT_SLOT_H

#include "types.h"

#define SLOT_CODE 0x0000
#define SLOT_CODE_SIZE 0x2000
#define SLOT_SCRATCH 0x3000
#define SLOT_SCRATCH_SIZE 0x2000
#define SLOT_STACK 0x6000
#define SLOT_STACK_SIZE 0x1000
#define SLOT_STACK_END 0x7000
#define SLOT_STACK_GAP 0x100
#define SLOT_STRIDE 0x8000

/*
 * Where the slots are mapped for ring 0 and for ring 3: 8 MiB each, for 256 CPUs, so that a page table holds the
 * mapping of SLOTS_PER_TABLE. The addresses are the same on every OS. On the bare machine, neither the
 * memory of a guest with less than 3.75 GiB nor a device that we use is there.
 */
#define SLOT_SUPERVISOR_BASE 0xf0000000ul
#define SLOT_USER_BASE 0xf1000000ul
#define SLOTS_PER_TABLE (0x200000 / SLOT_STRIDE)

/*
 * Where the local APIC is mapped for both rings, on an OS whose probes may use it (struct probe_apic): the 2 MiB
 * from fee00000.
 */
#define SLOT_LOCAL_APIC 0xf0e00000ul

/* The pages of a slot in the order in which they follow each other in physical memory. */
#define SLOT_PAGES 5
/* With one behind them that is not in the slot: the IDT of a probe with handlers of its own. */
#define SLOT_PAGES_WITH_IDT (SLOT_PAGES + 1)

static const struct slot_page {
	uint32_t offset;
	bool writable;
} slot_pages[SLOT_PAGES] = {
	{ SLOT_CODE, false },	{ SLOT_CODE + 0x1000, false },
	{ SLOT_SCRATCH, true }, { SLOT_SCRATCH + 0x1000, true },
	{ SLOT_STACK, true },
};

#endif
