// SPDX-License-Identifier: MIT
/* The host: one CPU, with 64 MiB of memory where host mode has its window on it, and a page for the local APIC. */
#include <string.h>
#include <sys/mman.h>

#include "core/host.h"
#include "core/memory.h"
#include "fake_processor.h"

#define PHYSICAL_BYTES (64ull << 20)
static u64 allocated = PAGE_BYTES, pages_in_use;
int fake_allocations_left = -1;
unsigned int fake_allocations_refused;

static void map_window(u64 physical, u64 size)
{
	void *window = mmap(physical_to_host(physical), size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1,
			    0);

	CHECK(window == physical_to_host(physical));
}

void *host_alloc(size_t pages)
{
	void *memory = physical_to_host(allocated);

	if (!fake_allocations_left) {
		fake_allocations_refused++;
		return NULL;
	}
	if (fake_allocations_left > 0)
		fake_allocations_left--;
	allocated += pages * PAGE_BYTES;
	pages_in_use += pages;
	CHECK(allocated <= PHYSICAL_BYTES);
	return memset(memory, 0, pages * PAGE_BYTES);
}

void host_free(void *memory, size_t pages)
{
	(void)memory;
	pages_in_use -= pages;
	if (!pages_in_use)
		allocated = PAGE_BYTES;
}

u64 host_physical(const void *address)
{
	return (u64)address - PHYSICAL_WINDOW;
}

void *host_virtual(u64 physical)
{
	return physical_to_host(physical);
}

bool host_image(unsigned int part, const char **start, const char **end)
{
	*start = *end = NULL;
	return part == 0;
}

void *fake_start_page;

void *host_start_page(void)
{
	return fake_start_page;
}

void prepare_fake_host(void)
{
	map_window(0, PHYSICAL_BYTES);
	map_window(FAKE_APIC, PAGE_BYTES);
}

/* svm/start_page.S, which nothing here executes. */
asm(".pushsection .rodata\n"
    ".globl svm_start_code, svm_start_code_protected, svm_start_code_long, svm_start_code_end\n"
    ".globl svm_started\n"
    "svm_start_code: .quad 0\n"
    "svm_start_code_protected: .quad 0\n"
    "svm_start_code_long: .quad 0\n"
    "svm_start_code_end:\n"
    "svm_started: .quad 0\n"
    ".popsection");

unsigned int host_cpus(void)
{
	return 1;
}

unsigned int host_this_cpu(void)
{
	return 0;
}
