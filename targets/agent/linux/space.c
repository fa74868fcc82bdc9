// SPDX-License-Identifier: MIT
#include <linux/gfp.h>
#include <linux/mem_encrypt.h>
#include <linux/mm.h>

#include "space.h"

#define ENTRIES 512
#define READABLE (_PAGE_PRESENT | _PAGE_ACCESSED)
#define WRITABLE (READABLE | _PAGE_RW | _PAGE_DIRTY)
/* The upper levels allow all accesses; the last level restricts them. */
#define TABLE (READABLE | _PAGE_RW | _PAGE_USER)

enum {
	DIRECTORY,
	DIRECTORY_POINTERS,
	LEVEL_4,
	SUPERVISOR_PAGES,
	USER_PAGES = SUPERVISOR_PAGES + SPACE_PAGE_TABLES,
};

static u64 entry(const void *table, u64 rights)
{
	return __sme_set(__pa(table)) | rights;
}

static u64 index_at(unsigned int level, u64 address)
{
	return address >> (PAGE_SHIFT + 9 * level) & (ENTRIES - 1);
}

int space_create(struct space *space)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(space->tables); i++) {
		space->tables[i] = (u64 *)get_zeroed_page(GFP_KERNEL);
		if (!space->tables[i]) {
			space_destroy(space);
			return -ENOMEM;
		}
	}
	for (i = 0; i < SPACE_PAGE_TABLES; i++) {
		space->tables[DIRECTORY][index_at(1, SLOT_SUPERVISOR_BASE) + i] =
			entry(space->tables[SUPERVISOR_PAGES + i], TABLE);
		space->tables[DIRECTORY][index_at(1, SLOT_USER_BASE) + i] =
			entry(space->tables[USER_PAGES + i], TABLE);
	}
	space->tables[DIRECTORY_POINTERS][index_at(2, SLOT_SUPERVISOR_BASE)] =
		entry(space->tables[DIRECTORY], TABLE);
	space->tables[LEVEL_4][0] = entry(space->tables[DIRECTORY_POINTERS], TABLE);
	return 0;
}

void space_destroy(struct space *space)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(space->tables); i++) {
		free_page((unsigned long)space->tables[i]);
		space->tables[i] = NULL;
	}
}

static void map_page(struct space *space, u64 offset, const void *page, u64 rights)
{
	u64 index = index_at(0, offset), table = index_at(1, offset);

	space->tables[SUPERVISOR_PAGES + table][index] = entry(page, rights);
	space->tables[USER_PAGES + table][index] = entry(page, rights | _PAGE_USER);
}

int space_add_cpu(struct space *space, struct isolated_cpu *cpu, unsigned int index)
{
	unsigned int first = index * SLOT_STRIDE, i;
	u8 *pages;

	cpu->root = (u64 *)get_zeroed_page(GFP_KERNEL);
	cpu->pages =
		alloc_pages(GFP_KERNEL | __GFP_ZERO, get_order(SLOT_PAGES_WITH_IDT * PAGE_SIZE));
	if (!cpu->root || !cpu->pages) {
		space_remove_cpu(cpu);
		return -ENOMEM;
	}
	pages = page_address(cpu->pages);
	probe_set_slot(&cpu->probe, pages, index);
	for (i = 0; i < SLOT_PAGES; i++)
		map_page(space, first + slot_pages[i].offset, pages + i * PAGE_SIZE,
			 slot_pages[i].writable ? WRITABLE : READABLE);
	/* With 5-level paging, the first entry of the root points to the level-4 table; else the root is a level-4 table itself. */
	cpu->root[0] = boot_cpu_has(X86_FEATURE_LA57) && (__read_cr4() & X86_CR4_LA57)
			       ? entry(space->tables[LEVEL_4], TABLE)
			       : space->tables[LEVEL_4][0];
	return 0;
}

void space_remove_cpu(struct isolated_cpu *cpu)
{
	free_page((unsigned long)cpu->root);
	cpu->root = NULL;
	if (cpu->pages)
		__free_pages(cpu->pages, get_order(SLOT_PAGES_WITH_IDT * PAGE_SIZE));
	cpu->pages = NULL;
}
