/* SPDX-License-Identifier: MIT */
/* The descriptor tables that probes run under: what all operating systems of targets have in common. */
#ifndef AGENT_DESCRIPTORS_H
#define AGENT_DESCRIPTORS_H

/* Selectors that a probe may use (PROTOCOL.md). */
#define PROBE_KERNEL_CS 0x08
#define PROBE_KERNEL_DS 0x10
#define PROBE_KERNEL_CS32 0x18
#define PROBE_USER_CS32 0x23
#define PROBE_USER_DS 0x2b
#define PROBE_USER_CS 0x33
#define PROBE_TSS 0x40

#define DESCRIPTOR_KERNEL_CS 0x00af9b000000ffff

#ifndef __ASSEMBLER__

#include "types.h"

#define IDT_VECTORS 256

/* IA32_STAR and IA32_FMASK while a probe runs; Linux has the same mask. */
#define PROBE_STAR ((uint64_t)PROBE_KERNEL_CS << 32 | (uint64_t)PROBE_USER_CS32 << 48)
#define PROBE_FMASK 0x47700

typedef uint64_t idt_gate[2];

/*
 * Fill an IDT whose gates lead to probe_stubs, in the code segment `selector`; ist_of gives the IST
 * entry of a vector. INT3 and INTO may be executed in ring 3.
 */
void fill_probe_idt(idt_gate idt[IDT_VECTORS], uint16_t selector,
		    unsigned int (*ist_of)(unsigned int vector));

/* Fill the descriptors of the selectors above in a GDT, but for the TSS. */
void fill_probe_gdt(uint64_t *gdt);

/* Fill the two entries of a GDT that describe an available 64-bit TSS (SDM 3A 8.2.3). */
void fill_tss_descriptor(uint64_t *descriptor, const void *tss, size_t size);

/*
 * The block of memory, aligned to its size, that the stack pointer is in. An operating system keeps a CPU's
 * data at the start of the block with its stacks: it is found whatever a probe has made of GS and TR.
 */
static inline void *block_of_stack(uint64_t size)
{
	uint64_t rsp;

	asm("mov %%rsp, %0" : "=r"(rsp));
	return (void *)((rsp - 1) & ~(size - 1));
}

#endif /* __ASSEMBLER__ */
#endif
