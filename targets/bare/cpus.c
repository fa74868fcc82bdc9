/* SPDX-License-Identifier: MIT */
/* Finding and starting the CPUs. */
#include "cpus.h"

#include "acpi.h"
#include "apic.h"
#include "broadcast.h"
#include "cpu.h"
#include "handover.h"
#include "memory.h"
#include "panic.h"
#include "trap.h"

/* About 0.1 s on QEMU (1 GHz): the time between two start-up IPIs for a CPU that does not come up. */
#define START_TICKS 100000000u
#define START_ATTEMPTS 20

/* boot.S */
extern const char trampoline_start[], trampoline_end[];
void os_ap_main(struct cpu *cpu);

void os_ap_main(struct cpu *cpu)
{
	cpu_init(cpu);
	apic_init_this_cpu();
	__atomic_store_n(&cpu->up, true, __ATOMIC_SEQ_CST);
	broadcast_finish();
	broadcast_serve(cpu);
}

static void create_blocks(const struct acpi_cpus *found)
{
	/* The allocator aligns to pages only, so all but one page of an additional block are allocated, too. */
	size_t block_pages = CPU_BLOCK_SIZE / 4096;
	uint64_t address = (uint64_t)os_alloc_pages((found->count + 1) * block_pages - 1);

	if (!address)
		panic("no memory for %u CPUs", found->count);
	address = (address + CPU_BLOCK_SIZE - 1) & ~(CPU_BLOCK_SIZE - 1ull);
	for (unsigned int i = 0; i < found->count; i++)
		cpu_register((struct cpu *)(address + i * CPU_BLOCK_SIZE), found->id[i]);
}

/* Move the boot CPU to the front, or add it to a table that does not name it. */
static void put_first(struct acpi_cpus *found, uint8_t id)
{
	unsigned int i = 0;

	while (i < found->count && found->id[i] != id)
		i++;
	if (i == found->count) {
		if (found->count == OS_MAX_CPUS)
			i--;
		else
			found->count++;
	}
	for (; i; i--)
		found->id[i] = found->id[i - 1];
	found->id[0] = id;
}

/* INIT-SIPI-SIPI (SDM 3A 8.4.4.1), sent to all CPUs before any of them is waited for. */
static void start_others(void)
{
	bool waiting = true;

	__builtin_memcpy((void *)TRAMPOLINE, trampoline_start,
			 (size_t)(trampoline_end - trampoline_start));
	broadcast_expect(os_cpus() - 1);
	for (unsigned int i = 1; i < os_cpus(); i++)
		apic_send(cpu_blocks[i]->apic_id, APIC_INIT);
	for (unsigned int attempt = 0; attempt < START_ATTEMPTS && waiting; attempt++) {
		for (unsigned int i = 1; i < os_cpus(); i++)
			if (!__atomic_load_n(&cpu_blocks[i]->up, __ATOMIC_SEQ_CST))
				apic_send(cpu_blocks[i]->apic_id, APIC_STARTUP | TRAMPOLINE >> 12);
		apic_start_timer(START_TICKS);
		waiting = broadcast_sleep();
	}
	apic_start_timer(0);
	for (unsigned int i = 1; i < os_cpus(); i++)
		if (!cpu_blocks[i]->up)
			panic("CPU %u (APIC id %u) does not start", i, cpu_blocks[i]->apic_id);
}

/* A UEFI firmware has started all CPUs itself, and need not have ACPI's tables for them. */
static void find_cpus(struct acpi_cpus *found)
{
	const struct uefi_handover *handover = uefi_handover();

	if (!handover) {
		acpi_find_cpus(found);
		return;
	}
	found->io_apic = 0;
	for (found->count = 0; found->count < handover->cpu_count; found->count++)
		found->id[found->count] = handover->apic_id[found->count];
}

void cpus_start(void)
{
	struct acpi_cpus found;

	find_cpus(&found);
	apic_init_this_cpu();
	put_first(&found, apic_id());
	create_blocks(&found);
	traps_init();
	cpu_init(cpu_blocks[0]);
	memory_map_slots();
	apic_init(found.io_apic);
	if (os_cpus() > 1)
		start_others();
}
