// SPDX-License-Identifier: MIT
/* The memory types of the EPT while a guest changes its MTRRs, against the MTRRs themselves. */
#include "core/context.h"
#include "core/cpuid_bits.h"
#include "core/host.h"
#include "core/memory.h"
#include "harness.h"
#include "vmx/ept.h"
#include "vmx/mtrr.h"
#include "vmx/vmcs.h"

#define BITS 36
#define RANGES 3

static struct mtrrs mtrrs;
static bool has_gib_pages;
static unsigned int asked;

static u64 fake_msr(u32 msr)
{
	switch (msr) {
	case MSR_VMX_EPT_VPID_CAP:
		return has_gib_pages ? EPT_CAP_1_GIB_PAGES : 0;
	case MSR_MTRR_CAP:
		return RANGES | MTRR_CAP_FIXED;
	case MSR_MTRR_DEF_TYPE:
		return mtrrs.default_type;
	case MSR_MTRR_FIX64K_00000:
		return mtrrs.fixed[0];
	case MSR_MTRR_FIX16K_80000:
	case MSR_MTRR_FIX16K_A0000:
		return mtrrs.fixed[1 + msr - MSR_MTRR_FIX16K_80000];
	}
	if (msr >= MSR_MTRR_FIX4K_C0000 && msr < MSR_MTRR_FIX4K_C0000 + 8)
		return mtrrs.fixed[3 + msr - MSR_MTRR_FIX4K_C0000];
	CHECK(msr >= MSR_MTRR_PHYSBASE0 && msr < MSR_MTRR_PHYSBASE0 + 2 * RANGES);
	msr -= MSR_MTRR_PHYSBASE0;
	return msr & 1 ? mtrrs.variable[msr / 2].mask : mtrrs.variable[msr / 2].base;
}

static void fake_cpuid(u32 *d)
{
	*d = CPUID_1_EDX_MTRR;
}

static bool counted(const struct mtrrs *of, u64 address, u64 size)
{
	asked++;
	return mtrr_may_differ(of, address, size);
}

#define read_msr fake_msr
#define cpuid(leaf, subleaf, a, b, c, d) \
	((void)(a), (void)(b), (void)(c), (void)*(b), fake_cpuid(d))
#define physical_address_bits() BITS
#define physical_to_host(physical) ((void *)(physical))
#define invept_all() ((void)0)
#define mtrr_may_differ counted
#include "vmx/ept.c"

static u8 type_of(u64 address)
{
	u64 table = root_physical;

	for (unsigned int shift = 39;; shift -= 9) {
		u64 entry = ((u64 *)(table & ENTRY_ADDRESS))[address >> shift & 511];

		CHECK((entry & 7) == EPT_ALL);
		if (shift == 12 || entry & ENTRY_LARGE) {
			u64 offset = (1ull << shift) - 1;

			CHECK((entry & ENTRY_ADDRESS & ~offset) == (address & ~offset));
			return entry >> 3 & 7;
		}
		table = entry;
	}
}

static void compare_at(u64 address)
{
	address &= (1ull << BITS) - 1 - (PAGE_BYTES - 1);
	CHECK(type_of(address) == mtrr_type(&mtrrs, address) ||
	      (!spares_left && type_of(address) == MEMORY_TYPE_UC));
}

/* At all borders, and one page beside them. */
static void compare(void)
{
	for (u64 address = 0; address < 1ull << BITS; address += GIB1)
		for (int beside = -1; beside <= 1; beside++)
			compare_at(address + beside * (long long)PAGE_BYTES);
	for (u64 address = 0; address < 2 * MIB2; address += PAGE_BYTES)
		compare_at(address);
	for (unsigned int i = 0; i < RANGES; i++) {
		u64 mask = mtrrs.variable[i].mask & ((1ull << BITS) - 1) & ~0xfffull;
		u64 base = mtrrs.variable[i].base, size = mask & -mask;

		for (int beside = -1; beside <= 1; beside++) {
			compare_at(base + beside * (long long)PAGE_BYTES);
			compare_at(base + size + beside * (long long)PAGE_BYTES);
			compare_at((base & ~(MIB2 - 1)) + beside * (long long)PAGE_BYTES);
		}
	}
}

static u64 state;

static u64 draw(u64 below)
{
	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (state >> 33) % below;
}

