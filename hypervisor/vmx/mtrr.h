/* SPDX-License-Identifier: MIT */
/* Memory types from MTRRs. No privileged instructions, so that it can be tested in user space. */
#ifndef VENEER_MTRR_H
#define VENEER_MTRR_H

#include "../core/types.h"

#define MEMORY_TYPE_UC 0
#define MEMORY_TYPE_WT 4
#define MEMORY_TYPE_WB 6

/* 64 KiB, 16 KiB and 4 KiB ranges: 1 + 2 + 8 MSRs of eight types each. */
#define MTRR_FIXED 11
#define MTRR_VARIABLE_MOST 32

/* The MTRRs as RDMSR gives them (SDM 3A 12.11.2). */
struct mtrrs {
	/* IA32_MTRR_DEF_TYPE. */
	u64 default_type;
	/* Fixed-range MTRRs exist (IA32_MTRRCAP.FIX). */
	u32 has_fixed;
	u32 variable_count;
	u64 fixed[MTRR_FIXED];
	struct {
		u64 base, mask;
	} variable[MTRR_VARIABLE_MOST];
	/* MAXPHYADDR. */
	u32 address_bits;
};

/* The type of the 4-KiB page at an address. */
u8 mtrr_type(const struct mtrrs *mtrrs, u64 address);

/*
 * May pages of [address, address + size) differ in type? size is a power of two, address a
 * multiple of it. If false, they do not; if true, they may still all be the same.
 */
bool mtrr_may_differ(const struct mtrrs *mtrrs, u64 address, u64 size);

#endif
