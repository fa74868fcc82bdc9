/* SPDX-License-Identifier: MIT */
/* The table of CPUs, and what needs nothing but that table and the local APIC. */
#include "cpu.h"

#include "apic.h"

struct cpu *cpu_blocks[OS_MAX_CPUS];
struct cpu *cpu_block_of_apic[256];

static unsigned int cpu_count;

void cpu_register(struct cpu *cpu, uint8_t apic_id)
{
	cpu->index = cpu_count;
	cpu->apic_id = apic_id;
	cpu_block_of_apic[apic_id] = cpu;
	cpu_blocks[cpu_count++] = cpu;
}

unsigned int os_cpus(void)
{
	return cpu_count;
}

unsigned int os_this_cpu(void)
{
	const struct cpu *cpu = cpu_block_of_apic[apic_id()];

	return cpu ? cpu->index : 0;
}

uint64_t os_nmi_count(unsigned int cpu)
{
	return __atomic_load_n(&cpu_blocks[cpu]->nmis, __ATOMIC_RELAXED);
}

void os_send_nmi(unsigned int cpu)
{
	apic_send(cpu_blocks[cpu]->apic_id, APIC_NMI);
}