static u8 some_type(void)
{
	return (u8[]){ MEMORY_TYPE_UC, 1, MEMORY_TYPE_WT, 5, MEMORY_TYPE_WB }[draw(5)];
}

static void change_something(void)
{
	unsigned int i = draw(RANGES);
	u64 size;

	switch (draw(5)) {
	case 0: /* as an OS does around its changes */
		mtrrs.default_type ^= MTRR_DEF_TYPE_ENABLED;
		break;
	case 1:
		mtrrs.default_type = (mtrrs.default_type & ~0xffull) | some_type();
		mtrrs.default_type ^= draw(2) ? MTRR_DEF_TYPE_FIXED_ENABLED : 0;
		break;
	case 2:
		mtrrs.fixed[draw(MTRR_FIXED)] = some_type() * 0x0101010101010101ull;
		break;
	case 3:
		mtrrs.variable[i].mask ^= MTRR_MASK_VALID;
		break;
	default:
		size = PAGE_BYTES << draw(BITS - 12);
		mtrrs.variable[i].base = (draw(1u << 30) * size & ((1ull << BITS) - 1)) |
					 some_type();
		mtrrs.variable[i].mask = ((1ull << BITS) - size) | MTRR_MASK_VALID;
	}
}

static void test_changes(bool gib_pages, unsigned int seed)
{
	u64 pointer;

	has_gib_pages = gib_pages;
	state = seed;
	mtrrs = (struct mtrrs){ .default_type = MTRR_DEF_TYPE_ENABLED | MEMORY_TYPE_WB,
				.has_fixed = 1,
				.variable_count = RANGES,
				.address_bits = BITS };
	for (int i = 0; i < 4; i++)
		change_something();
	CHECK(!vmx_build_ept(&pointer));
	compare();
	for (int i = 0; i < 25; i++) {
		change_something();
		vmx_change_memory_types(NULL);
		compare();
	}
	memory_free_all();
	CHECK(!pages_in_use);
}

/* A processor without pages of 1 GiB has 32768 entries for 64 GiB: a change of one page must not look at them all. */
static void test_small_change_is_cheap(void)
{
	u64 pointer;

	has_gib_pages = false;
	mtrrs = (struct mtrrs){ .default_type = MTRR_DEF_TYPE_ENABLED | MEMORY_TYPE_WB,
				.has_fixed = 1,
				.variable_count = RANGES,
				.address_bits = BITS };
	CHECK(!vmx_build_ept(&pointer));
	mtrrs.variable[0].base = 5 * GIB1;
	mtrrs.variable[0].mask = ((1ull << BITS) - PAGE_BYTES) | MTRR_MASK_VALID;
	asked = 0;
	vmx_change_memory_types(NULL);
	CHECK(asked && asked < 4000);
	compare();
	memory_free_all();
}

/* Where two ranges overlap (SDM 3A 12.11.4.1); what that leaves undefined is uncached here. */
static void test_overlaps(void)
{
	static const u8 types[] = { MEMORY_TYPE_UC, 1, MEMORY_TYPE_WT, 5, MEMORY_TYPE_WB };
	static const u8 expected[COUNT_OF(types)][COUNT_OF(types)] = {
		{ 0, 0, 0, 0, 0 }, { 0, 1, 0, 0, 0 }, { 0, 0, 4, 0, 4 },
		{ 0, 0, 0, 5, 0 }, { 0, 0, 4, 0, 6 },
	};

	for (unsigned int i = 0; i < COUNT_OF(types); i++) {
		for (unsigned int j = 0; j < COUNT_OF(types); j++) {
			const u64 mask = ((1ull << BITS) - GIB1) | MTRR_MASK_VALID;
			struct mtrrs two = { .default_type = MTRR_DEF_TYPE_ENABLED | 5,
					     .variable_count = 2,
					     .address_bits = BITS };

			two.variable[0].base = two.variable[1].base = GIB1;
			two.variable[0].base |= types[i];
			two.variable[1].base |= types[j];
			two.variable[0].mask = two.variable[1].mask = mask;
			CHECK(mtrr_type(&two, GIB1) == expected[i][j]);
			CHECK(mtrr_type(&two, 2 * GIB1) == 5);
		}
	}
}

void test_memory_types(void)
{
	test_overlaps();
	test_small_change_is_cheap();
	for (unsigned int seed = 1; seed <= 8; seed++)
		test_changes(seed & 1, seed);
}
