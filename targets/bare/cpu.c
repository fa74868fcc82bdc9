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

/*
 * Neither inlined nor cloned, so that trap.c has one HLT to compare with. The address of the HLT is
 * data: backtraces would take a symbol in the code for a function.
 */
void __attribute__((noinline, noclone)) cpu_sleep(void)
{
	/* STI delays interrupts until HLT has begun, so that no wake-up is lost between the two. */
	asm volatile(
		"sti\n\t"
		"1: hlt\n\t"
		"cli\n\t"
		".pushsection .rodata\n\t"
		".balign 8\n\t"
		".globl cpu_halt\n"
		"cpu_halt: .quad 1b\n\t"
		".popsection"
		:
		/* Makes gcc set up a frame, though nothing is called: backtraces show the caller. */
		: "r"(__builtin_frame_address(0))
		: "memory");
}
