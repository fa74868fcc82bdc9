/* SPDX-License-Identifier: MIT */
/*
 * Page tables of one CPU's own, for the time of a probe: the OS' tables, of which each table that is changed is
 * copied first. In the format of 4-level, PAE or 32-bit paging.
 */
#ifndef BARE_PAGE_TABLES_H
#define BARE_PAGE_TABLES_H

#include <stdbool.h>
#include <stdint.h>

#define PAGE_BYTES 4096ull

#define PTE_PRESENT 0x1ull
#define PTE_WRITE 0x2ull
#define PTE_USER 0x4ull
#define PTE_LARGE 0x80ull
#define PTE_FRAME 0x000ffffffffff000ull
#define PTE_FRAME_32 0xfffff000ull

/* Enough for the pages of one probe (PROBE_PAGE_MAX, and two of code), each in a region of its own. */
#define PAGE_TABLES_POOL 36

enum page_format {
	PAGES_4_LEVEL,
	PAGES_PAE,
	PAGES_32_BIT
};

struct page_tables {
	uint8_t *pool; /* PAGE_TABLES_POOL pages */
	unsigned int used;
	enum page_format format;
	uint64_t root;
};

/* Begin with the mapping of the OS; the pool is free again. */
void page_tables_begin(struct page_tables *tables, enum page_format format);
/* A zeroed page of the pool, or NULL. */
void *page_tables_page(struct page_tables *tables);
/*
 * The entry of a 4-KiB page, and with set_page() its new value. False if the pool is exhausted, or if the format
 * cannot express the address or the value.
 */
bool page_tables_get(struct page_tables *tables, uint64_t linear, uint64_t *entry);
bool page_tables_set(struct page_tables *tables, uint64_t linear, uint64_t entry);

#endif
