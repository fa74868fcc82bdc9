/* SPDX-License-Identifier: MIT */
/* The page allocator (the memory above the image), and the mapping of the slots. */
#include "memory.h"

#include "../agent/slot.h"
#include "apic.h"
#include "cpu.h"
#include "cpus.h"
#include "handover.h"
#include "modes.h"
#include "panic.h"
#include "payload.h"
#include "x86.h"

#define PAGE 4096ul
#define LARGE_PAGE 0x200000ul
#define MIB 0x100000ul

#define PTE_PRESENT 0x1ul
#define PTE_WRITE 0x2ul
#define PTE_USER 0x4ul
#define PTE_UNCACHED 0x10ul /* PCD */
#define PTE_LARGE 0x80ul
#define LOCAL_APIC_PAGE 0xfee00000ul

_Static_assert(SLOTS_PER_TABLE *SLOT_STRIDE == LARGE_PAGE, "a page table maps a large page");
_Static_assert(OS_MAX_CPUS <= CPU_MASK_CPUS, "a probe names them in a mask");

extern uint64_t boot_pd[4 * 512];

/* One bit per page of the memory behind this bitmap, which is behind the image: 1 is allocated. */
static uint64_t *map;
static uint64_t first_page;
static size_t page_count, free_pages, search_from;
static const struct uefi_handover *handover;

struct range {
	uint64_t start, end;
};

/* Of the OS' own use of fixed memory below its image: the trampoline, and the slots below 1 MiB. */
static const struct range low_memory[] = {
	{ TRAMPOLINE, TRAMPOLINE + PAGE },
	{ MODES_SLOTS, MODES_SLOTS + SLOT_STRIDE },
};

static bool next_range(const struct multiboot *boot, uint64_t *at,
		       const struct multiboot_range **range)
{
	*range = (const void *)*at;
	if (*at + sizeof(**range) > (uint64_t)boot->map_address + boot->map_length)
		return false;
	*at += (*range)->size + sizeof((*range)->size);
	return true;
}

/* The largest range of usable memory behind the image: a BIOS knows one, a UEFI firmware many. */
static struct range find_memory(const struct multiboot *boot)
{
	struct range best = { 0, 0 };
	const struct multiboot_range *range;
	uint64_t at = boot->map_address, first = payload_end();

	if (!(boot->flags & MULTIBOOT_HAS_MAP)) {
		best.start = first;
		best.end =
			MIB + (boot->flags & MULTIBOOT_HAS_MEMORY ? boot->mem_upper * 1024ul : 0);
	}
	while (boot->flags & MULTIBOOT_HAS_MAP && next_range(boot, &at, &range)) {
		uint64_t start = range->base, end = range->base + range->length;

		if (start < first)
			start = first;
		if (end > SLOT_SUPERVISOR_BASE)
			end = SLOT_SUPERVISOR_BASE;
		if (range->type == MULTIBOOT_USABLE && end > start &&
		    end - start > best.end - best.start)
			best = (struct range){ start, end };
	}
	return best;
}

/* A UEFI firmware, or a hypervisor that it has loaded, may keep memory anywhere. */
static void check_low_memory(const struct multiboot *boot)
{
	const struct multiboot_range *range;
	uint64_t at = boot->map_address;

	while (boot->flags & MULTIBOOT_HAS_MAP && next_range(boot, &at, &range))
		for (unsigned int i = 0; i < sizeof(low_memory) / sizeof(*low_memory); i++)
			if (range->type != MULTIBOOT_USABLE && range->base < low_memory[i].end &&
			    range->base + range->length > low_memory[i].start)
				panic("memory at %lx is kept by the firmware", range->base);
}

const struct uefi_handover *uefi_handover(void)
{
	return handover;
}

static void find_handover(const struct multiboot *boot)
{
	const struct multiboot_module *module = (const void *)(uint64_t)boot->modules;
	const struct uefi_handover *found;

	if (!(boot->flags & MULTIBOOT_HAS_MODULES) || !boot->module_count)
		return;
	found = (const void *)(uint64_t)module->start;
	if (module->end - module->start >= sizeof(*found) && found->magic == UEFI_HANDOVER_MAGIC)
		handover = found;
}

void memory_init(const void *multiboot)
{
	struct range memory = find_memory(multiboot);
	uint64_t start = (memory.start + PAGE - 1) & ~(PAGE - 1), end = memory.end & ~(PAGE - 1);
	uint64_t map_size;

	if (end < start + 2 * MIB)
		panic("not enough memory: it ends at %lx, the image at %lx", end, start);
	find_handover(multiboot);
	if (handover)
		check_low_memory(multiboot);
	map = (uint64_t *)start;
	/* Whole words: the bits behind the last page count as allocated. */
	map_size = ((end - start) / PAGE + 63) / 64 * sizeof(*map);
	map_size = (map_size + PAGE - 1) & ~(PAGE - 1);
	first_page = start + map_size;
	page_count = free_pages = (end - first_page) / PAGE;
	__builtin_memset(map, 0, map_size);
	for (size_t i = page_count; i < map_size * 8; i++)
		map[i / 64] |= 1ull << i % 64;
}

