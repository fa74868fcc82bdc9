// SPDX-License-Identifier: MIT
#include "mtrr.h"

#include "../core/registers.h"

#define FIXED_END 0x100000ull

static bool uses_fixed(const struct mtrrs *mtrrs)
{
	return mtrrs->has_fixed && mtrrs->default_type & MTRR_DEF_TYPE_FIXED_ENABLED;
}

/* One type per byte (SDM 3A table 12-9). */
static u8 fixed_type(const struct mtrrs *mtrrs, u32 address)
{
	u32 index, slot;

	if (address < 0x80000) {
		index = 0;
		slot = address >> 16;
	} else if (address < 0xc0000) {
		index = 1 + ((address - 0x80000) >> 17);
		slot = address >> 14;
	} else {
		index = 3 + ((address - 0xc0000) >> 15);
		slot = address >> 12;
	}
	return mtrrs->fixed[index] >> 8 * (slot & 7);
}

/* Bits of an address that a variable range compares (SDM 3A 12.11.2.3). */
static u64 compared_bits(const struct mtrrs *mtrrs, unsigned int range)
{
	u64 address_mask = (1ull << mtrrs->address_bits) - 1;

	return mtrrs->variable[range].mask & address_mask & ~(PAGE_BYTES - 1);
}

static bool is_within(const struct mtrrs *mtrrs, unsigned int range, u64 address, u64 bits)
{
	return mtrrs->variable[range].mask & MTRR_MASK_VALID &&
	       !((address ^ mtrrs->variable[range].base) & bits);
}

/* Overlapping ranges: UC wins; WT wins over WB; anything else is undefined, and UC is always safe (SDM 3A 12.11.4.1). */
static u8 combine(u8 one, u8 other)
{
	if (one == other)
		return one;
	if ((one == MEMORY_TYPE_WT && other == MEMORY_TYPE_WB) ||
	    (one == MEMORY_TYPE_WB && other == MEMORY_TYPE_WT))
		return MEMORY_TYPE_WT;
	return MEMORY_TYPE_UC;
}

u8 mtrr_type(const struct mtrrs *mtrrs, u64 address)
{
	bool found = false;
	u8 type = mtrrs->default_type & 0xff;

	if (!(mtrrs->default_type & MTRR_DEF_TYPE_ENABLED))
		return MEMORY_TYPE_UC;
	if (address < FIXED_END && uses_fixed(mtrrs))
		return fixed_type(mtrrs, address);
	for (unsigned int i = 0; i < mtrrs->variable_count; i++) {
		u8 range_type = mtrrs->variable[i].base & 0xff;

		if (!is_within(mtrrs, i, address, compared_bits(mtrrs, i)))
			continue;
		type = found ? combine(type, range_type) : range_type;
		found = true;
	}
	return type;
}

bool mtrr_may_differ(const struct mtrrs *mtrrs, u64 address, u64 size)
{
	if (size <= PAGE_BYTES || !(mtrrs->default_type & MTRR_DEF_TYPE_ENABLED))
		return false;
	if (address < FIXED_END && uses_fixed(mtrrs))
		return true;
	for (unsigned int i = 0; i < mtrrs->variable_count; i++) {
		u64 bits = compared_bits(mtrrs, i);

		/*
		 * The range has a border inside if bits below the size are compared and all bits
		 * above match.
		 */
		if (bits & (size - 1) && is_within(mtrrs, i, address, bits & ~(size - 1)))
			return true;
	}
	return false;
}
