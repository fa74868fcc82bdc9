// SPDX-License-Identifier: MIT
#include "memory.h"

#include "context.h"
#include "host.h"

#define ENTRIES 512

/* Allocations are recorded in a list of pages, so that their number has no limit. */
struct record_page {
	struct record_page *next;
	size_t used;
	struct record {
		void *memory;
		u32 pages;
		/* The first page is a guard. */
		bool guarded;
	} records[(PAGE_BYTES - 16) / 16];
};

static struct record_page *records;

static void *allocate(size_t pages, bool guarded)
{
	void *memory;

	if (!records || records->used == COUNT_OF(records->records)) {
		struct record_page *page = host_alloc(1);

		if (!page)
			return NULL;
		page->next = records;
		records = page;
	}
	memory = host_alloc(pages);
	if (!memory)
		return NULL;
	records->records[records->used++] = (struct record){
		.memory = memory,
		.pages = pages,
		.guarded = guarded,
	};
	return memory;
}

void *memory_alloc(size_t pages)
{
	return allocate(pages, false);
}

void *memory_alloc_guarded(size_t pages)
{
	char *memory = allocate(pages + 1, true);

	return memory ? memory + PAGE_BYTES : NULL;
}

void memory_free_all(void)
{
	while (records) {
		struct record_page *page = records;

		records = page->next;
		for (size_t i = 0; i < page->used; i++)
			host_free(page->records[i].memory, page->records[i].pages);
		host_free(page, 1);
	}
}

int page_table_init(struct page_table *table, u64 table_bits, u64 present_bits)
{
	table->root = memory_alloc(1);
	table->levels = 4;
	table->table_bits = table_bits;
	table->present_bits = present_bits;
	return table->root ? 0 : -ENOMEM;
}

/* The entry for a leaf at an address, with the tables above it; NULL: no memory. */
static u64 *find_leaf(struct page_table *table, u64 address, u64 leaf_size)
{
	u64 *entries = table->root;
	unsigned int shift = 3 + 9 * table->levels;

	for (;; shift -= 9) {
		u64 *entry = &entries[address >> shift & (ENTRIES - 1)];

		if (1ull << shift == leaf_size)
			return entry;
		if (!(*entry & table->present_bits)) {
			void *child = memory_alloc(1);

			if (!child)
				return NULL;
			*entry = host_physical(child) | table->table_bits;
		}
		entries = host_virtual(*entry & ENTRY_ADDRESS);
	}
}

/*
 * Entries that follow each other in one table. A function of its own, whose loop needs no more registers than there
 * are: a processor without 1-GiB pages has a million entries to fill before Veneer is loaded.
 */
static __attribute__((noinline)) void fill(u64 *entry, u64 count, u64 value, u64 step)
{
	for (u64 *end = entry + count; entry != end; value += step)
		*entry++ = value;
}

int page_table_map(struct page_table *table, u64 address, u64 physical, u64 size, u64 leaf_size,
		   u64 leaf_bits)
{
	u64 count;

	if (leaf_size > KIB4)
		leaf_bits |= ENTRY_LARGE;
	for (u64 left = size / leaf_size; left; left -= count) {
		u64 *entry = find_leaf(table, address, leaf_size);

		if (!entry)
			return -ENOMEM;
		/* The rest of this table without another walk. */
		count = ENTRIES - (address / leaf_size & (ENTRIES - 1));
		if (count > left)
			count = left;
		fill(entry, count, physical | leaf_bits, leaf_size);
		address += count * leaf_size;
		physical += count * leaf_size;
	}
	return 0;
}

static int map_allocations(struct page_table *table)
{
	/*
	 * Not the page tables themselves, which are allocated meanwhile: host mode does not access
	 * them.
	 */
	struct record_page *page = records;
	size_t used = page->used;

	for (; page; page = page->next, used = page ? page->used : 0) {
		for (size_t i = 0; i < used; i++) {
			const struct record *record = &page->records[i];
			u64 guard = record->guarded ? PAGE_BYTES : 0;
			u64 memory = (u64)record->memory + guard;
			int error = page_table_map(table, memory, host_physical((void *)memory),
						   record->pages * PAGE_BYTES - guard, KIB4,
						   ENTRY_PRESENT | ENTRY_WRITABLE);

			if (error)
				return error;
		}
	}
	return 0;
}

static int map_image(struct page_table *table)
{
	const char *start, *end;
	int error = 0;

	for (unsigned int part = 0; host_image(part, &start, &end); part++) {
		start = (const char *)((u64)start & ~(PAGE_BYTES - 1));
		/* Page by page: an image need not be contiguous in physical memory. */
		for (; start < end && !error; start += PAGE_BYTES)
			error = page_table_map(table, (u64)start, host_physical(start), PAGE_BYTES,
					       KIB4, ENTRY_PRESENT | ENTRY_WRITABLE);
	}
	return error;
}

/* At most 46 bits, with which the window ends at the end of the lower canonical half. */
static int map_physical_memory(struct page_table *table)
{
	unsigned int bits = physical_address_bits();
	u64 leaf = has_gigabyte_pages() ? GIB1 : MIB2;

	if (bits > 46)
		bits = 46;
	if (leaf == MIB2 && bits > 40)
		bits = 40;
	return page_table_map(table, PHYSICAL_WINDOW, 0, 1ull << bits, leaf,
			      ENTRY_PRESENT | ENTRY_WRITABLE);
}

u64 build_host_page_table(bool five_levels)
{
	struct page_table table;

	if (page_table_init(&table, ENTRY_PRESENT | ENTRY_WRITABLE, ENTRY_PRESENT))
		return 0;
	/*
	 * CR4.LA57 cannot change in long mode (SDM 3A 4.1.2): host mode uses as many levels as the
	 * OS.
	 */
	if (five_levels)
		table.levels = 5;
	if (map_allocations(&table) || map_image(&table) || map_physical_memory(&table))
		return 0;
	return host_physical(table.root);
}
