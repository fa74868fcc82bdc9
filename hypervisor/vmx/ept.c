// SPDX-License-Identifier: MIT
/*
 * Extended page tables: an identity map of all physical memory, with the memory types of the
 * MTRRs, which the processor ignores under EPT (SDM 3C 29.3.7). When the guest changes the MTRRs, the
 * types change with them.
 */
#include "ept.h"

#include "../core/context.h"
#include "../core/cpuid_bits.h"
#include "../core/host.h"
#include "../core/memory.h"
#include "mtrr.h"
#include "vmcs.h"

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

/*
 * Tables for pages that must be split when the guest changes the MTRRs, since nothing is allocated while Veneer is
 * loaded: for both borders of each variable range one of 2-MiB pages and one of 4-KiB pages, and the same for the fixed
 * ranges.
 */
#define SPARES_PER_RANGE 4
#define SPARES_MOST (SPARES_PER_RANGE * (MTRR_VARIABLE_MOST + 1))
static u64 spares[SPARES_MOST];
static unsigned int spares_left;
static u64 root_physical;
/* Those whose memory types the tables have. */
static struct mtrrs current;
/* One CPU at a time: all of them write their MTRRs at the same time (SDM 3A 12.11.8). */
static bool changing;

static int allocate_spares(const struct mtrrs *mtrrs)
{
	unsigned int needed = SPARES_PER_RANGE * (mtrrs->variable_count + mtrrs->has_fixed);

	for (spares_left = 0; spares_left < needed; spares_left++) {
		void *table = memory_alloc(1);

		if (!table)
			return -ENOMEM;
		spares[spares_left] = host_physical(table);
	}
	return 0;
}

/*
 * The table below the entry of a page that is split, with its memory type throughout; 0: there is no spare
 * left. A table stays where it is for good, so that what other processors have cached of it is never of another
 * address.
 */
static u64 split(u64 entry, u64 size)
{
	u64 *pages, part = size >> 9;

	if (!spares_left)
		return 0;
	pages = physical_to_host(spares[--spares_left]);
	for (u64 i = 0; i < size / part; i++)
		pages[i] = (entry + i * part) & ~(part == KIB4 ? ENTRY_LARGE : 0ull);
	return spares[spares_left] | EPT_ALL;
}

/* Give all pages below a table one memory type; each entry of it maps `size` bytes. */
static void set_type(u64 *entries, u64 size, u8 type)
{
	for (unsigned int i = 0; i < PAGE_BYTES / sizeof(*entries); i++) {
		if (!(entries[i] & EPT_ALL))
			continue;
		if (size > KIB4 && !(entries[i] & ENTRY_LARGE))
			set_type(physical_to_host(entries[i] & ENTRY_ADDRESS), size >> 9, type);
		else
			entries[i] = (entries[i] & ~EPT_TYPE(7)) | EPT_TYPE(type);
	}
}

/*
 * Give all pages below a table the memory types of `mtrrs`, where they have those of `before`; each entry of it maps
 * `size` bytes, the first one those at `address`. What stays as it is costs nothing: a processor without pages of
 * 1 GiB has half a million entries for each TiB, and an OS writes its MTRRs one by one, with interrupts off.
 */
static void change_types(const struct mtrrs *before, const struct mtrrs *mtrrs, u64 *entries,
			 u64 address, u64 size)
{
	for (unsigned int i = 0; i < PAGE_BYTES / sizeof(*entries); i++, address += size) {
		u64 entry = entries[i], table;
		bool differs;
		u8 type;

		if (!(entry & EPT_ALL))
			continue;
		differs = mtrr_may_differ(mtrrs, address, size);
		type = mtrr_type(mtrrs, address);
		if (!differs && !mtrr_may_differ(before, address, size) &&
		    mtrr_type(before, address) == type)
			continue;
		table = size > KIB4 && !(entry & ENTRY_LARGE) ? entry : 0;
		if (table && !differs) {
			set_type(physical_to_host(table & ENTRY_ADDRESS), size >> 9, type);
			continue;
		}
		if (!differs) {
			entries[i] = (entry & ~EPT_TYPE(7)) | EPT_TYPE(type);
			continue;
		}
		if (!table)
			table = split(entry, size);
		/* Without a spare, uncached throughout: always safe, and slow (SDM 3A 12.11.4.1). */
		if (table)
			change_types(before, mtrrs, physical_to_host(table & ENTRY_ADDRESS),
				     address, size >> 9);
		entries[i] = table ? table : (entry & ~EPT_TYPE(7)) | EPT_TYPE(MEMORY_TYPE_UC);
	}
}

/*
 * Each CPU flushes its own translations, as it writes its own MTRRs. While they are disabled all memory is uncached
 * (SDM 3A 12.11.2.1).
 */
void vmx_change_memory_types(struct vcpu *vcpu)
{
	struct mtrrs mtrrs;

	(void)vcpu;
	while (__atomic_exchange_n(&changing, true, __ATOMIC_ACQUIRE))
		pause();
	read_mtrrs(&mtrrs);
	change_types(&current, &mtrrs, physical_to_host(root_physical), 0, GIB1 << 9);
	current = mtrrs;
	__atomic_store_n(&changing, false, __ATOMIC_RELEASE);
	invept_all();
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
	if (!error)
		error = allocate_spares(&mtrrs);
	root_physical = error ? 0 : host_physical(table.root);
	current = mtrrs;
	*ept_pointer = error ? 0
			     : host_physical(table.root) | POINTER_WRITE_BACK | POINTER_FOUR_LEVELS;
	return error;
}
