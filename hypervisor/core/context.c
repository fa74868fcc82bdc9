// SPDX-License-Identifier: MIT
#include "context.h"

#include "cpuid_bits.h"

void capture_context(struct context *context)
{
	context->cr0 = read_cr0();
	context->cr3 = read_cr3();
	context->cr4 = read_cr4();
	context->efer = read_msr(MSR_EFER);
	context->rflags = read_rflags();
	context->dr7 = read_dr7();
	context->fs_base = read_msr(MSR_FS_BASE);
	context->gs_base = read_msr(MSR_GS_BASE);
	read_gdtr(&context->gdtr);
	read_idtr(&context->idtr);
	context->cs = read_cs();
	context->ss = read_ss();
	asm volatile("mov %%ds, %0" : "=rm"(context->ds));
	asm volatile("mov %%es, %0" : "=rm"(context->es));
	context->fs = read_fs();
	context->gs = read_gs();
	context->ldtr = read_ldtr();
	context->tr = read_tr();
}

bool has_five_level_paging(void)
{
	return read_cr4() & CR4_LA57;
}

/* CPUID 80000008 EAX[7:0]; 36 where the leaf is missing (SDM 3A 4.1.4, APM3 E.4.7). */
unsigned int physical_address_bits(void)
{
	u32 a, b, c, d;

	cpuid(0x80000000, 0, &a, &b, &c, &d);
	if (a < 0x80000008)
		return 36;
	cpuid(0x80000008, 0, &a, &b, &c, &d);
	return a & CPUID_80000008_EAX_PHYSICAL_BITS;
}

/* CPUID 80000001 EDX.Page1GB[26]. */
bool has_gigabyte_pages(void)
{
	u32 a, b, c, d;

	cpuid(0x80000001, 0, &a, &b, &c, &d);
	return d & CPUID_80000001_EDX_PAGE1GB;
}

/*
 * The table that a selector's descriptor is in: the GDT, or the LDT. NULL for a null selector, and for one of the LDT if
 * there is none (SDM 3A 3.4.2, APM2 4.5.1).
 */
static const u64 *find_table(const struct context *context, u16 selector)
{
	if (!(selector & ~3u))
		return NULL;
	if (selector & SELECTOR_LDT)
		return (const u64 *)read_segment(context, context->ldtr & ~SELECTOR_LDT).base;
	return (const u64 *)context->gdtr.base;
}

/* Descriptors: SDM 3A 3.4.5, APM2 4.7. System descriptors have 16 bytes in long mode. */
struct segment read_segment(const struct context *context, u16 selector)
{
	struct segment segment = { .selector = selector };
	const u64 *table = find_table(context, selector);
	u64 low;

	if (!table)
		return segment;
	low = table[selector >> 3];
	segment.attributes = (low >> 40 & 0xff) | (low >> 44 & 0xf00);
	segment.limit = (low & 0xffff) | (low >> 32 & 0xf0000);
	if (segment.attributes & 0x800)
		segment.limit = segment.limit << 12 | 0xfff;
	segment.base = (low >> 16 & 0xffffff) | (low >> 32 & 0xff000000);
	if (!(segment.attributes & 0x10))
		segment.base |= table[(selector >> 3) + 1] << 32;
	return segment;
}
