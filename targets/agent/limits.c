/* SPDX-License-Identifier: MIT */
#include "limits.h"

#include "x86.h"

#define EFER_LME (1ull << 8)
/* Bits 12 and 32: 57-bit addresses, which cannot change in 64-bit mode, and FRED, which takes the IDT's place. */
#define CR4_FIXED (1ull << 12 | 1ull << 32)

enum leaf {
	LEAF_1,
	LEAF_7,
	LEAF_7_1
};
enum {
	EAX,
	EBX,
	ECX,
	EDX
};

/* A bit of CR4, and the bit of CPUID that says that it exists (SDM 3A 2.5, APM2 3.1.3, Appendix D). */
static const struct cr4_bit {
	uint8_t number, leaf, output, feature;
} cr4_bits[] = {
	{ 0, LEAF_1, EDX, 1 },	   /* VME */
	{ 1, LEAF_1, EDX, 1 },	   /* PVI */
	{ 2, LEAF_1, EDX, 4 },	   /* TSD: TSC */
	{ 3, LEAF_1, EDX, 2 },	   /* DE */
	{ 4, LEAF_1, EDX, 3 },	   /* PSE */
	{ 5, LEAF_1, EDX, 6 },	   /* PAE */
	{ 6, LEAF_1, EDX, 7 },	   /* MCE */
	{ 7, LEAF_1, EDX, 13 },	   /* PGE */
	{ 9, LEAF_1, EDX, 24 },	   /* OSFXSR: FXSR */
	{ 10, LEAF_1, EDX, 25 },   /* OSXMMEXCPT: SSE */
	{ 11, LEAF_7, ECX, 2 },	   /* UMIP */
	{ 12, LEAF_7, ECX, 16 },   /* LA57 */
	{ 13, LEAF_1, ECX, 5 },	   /* VMXE: VMX */
	{ 14, LEAF_1, ECX, 6 },	   /* SMXE: SMX */
	{ 16, LEAF_7, EBX, 0 },	   /* FSGSBASE */
	{ 17, LEAF_1, ECX, 17 },   /* PCIDE: PCID */
	{ 18, LEAF_1, ECX, 26 },   /* OSXSAVE: XSAVE */
	{ 19, LEAF_7, ECX, 23 },   /* KL */
	{ 20, LEAF_7, EBX, 7 },	   /* SMEP */
	{ 21, LEAF_7, EBX, 20 },   /* SMAP */
	{ 22, LEAF_7, ECX, 3 },	   /* PKE: PKU */
	{ 23, LEAF_7, ECX, 7 },	   /* CET: shadow stacks */
	{ 23, LEAF_7, EDX, 20 },   /* CET: indirect branch tracking */
	{ 24, LEAF_7, ECX, 31 },   /* PKS */
	{ 25, LEAF_7, EDX, 5 },	   /* UINTR */
	{ 27, LEAF_7_1, EAX, 6 },  /* LASS */
	{ 28, LEAF_7_1, EAX, 26 }, /* LAM_SUP: LAM */
	{ 32, LEAF_7_1, EAX, 17 }, /* FRED */
};

/* Bit 8, PCE, has no bit of CPUID. */
static uint64_t cr4_there = 1ull << 8;
static uint64_t efer_needed_bits = EFER_LME;

void limits_begin(uint64_t efer_needed)
{
	uint32_t highest = x86_cpuid(0, 0).eax, sub = 0;
	struct x86_cpuid leaves[3] = { [LEAF_1] = x86_cpuid(1, 0) };

	efer_needed_bits |= efer_needed;
	if (highest >= 7) {
		leaves[LEAF_7] = x86_cpuid(7, 0);
		sub = leaves[LEAF_7].eax;
	}
	if (sub >= 1)
		leaves[LEAF_7_1] = x86_cpuid(7, 1);
	for (size_t i = 0; i < sizeof(cr4_bits) / sizeof(cr4_bits[0]); i++) {
		const struct cr4_bit *bit = &cr4_bits[i];
		const struct x86_cpuid *leaf = &leaves[bit->leaf];
		const uint32_t outputs[] = { leaf->eax, leaf->ebx, leaf->ecx, leaf->edx };

		if (outputs[bit->output] >> bit->feature & 1)
			cr4_there |= 1ull << bit->number;
	}
}

const char *limits_forbid(uint64_t efer, uint64_t efer_now, uint64_t cr4, uint64_t cr4_now)
{
	if (efer_now & ~efer & efer_needed_bits)
		return "efer: a bit that long mode or this OS needs";
	if (cr4 & ~cr4_now & ~cr4_there)
		return "cr4: a bit that this CPU does not have";
	if ((cr4 ^ cr4_now) & CR4_FIXED)
		return "cr4: a bit that cannot change while the OS runs";
	return NULL;
}
