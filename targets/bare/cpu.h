/* SPDX-License-Identifier: MIT */
/* What belongs to one CPU, and the block of memory in which it lies together with that CPU's stacks. */
#ifndef BARE_CPU_H
#define BARE_CPU_H

/*
 * The block is aligned to its size, so that a stack pointer anywhere in it leads to struct cpu at its
 * start, even when a probe has changed GS, TR or the APIC.
 */
#define CPU_BLOCK_SIZE 0x8000
#define CPU_NMI_STACK 0x1800
#define CPU_INTERRUPT_STACK 0x2000
#define CPU_ABORT_STACK 0x3000
#define CPU_DEBUG_STACK 0x4000
#define CPU_EXCEPTION_STACK 0x5000
#define CPU_MAIN_STACK 0x8000

/* Offset in struct cpu. */
#define CPU_SLEEPS 0

#ifndef __ASSEMBLER__

#include <stdbool.h>
#include <stdint.h>

#include "../agent/descriptors.h"
#include "../agent/probe.h"
#include "os.h"

/* As many as the selectors of probes need (agent/descriptors.h, modes.h). */
#define GDT_ENTRIES 13

/* 64-bit TSS (SDM 3A 8.7). */
struct tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3;
	uint16_t io_map;
} __attribute__((packed));

struct cpu {
	/* RSP in cpu_sleep(), while this CPU is there; else 0. */
	uint64_t sleeps;
	unsigned int index;
	uint8_t apic_id;
	bool up;
	uint64_t nmis;
	/* Work for this CPU: set by the boot CPU, fn cleared when it is done (broadcast.c). */
	void (*fn)(void *);
	void *arg;
	/* guard.c: RSP within a guarded call, else 0; the vector that ended the last one. */
	uint64_t guard_rsp;
	unsigned int guard_vector;
	uint64_t gdt[GDT_ENTRIES];
	struct tss tss;
	struct probe_context probe;
};

_Static_assert(__builtin_offsetof(struct cpu, sleeps) == CPU_SLEEPS, "cpu_sleep.S");
_Static_assert(sizeof(struct cpu) <= 0x1000, "struct cpu runs into the NMI stack");

extern struct cpu *cpu_blocks[OS_MAX_CPUS];
extern struct cpu *cpu_block_of_apic[256];

/* Enter a CPU into the two tables above, as the next one. */
void cpu_register(struct cpu *cpu, uint8_t apic_id);

/* Wait for an interrupt of the OS; returns with interrupts off again. cpu: this CPU. */
void cpu_sleep(struct cpu *cpu);
/* Where a CPU goes on in cpu_sleep() behind the interrupt. */
extern const uint64_t cpu_woken;

/* The CPU whose block the stack pointer is in. Not for the boot stack, nor for the panic stack. */
static inline struct cpu *cpu_of_stack(void)
{
	return block_of_stack(CPU_BLOCK_SIZE);
}

#endif /* __ASSEMBLER__ */
#endif
