/* SPDX-License-Identifier: MIT */
#include "page_tables.h"

#include <stddef.h>

/* Levels of 4-level and PAE paging by the lowest bit of the index (SDM 3A 4.4, 4.5; APM2 5.3). */
#define SHIFT_PML4 39
#define SHIFT_PDPT 30
#define SHIFT_PD 21
#define SHIFT_PT 12
/* A page directory of 32-bit paging (SDM 3A 4.3). */
#define SHIFT_PD_32 22
/* Everything that boot.S maps from here on is uncached: the I/O APIC and what follows. */
#define UNCACHED_FROM 0xfec00000u
#define PTE_UNCACHED 0x18u

#define PTE_ALL (PTE_PRESENT | PTE_WRITE | PTE_USER)

extern uint64_t boot_pml4[512], boot_pd[4 * 512];

void *page_tables_page(struct page_tables *tables)
{
	uint8_t *page = tables->pool + tables->used * PAGE_BYTES;

	if (tables->used == PAGE_TABLES_POOL)
		return NULL;
	tables->used++;
	__builtin_memset(page, 0, PAGE_BYTES);
	return page;
}

static bool is_own(const struct page_tables *tables, uint64_t address)
{
	return address - (uint64_t)tables->pool < PAGE_TABLES_POOL * PAGE_BYTES;
}

/* An identity map of 4 GiB in 4-MiB pages. */
static void begin_32_bit(struct page_tables *tables)
{
	uint32_t *directory = page_tables_page(tables);

	for (uint64_t i = 0; i < 1024; i++) {
		uint32_t address = (uint32_t)(i << SHIFT_PD_32);

		directory[i] = address | (uint32_t)(PTE_ALL | PTE_LARGE);
		if (address >= UNCACHED_FROM)
			directory[i] |= PTE_UNCACHED;
	}
	tables->root = (uint64_t)directory;
}

void page_tables_begin(struct page_tables *tables, enum page_format format)
{
	uint64_t *root;

	tables->used = 0;
	tables->format = format;
	if (format == PAGES_32_BIT) {
		begin_32_bit(tables);
		return;
	}
	root = page_tables_page(tables);
	if (format == PAGES_4_LEVEL)
		__builtin_memcpy(root, boot_pml4, PAGE_BYTES);
	/* R/W and U/S are reserved in an entry of PAE's first table (SDM 3A table 4-8). */
	for (uint64_t i = 0; format == PAGES_PAE && i < 4; i++)
		root[i] = (uint64_t)&boot_pd[i * 512] | PTE_PRESENT;
	tables->root = (uint64_t)root;
}

/* The table that an entry leads to, after it was made one of our own; `shift` is the entry's. */
static uint64_t *own_table(struct page_tables *tables, uint64_t *entry, unsigned int shift)
{
	uint64_t old = *entry, *table;

	if (old & PTE_PRESENT && !(old & PTE_LARGE) && is_own(tables, old & PTE_FRAME))
		return (uint64_t *)(old & PTE_FRAME);
	table = page_tables_page(tables);
	if (!table)
		return NULL;
	if (old & PTE_PRESENT && old & PTE_LARGE) {
		uint64_t flags = old & ~PTE_FRAME;

		if (shift == SHIFT_PD)
			flags &= ~PTE_LARGE;
		for (uint64_t i = 0; i < 512; i++)
			table[i] = ((old & PTE_FRAME) + (i << (shift - 9))) | flags;
	} else if (old & PTE_PRESENT) {
		__builtin_memcpy(table, (const void *)(old & PTE_FRAME), PAGE_BYTES);
	}
	*entry = (uint64_t)table |
		 (tables->format == PAGES_PAE && shift == SHIFT_PDPT ? PTE_PRESENT : PTE_ALL);
	return table;
}

static uint64_t *find_wide(struct page_tables *tables, uint64_t linear)
{
	uint64_t *table = (uint64_t *)tables->root;
	unsigned int shift = tables->format == PAGES_PAE ? SHIFT_PDPT : SHIFT_PML4;

	for (; table && shift > SHIFT_PT; shift -= 9)
		table = own_table(tables, &table[linear >> shift & 511], shift);
	return table ? &table[linear >> SHIFT_PT & 511] : NULL;
}

static uint32_t *find_32_bit(struct page_tables *tables, uint64_t linear)
{
	uint32_t *entry = &((uint32_t *)tables->root)[linear >> SHIFT_PD_32 & 1023], *table;

	if (*entry & PTE_LARGE) {
		uint32_t old = *entry & ~(uint32_t)PTE_LARGE;

		table = page_tables_page(tables);
		if (!table)
			return NULL;
		for (uint32_t i = 0; i < 1024; i++)
			table[i] = old + (i << SHIFT_PT);
		*entry = (uint32_t)(uint64_t)table | (uint32_t)PTE_ALL;
	}
	table = (uint32_t *)(uint64_t)(*entry & (uint32_t)PTE_FRAME_32);
	return &table[linear >> SHIFT_PT & 1023];
}

/* Bits 63 to 47 of an address of 4-level paging are alike (SDM 1 3.3.7.1). */
static bool can_map(const struct page_tables *tables, uint64_t linear)
{
	uint64_t upper = linear >> 47;

	if (tables->format == PAGES_4_LEVEL)
		return !upper || upper == 0x1ffff;
	return !(linear >> 32);
}

bool page_tables_get(struct page_tables *tables, uint64_t linear, uint64_t *entry)
{
	uint64_t *wide;
	uint32_t *narrow;

	if (!can_map(tables, linear))
		return false;
	if (tables->format == PAGES_32_BIT) {
		narrow = find_32_bit(tables, linear);
		*entry = narrow ? *narrow : 0;
		return narrow;
	}
	wide = find_wide(tables, linear);
	*entry = wide ? *wide : 0;
	return wide;
}

bool page_tables_set(struct page_tables *tables, uint64_t linear, uint64_t entry)
{
	uint64_t *wide;
	uint32_t *narrow;

	if (!can_map(tables, linear))
		return false;
	if (tables->format == PAGES_32_BIT) {
		narrow = find_32_bit(tables, linear);
		if (narrow && !(entry >> 32))
			*narrow = (uint32_t)entry;
		return narrow && !(entry >> 32);
	}
	wide = find_wide(tables, linear);
	if (wide)
		*wide = entry;
	return wide;
}
