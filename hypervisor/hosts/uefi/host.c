// SPDX-License-Identifier: MIT
/*
 * Veneer under a UEFI firmware. Memory is identity mapped; what is allocated is of a type that an operating system leaves
 * alone. The firmware's MP services are there until an operating system takes over. From then on it is the operating
 * system that runs something on a CPU for Veneer, while it asks for counters or the trace.
 */
#include "core/host.h"

#include "core/local_apic.h"
#include "core/x86.h"
#include "firmware.h"

#define MOST_CPUS 256
#define BELOW_4_GIB 0xffffffffull
#define BELOW_1_MIB 0xfffffull

static struct efi_boot_services *boot;
static struct efi_mp_services *mp;
static const struct uefi_subject_os *os;
/* The CPU on which the operating system is running a function: to ask CPUID would be an exit, which is counted. */
static unsigned int os_cpu;
/* APIC ids of the CPUs that the firmware has enabled, by the numbers that Veneer gives them. */
static u32 apic_ids[MOST_CPUS];
static unsigned int cpu_count;
static uint64_t start_page;

struct work {
	void (*function)(void *);
	void *argument;
	/* host_on_cpu(): only on this one. */
	bool one;
	unsigned int cpu;
};

static void EFIAPI do_nothing(void *argument)
{
	(void)argument;
}

efi_status host_begin(struct efi_boot_services *services)
{
	static const struct efi_guid guid = EFI_MP_SERVICES_GUID;
	struct efi_processor_information found;
	uint64_t all, enabled;
	efi_status status;

	boot = services;
	status = boot->locate_protocol(&guid, NULL, (void **)&mp);
	if (!status)
		status = mp->get_number(mp, &all, &enabled);
	for (uint64_t i = 0; !status && i < all; i++) {
		status = mp->get_information(mp, i, &found);
		if (status || !(found.status & EFI_PROCESSOR_IS_ENABLED))
			continue;
		if (cpu_count == MOST_CPUS)
			return EFI_OUT_OF_RESOURCES;
		apic_ids[cpu_count++] = (u32)found.id;
	}
	/* What host_on_each_cpu() cannot refuse any more: that the others can be started. */
	if (!status && cpu_count > 1)
		status = mp->start_all(mp, do_nothing, 0, NULL, 0, NULL, NULL);
	if (status)
		return status;
	start_page = BELOW_1_MIB;
	return boot->allocate_pages(EFI_ALLOCATE_MAX_ADDRESS, EFI_RESERVED_MEMORY, 1, &start_page);
}

void host_end(void)
{
	boot->free_pages(start_page, 1);
}

void *host_alloc(size_t pages)
{
	uint64_t address = BELOW_4_GIB;

	/* Below 4 GiB: CPUs that start anew load their page tables in 32-bit mode. */
	if (boot->allocate_pages(EFI_ALLOCATE_MAX_ADDRESS, EFI_RESERVED_MEMORY, pages, &address))
		return NULL;
	__builtin_memset((void *)address, 0, pages * PAGE_BYTES);
	return (void *)address;
}

void host_free(void *memory, size_t pages)
{
	/* An operating system takes nothing back: for it, this is reserved memory. */
	if (!os)
		boot->free_pages((u64)memory, pages);
}

u64 host_physical(const void *address)
{
	return (u64)address;
}

void *host_virtual(u64 physical)
{
	return (void *)physical;
}

void *host_start_page(void)
{
	return (void *)start_page;
}

bool host_image(unsigned int part, const char **start, const char **end)
{
	switch (part) {
	case 0:
		*start = image_base;
		*end = image_end;
		return true;
	case 1:
		*start = (const char *)start_page;
		*end = *start + PAGE_BYTES;
		return true;
	default:
		return false;
	}
}

unsigned int host_cpus(void)
{
	return cpu_count;
}

unsigned int host_running_cpus(void)
{
	return cpu_count;
}

unsigned int host_cpu_of(u32 apic_id)
{
	unsigned int cpu = 0;

	while (cpu < cpu_count && apic_ids[cpu] != apic_id)
		cpu++;
	return cpu;
}

unsigned int host_this_cpu(void)
{
	unsigned int cpu = os ? os_cpu : host_cpu_of(this_apic_id());

	return cpu < cpu_count ? cpu : 0;
}

void host_use(const struct uefi_subject_os *services)
{
	os = services;
}

static void EFIAPI work_here(void *argument)
{
	const struct work *work = argument;

	if (!work->one || host_this_cpu() == work->cpu)
		work->function(work->argument);
}

/* The operating system has a function run on one CPU at a time, which what is asked for then does not mind. */
static void run_by_os(struct work *work)
{
	for (os_cpu = 0; os_cpu < cpu_count; os_cpu++)
		if (!work->one || os_cpu == work->cpu)
			os->on_cpu(apic_ids[os_cpu], work_here, work);
}

/*
 * The others are started with an event, since that does not wait for them: this CPU takes part. The event comes with the
 * firmware's timer, so interrupts are on while it is waited for. If they cannot be started, this CPU does nothing either: it
 * would wait for them in the function for ever.
 */
static int run_by_firmware(struct work *work)
{
	void *event = NULL;
	efi_status status = EFI_SUCCESS;

	if (cpu_count > 1) {
		status = boot->create_event(0, EFI_TPL_NOTIFY, NULL, NULL, &event);
		if (status)
			return -EIO;
		status = mp->start_all(mp, work_here, 0, event, 0, work, NULL);
	}
	if (!status) {
		disable_interrupts();
		work_here(work);
		enable_interrupts();
		while (event && boot->check_event(event))
			pause();
	}
	if (event)
		boot->close_event(event);
	return status ? -EIO : 0;
}

static int run(struct work *work)
{
	if (!os)
		return run_by_firmware(work);
	run_by_os(work);
	return 0;
}

int host_on_each_cpu(void (*function)(void *), void *argument)
{
	return run(&(struct work){ .function = function, .argument = argument });
}

void host_on_cpu(unsigned int cpu, void (*function)(void *), void *argument)
{
	run(&(struct work){ .function = function, .argument = argument, .one = true, .cpu = cpu });
}
