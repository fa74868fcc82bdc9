/* SPDX-License-Identifier: MIT */
/* The page tables that probes run under: Linux's upper half, and the slots in the lower. */
#ifndef AGENT_LINUX_SPACE_H
#define AGENT_LINUX_SPACE_H

#include "isolation.h"

/* The tables that all CPUs share: two page tables, and what leads to them. */
struct space {
	u64 *tables[5];
};

/* 0 or -ENOMEM. */
int space_create(struct space *space);
void space_destroy(struct space *space);

/* Give a CPU its root and its slot, the index-th; 0 or -ENOMEM. */
int space_add_cpu(struct space *space, struct isolated_cpu *cpu, unsigned int index);
void space_remove_cpu(struct isolated_cpu *cpu);

#endif
