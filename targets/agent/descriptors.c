/* SPDX-License-Identifier: MIT */
#include "descriptors.h"

#include "probe.h"

/* Type and attributes of gates and descriptors (SDM 3A 3.5, 6.14.1, 8.2.3). */
#define GATE_INTERRUPT 0x8e00ull
#define GATE_DPL3 0x6000ull
#define TSS_AVAILABLE (0x89ull << 40)

#define VECTOR_BP 3
#define VECTOR_OF 4

void fill_probe_idt(idt_gate idt[IDT_VECTORS], uint16_t selector,
		    unsigned int (*ist_of)(unsigned int vector))
{
	for (unsigned int vector = 0; vector < IDT_VECTORS; vector++) {
		uint64_t stub = (uint64_t)probe_stubs + vector * PROBE_STUB_SIZE;
		uint64_t type = GATE_INTERRUPT;

		if (vector == VECTOR_BP || vector == VECTOR_OF)
			type |= GATE_DPL3;
		idt[vector][0] = (stub & 0xffff) | (uint64_t)selector << 16 |
				 (type | ist_of(vector)) << 32 | (stub >> 16 & 0xffff) << 48;
		idt[vector][1] = stub >> 32;
	}
}

void fill_probe_gdt(uint64_t *gdt)
{
	static const uint64_t segments[] = {
		[1] = DESCRIPTOR_KERNEL_CS, [2] = 0x00cf93000000ffff, [3] = 0x00cf9b000000ffff,
		[4] = 0x00cffb000000ffff,   [5] = 0x00cff3000000ffff, [6] = 0x00affb000000ffff,
	};

	__builtin_memcpy(gdt, segments, sizeof(segments));
}

void fill_tss_descriptor(uint64_t *descriptor, const void *tss, size_t size)
{
	uint64_t base = (uint64_t)tss;

	descriptor[0] = (size - 1) | (base & 0xffffff) << 16 | TSS_AVAILABLE |
			(base >> 24 & 0xff) << 56;
	descriptor[1] = base >> 32;
}
