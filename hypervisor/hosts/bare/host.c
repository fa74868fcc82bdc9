// SPDX-License-Identifier: MIT
/* Veneer on the OS of the bare targets, where memory is identity mapped. */
#include "core/host.h"

#include "os.h"

void *host_alloc(size_t pages)
{
	return os_alloc_pages(pages);
}

void host_free(void *memory, size_t pages)
{
	os_free_pages(memory, pages);
}

u64 host_physical(const void *address)
{
	return (u64)address;
}

void *host_virtual(u64 physical)
{
	return (void *)physical;
}

bool host_image(unsigned int part, const char **start, const char **end)
{
	switch (part) {
	case 0:
		*start = os_image_start;
		*end = os_image_end;
		return true;
	case 1:
		*start = os_start_page();
		*end = *start + PAGE_BYTES;
		return *start;
	default:
		return false;
	}
}

unsigned int host_cpus(void)
{
	return os_cpus();
}

unsigned int host_running_cpus(void)
{
	return os_cpus();
}

unsigned int host_this_cpu(void)
{
	return os_this_cpu();
}

int host_on_each_cpu(void (*function)(void *), void *argument)
{
	os_on_every_cpu(function, argument);
	return 0;
}

void host_on_cpu(unsigned int cpu, void (*function)(void *), void *argument)
{
	os_on_cpu(cpu, function, argument);
}

void host_meet(unsigned int *arrived, unsigned int expected)
{
	os_meet(arrived, expected);
}

void *host_start_page(void)
{
	return os_start_page();
}

void host_die(const char *report)
{
	os_panic(report);
}
