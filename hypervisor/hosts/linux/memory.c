// SPDX-License-Identifier: MIT
#include "memory.h"

#include <linux/atomic.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/vmalloc.h>

#include "core/host.h"

static atomic_long_t pages_held = ATOMIC_LONG_INIT(0);

long memory_pages(void)
{
	return atomic_long_read(&pages_held);
}

void *host_alloc(size_t pages)
{
	/*
	 * From the direct map, whose mapping never changes. A failure is reported to the caller,
	 * not in the kernel's log.
	 */
	void *memory =
		alloc_pages_exact(pages * PAGE_BYTES, GFP_KERNEL | __GFP_ZERO | __GFP_NOWARN);

	if (memory)
		atomic_long_add(pages, &pages_held);
	return memory;
}

void host_free(void *memory, size_t pages)
{
	atomic_long_sub(pages, &pages_held);
	free_pages_exact(memory, pages * PAGE_BYTES);
}

u64 host_physical(const void *address)
{
	if (virt_addr_valid(address))
		return __pa(address);
	/* The module's image is mapped page by page. */
	return page_to_phys(vmalloc_to_page(address)) + offset_in_page(address);
}

void *host_virtual(u64 physical)
{
	return phys_to_virt(physical);
}
