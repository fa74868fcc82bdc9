/* SPDX-License-Identifier: MIT */
/*
 * Veneer's memory. Every allocation is recorded, so that it can be mapped into the host page
 * tables, and freed with all others.
 */
#ifndef VENEER_MEMORY_H
#define VENEER_MEMORY_H

#include "types.h"

/*
 * Where host mode maps all of physical memory: in the lower half, where no operating system has
 * its kernel. Everything else has the address that it has in the operating system.
 */
#define PHYSICAL_WINDOW 0x400000000000ull

void *memory_alloc(size_t pages);
/* The same, preceded by a guard page that is not mapped in host mode. */
void *memory_alloc_guarded(size_t pages);
void memory_free_all(void);

/* Bits of an entry of page tables with 8-byte entries (SDM 3A 4.5, APM2 5.3). */
#define ENTRY_PRESENT BIT_ULL_AT(0)
#define ENTRY_WRITABLE BIT_ULL_AT(1)
#define ENTRY_USER BIT_ULL_AT(2)
#define ENTRY_LARGE BIT_ULL_AT(7)
#define ENTRY_ADDRESS 0x000ffffffffff000ull

#define KIB4 PAGE_BYTES
#define MIB2 (PAGE_BYTES << 9)
#define GIB1 (PAGE_BYTES << 18)

/*
 * Page tables in the format that long mode and AMD's nested paging share
 * (APM2 5.3, 15.25); with other bits, Intel's EPT as well (SDM 3C 29.3.2).
 */
struct page_table {
	u64 *root;
	/* 4, unless it is set to 5 before anything is mapped. */
	unsigned int levels;
	/* Bits of an entry that points to a table. */
	u64 table_bits;
	/* Mask of the bits that make an entry present. */
	u64 present_bits;
};

int page_table_init(struct page_table *table, u64 table_bits, u64 present_bits);
/* Map [address, address + size) to physical memory with leaves of leaf_size (4 KiB, 2 MiB, 1 GiB), whole ones. */
int page_table_map(struct page_table *table, u64 address, u64 physical, u64 size, u64 leaf_size,
		   u64 leaf_bits);

/* Build the host page tables from everything allocated so far; returns the root's physical address, or 0. */
u64 build_host_page_table(bool five_levels);

/* In host mode: physical memory as Veneer sees it. */
static inline void *physical_to_host(u64 physical)
{
	return (void *)(PHYSICAL_WINDOW + physical);
}

#endif
