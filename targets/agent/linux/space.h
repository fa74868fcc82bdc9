/* SPDX-License-Identifier: MIT */
/* The page tables that probes run with: Linux's kernel half, and the slots in the user half. */
#ifndef AGENT_LINUX_SPACE_H
#define AGENT_LINUX_SPACE_H

#include "isolation.h"

/* Of each of the two mappings. */
#define SPACE_PAGE_TABLES (CPU_MASK_CPUS / SLOTS_PER_TABLE)

/* The tables that all CPUs share: the page tables of the two mappings of the slots, and the levels above. */
struct space {
	u64 *tables[3 + 2 * SPACE_PAGE_TABLES];
};

/* 0 or -ENOMEM. */
int space_create(struct space *space);
void space_destroy(struct space *space);

/* Allocate the root table and the slot of the index-th CPU. 0 or -ENOMEM. */
int space_add_cpu(struct space *space, struct isolated_cpu *cpu, unsigned int index);
void space_remove_cpu(struct isolated_cpu *cpu);

#endif