static bool taken(size_t page)
{
	return map[page / 64] >> page % 64 & 1;
}

static void mark(size_t page, size_t count, bool take)
{
	for (size_t i = page; i < page + count; i++) {
		if (taken(i) == take)
			panic("page %lx is %s", first_page + i * PAGE,
			      take ? "given out twice" : "freed twice");
		map[i / 64] ^= 1ull << i % 64;
	}
	free_pages += take ? -count : count;
}

/* First fit. No page below search_from is free. */
void *os_alloc_pages(size_t count)
{
	size_t run = 0;

	if (!count || count > free_pages)
		return NULL;
	while (search_from < page_count && taken(search_from))
		search_from++;
	for (size_t i = search_from; i < page_count; i++) {
		run = taken(i) ? 0 : run + 1;
		if (run < count)
			continue;

		size_t page = i + 1 - count;
		void *pages = (void *)(first_page + page * PAGE);

		mark(page, count, true);
		__builtin_memset(pages, 0, count * PAGE);
		return pages;
	}
	return NULL;
}

void os_free_pages(void *pages, size_t count)
{
	uint64_t address = (uint64_t)pages;
	size_t page = (address - first_page) / PAGE;

	if (!pages)
		return;
	if (address < first_page || address % PAGE || page + count > page_count)
		panic("%lx is not a page that was given out", address);
	mark(page, count, false);
	/* As if somebody had them at once, so that nobody can go on using what is no longer theirs. */
	__builtin_memset(pages, 0xcc, count * PAGE);
	if (page < search_from)
		search_from = page;
}

size_t os_count_free_pages(void)
{
	return free_pages;
}

static void map_slot(uint64_t *tables[2], unsigned int cpu, uint64_t pages)
{
	for (unsigned int i = 0; i < SLOT_PAGES; i++) {
		size_t index = (cpu * SLOT_STRIDE + slot_pages[i].offset) / PAGE;
		uint64_t entry = (pages + i * PAGE) | PTE_PRESENT;

		if (slot_pages[i].writable)
			entry |= PTE_WRITE;
		tables[0][index] = entry;
		tables[1][index] = entry | PTE_USER;
	}
}

void memory_map_slots(void)
{
	size_t count = (os_cpus() + SLOTS_PER_TABLE - 1) / SLOTS_PER_TABLE;
	uint64_t *low = os_alloc_pages(1);
	/* The tables of a ring follow each other, so that they are one array. */
	uint64_t *tables[2] = { os_alloc_pages(count), os_alloc_pages(count) };
	uint8_t *pages = os_alloc_pages(os_cpus() * SLOT_PAGES_WITH_IDT);

	if (!low || !tables[0] || !tables[1] || !pages)
		panic("no memory for the slots of %u CPUs", os_cpus());
	for (unsigned int cpu = 0; cpu < os_cpus(); cpu++) {
		probe_set_slot(&cpu_blocks[cpu]->probe, pages, cpu);
		map_slot(tables, cpu, (uint64_t)pages);
		cpu_blocks[cpu]->probe.owns_cpu = true;
		cpu_blocks[cpu]->probe.apic = &apic_of_probes;
		modes_init(cpu_blocks[cpu]);
		pages += SLOT_PAGES_WITH_IDT * PAGE;
	}
	for (size_t i = 0; i < count; i++) {
		uint64_t offset = i * PAGE | PTE_PRESENT | PTE_WRITE;

		boot_pd[SLOT_SUPERVISOR_BASE / LARGE_PAGE + i] = (uint64_t)tables[0] + offset;
		boot_pd[SLOT_USER_BASE / LARGE_PAGE + i] = (uint64_t)tables[1] + offset + PTE_USER;
	}
	boot_pd[SLOT_LOCAL_APIC / LARGE_PAGE] = LOCAL_APIC_PAGE | PTE_PRESENT | PTE_WRITE |
						PTE_USER | PTE_UNCACHED | PTE_LARGE;

	/* Page 0 is not mapped, so that a jump or an access through a null pointer faults. */
	for (uint64_t i = 1; i < 512; i++)
		low[i] = i * PAGE | PTE_PRESENT | PTE_WRITE;
	boot_pd[0] = (uint64_t)low | PTE_PRESENT | PTE_WRITE;
	x86_write_cr3(x86_read_cr3());
}
