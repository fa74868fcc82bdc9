// SPDX-License-Identifier: MIT
/*
 * Extended page tables: an identity map of all physical memory, with the memory types of the
 * MTRRs, which the processor ignores under EPT (SDM 3C 29.3.7).
 */
#include "../core/context.h"
#include "../core/cpuid_bits.h"
#include "../core/host.h"
#include "../core/memory.h"
#include "mtrr.h"
#include "vmx.h"

/* Read, write, execute (SDM 3C table 29-1). */
#define EPT_ALL 7ull
#define EPT_TYPE(type) ((u64)(type) << 3)
/* Of the EPT pointer: how the tables themselves are cached, and the length of the walk minus one (SDM 3C 25.6.11). */
#define POINTER_WRITE_BACK 6ull
#define POINTER_FOUR_LEVELS (3ull << 3)
/* What four levels can map; machines that report more bits are mapped up to here. */
#define MOST_ADDRESS_BITS 48

static u32 fixed_msr(unsigned int index)
{
	static const u32 first[] = { MSR_MTRR_FIX64K_00000, MSR_MTRR_FIX16K_80000,
				     MSR_MTRR_FIX16K_A0000 };

	return index < COUNT_OF(first) ? first[index]
				       : MSR_MTRR_FIX4K_C0000 + index - COUNT_OF(first);
}

static void read_mtrrs(struct mtrrs *mtrrs)
{
	u32 a, b, c, d;
	u64 capability;

	*mtrrs = (struct mtrrs){ .address_bits = physical_address_bits() };
	cpuid(1, 0, &a, &b, &c, &d);
	if (!(d & CPUID_1_EDX_MTRR)) {
		/*
		 * No MTRRs: the PAT alone decides. The same as enabled MTRRs without ranges and
		 * with default write-back.
		 */
		mtrrs->default_type = MTRR_DEF_TYPE_ENABLED | MEMORY_TYPE_WB;
		return;
	}
	capability = read_msr(MSR_MTRR_CAP);
	mtrrs->default_type = read_msr(MSR_MTRR_DEF_TYPE);
	mtrrs->has_fixed = !!(capability & MTRR_CAP_FIXED);
	for (unsigned int i = 0; mtrrs->has_fixed && i < MTRR_FIXED; i++)
		mtrrs->fixed[i] = read_msr(fixed_msr(i));
	mtrrs->variable_count = capability & MTRR_CAP_COUNT;
	if (mtrrs->variable_count > MTRR_VARIABLE_MOST)
		mtrrs->variable_count = MTRR_VARIABLE_MOST;
	for (unsigned int i = 0; i < mtrrs->variable_count; i++) {
		mtrrs->variable[i].base = read_msr(MSR_MTRR_PHYSBASE0 + 2 * i);
		mtrrs->variable[i].mask = read_msr(MSR_MTRR_PHYSBASE0 + 2 * i + 1);
	}
}

/* Map with the largest pages that have one memory type throughout. */
static int map_range(struct page_table *table, const struct mtrrs *mtrrs, u64 address, u64 size,
		     u64 largest)
{
	int error = 0;

	if (!mtrr_may_differ(mtrrs, address, size))
		return page_table_map(table, address, address, size,
				      size < largest ? size : largest,
				      EPT_ALL | EPT_TYPE(mtrr_type(mtrrs, address)));
	for (u64 offset = 0; offset < size && !error; offset += size >> 9)
		error = map_range(table, mtrrs, address + offset, size >> 9, largest);
	return error;
}

int vmx_build_ept(u64 *ept_pointer)
{
	u64 largest = read_msr(MSR_VMX_EPT_VPID_CAP) & EPT_CAP_1_GIB_PAGES ? GIB1 : MIB2;
	unsigned int bits = physical_address_bits();
	struct page_table table;
	struct mtrrs mtrrs;
	int error;

	if (bits > MOST_ADDRESS_BITS)
		bits = MOST_ADDRESS_BITS;
	read_mtrrs(&mtrrs);
	error = page_table_init(&table, EPT_ALL, EPT_ALL);
	for (u64 address = 0; address < 1ull << bits && !error; address += GIB1)
		error = map_range(&table, &mtrrs, address, GIB1, largest);
	*ept_pointer = error ? 0
			     : host_physical(table.root) | POINTER_WRITE_BACK | POINTER_FOUR_LEVELS;
	return error;
}
