/* SPDX-License-Identifier: MIT */
/* Sets of CPUs, which are numbered from 0. */
#ifndef AGENT_CPU_MASK_H
#define AGENT_CPU_MASK_H

#include "types.h"

/* The most CPUs that probes can use. */
#define CPU_MASK_CPUS 256
#define CPU_MASK_WORDS (CPU_MASK_CPUS / 64)

struct cpu_mask {
	uint64_t word[CPU_MASK_WORDS]; /* CPU 0 is bit 0 of the first */
};

static inline bool cpu_mask_has(const struct cpu_mask *mask, unsigned int cpu)
{
	return mask->word[cpu / 64] >> cpu % 64 & 1;
}

static inline void cpu_mask_add(struct cpu_mask *mask, unsigned int cpu)
{
	mask->word[cpu / 64] |= 1ull << cpu % 64;
}

static inline struct cpu_mask cpu_mask_of(unsigned int cpu)
{
	struct cpu_mask mask = { .word = { 0 } };

	cpu_mask_add(&mask, cpu);
	return mask;
}

/* How many CPUs of a mask have a number below `cpu`; with CPU_MASK_CPUS, all of them. */
static inline unsigned int cpu_mask_below(const struct cpu_mask *mask, unsigned int cpu)
{
	unsigned int count = 0;

	for (unsigned int word = 0; word < CPU_MASK_WORDS && word * 64 < cpu; word++) {
		uint64_t rest = mask->word[word];

		if (cpu - word * 64 < 64)
			rest &= (1ull << (cpu - word * 64)) - 1;
		/* Not __builtin_popcountll(), which gcc compiles to a call into libgcc. */
		for (; rest; rest &= rest - 1)
			count++;
	}
	return count;
}

static inline unsigned int cpu_mask_count(const struct cpu_mask *mask)
{
	return cpu_mask_below(mask, CPU_MASK_CPUS);
}

/* Whether a mask has a CPU with this number or one above it. */
static inline bool cpu_mask_beyond(const struct cpu_mask *mask, unsigned int cpu)
{
	return cpu_mask_below(mask, cpu) != cpu_mask_count(mask);
}

#endif
