/* SPDX-License-Identifier: MIT */
/* Starting the CPUs, and running things on them. A CPU without work sleeps. */
#include "cpu.h"

/*
 * How often a CPU that waits looks again before it goes to sleep. Long enough for CPUs that all
 * run to meet without sleeping; short, because an emulator may run 64 of them on 2. The loops do
 * without PAUSE, for which QEMU takes the lock that its devices need too.
 */
#define SPINS 5000

/* About 0.1 s on QEMU (1 GHz); between two start-up IPIs for a CPU that does not come. */
#define START_TICKS 100000000u
#define START_ATTEMPTS 20

struct cpu *cpu_blocks[OS_MAX_CPUS];
struct cpu *cpu_block_of_apic[256];
extern const char trampoline_start[], trampoline_end[];
void os_ap_main(struct cpu *cpu);

static unsigned int cpu_count;
static unsigned int running; /* CPUs that have not finished the broadcast's work */
static bool boot_cpu_sleeps;

unsigned int os_cpus(void)
{
	return cpu_count;
}

unsigned int os_this_cpu(void)
{
	const struct cpu *cpu = cpu_block_of_apic[apic_id()];

	return cpu ? cpu->index : 0;
}

/*
 * One copy, so that there is one HLT to know. Its address is data: a symbol in
 * the code would be taken for a function by backtraces.
 */
void __attribute__((noinline, noclone)) cpu_sleep(void)
{
	/* STI takes effect after HLT has begun: no wake-up is lost between them. */
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
		/* Has gcc set up a frame in a function without calls: backtraces see who sleeps. */
		: "r"(__builtin_frame_address(0))
		: "memory");
}

static void wake(const struct cpu *cpu)
{
	apic_send(cpu->apic_id, APIC_FIXED | VECTOR_WAKE);
}

/* Wait, on the boot CPU, until *counter is value; who makes it so calls counted(). */
static void wait_for(const unsigned int *counter, unsigned int value)
{
	for (unsigned int i = 0; i < SPINS; i++) {
		if (__atomic_load_n(counter, __ATOMIC_SEQ_CST) == value)
			return;
	}
	for (;;) {
		__atomic_store_n(&boot_cpu_sleeps, true, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(counter, __ATOMIC_SEQ_CST) == value)
			break;
		cpu_sleep();
	}
	__atomic_store_n(&boot_cpu_sleeps, false, __ATOMIC_SEQ_CST);
}

static void finish(void)
{
	if (!__atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST) &&
	    __atomic_load_n(&boot_cpu_sleeps, __ATOMIC_SEQ_CST))
		wake(cpu_blocks[0]);
}

void os_on_cpus(uint64_t mask, void (*fn)(void *), void *arg)
{
	if (cpu_count < 64)
		mask &= (1ull << cpu_count) - 1;
	__atomic_store_n(&running, probe_count_cpus(mask & ~1ull), __ATOMIC_SEQ_CST);
	for (unsigned int i = 1; i < cpu_count; i++) {
		if (!(mask >> i & 1))
			continue;
		cpu_blocks[i]->arg = arg;
		__atomic_store_n(&cpu_blocks[i]->fn, fn, __ATOMIC_SEQ_CST);
		wake(cpu_blocks[i]);
	}
	if (mask & 1)
		fn(arg);
	wait_for(&running, 0);
}

void os_on_cpu(unsigned int cpu, void (*fn)(void *), void *arg)
{
	os_on_cpus(1ull << cpu, fn, arg);
}

void cpus_meet(unsigned int *arrived, unsigned int expected, uint64_t mask)
{
	if (__atomic_add_fetch(arrived, 1, __ATOMIC_SEQ_CST) == expected) {
		unsigned int self = os_this_cpu();

		for (unsigned int i = 0; i < cpu_count; i++)
			if (mask >> i & 1 && i != self)
				wake(cpu_blocks[i]);
		return;
	}
	for (unsigned int i = 0; __atomic_load_n(arrived, __ATOMIC_SEQ_CST) < expected; i++)
		if (i >= SPINS)
			cpu_sleep();
}

uint64_t os_nmi_count(unsigned int cpu)
{
	return __atomic_load_n(&cpu_blocks[cpu]->nmis, __ATOMIC_RELAXED);
}

void os_send_nmi(unsigned int cpu)
{
	apic_send(cpu_blocks[cpu]->apic_id, APIC_NMI);
}

void os_ap_main(struct cpu *cpu)
{
	cpu_init(cpu);
	apic_init_this_cpu();
	__atomic_store_n(&cpu->up, true, __ATOMIC_SEQ_CST);
	finish();
	for (;;) {
		void (*fn)(void *) = __atomic_load_n(&cpu->fn, __ATOMIC_SEQ_CST);

		if (!fn) {
			cpu_sleep();
			continue;
		}
		fn(cpu->arg);
		__atomic_store_n(&cpu->fn, NULL, __ATOMIC_SEQ_CST);
		finish();
	}
}

static void create_blocks(const struct acpi_cpus *found)
{
	/* One allocation, aligned by hand. */
	size_t block_pages = CPU_BLOCK_SIZE / 4096;
	uint64_t address = (uint64_t)os_alloc_pages((cpu_count + 1) * block_pages - 1);

	if (!address)
		panic("no memory for %u CPUs", cpu_count);
	address = (address + CPU_BLOCK_SIZE - 1) & ~(CPU_BLOCK_SIZE - 1ull);
	for (unsigned int i = 0; i < cpu_count; i++) {
		struct cpu *cpu = (struct cpu *)(address + i * CPU_BLOCK_SIZE);

		cpu->index = i;
		cpu->apic_id = found->id[i];
		cpu_blocks[i] = cpu;
		cpu_block_of_apic[cpu->apic_id] = cpu;
	}
}

/* The boot CPU comes first, whatever the table's order. */
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

/* INIT-SIPI-SIPI (SDM 3A 8.4.4.1), to all of them before waiting for any. */
static void start_others(void)
{
	unsigned int attempt;

	__builtin_memcpy((void *)TRAMPOLINE, trampoline_start,
			 (size_t)(trampoline_end - trampoline_start));
	running = cpu_count - 1;
	for (unsigned int i = 1; i < cpu_count; i++)
		apic_send(cpu_blocks[i]->apic_id, APIC_INIT);
	for (attempt = 0; attempt < START_ATTEMPTS && running; attempt++) {
		for (unsigned int i = 1; i < cpu_count; i++)
			if (!__atomic_load_n(&cpu_blocks[i]->up, __ATOMIC_SEQ_CST))
				apic_send(cpu_blocks[i]->apic_id, APIC_STARTUP | TRAMPOLINE >> 12);
		__atomic_store_n(&boot_cpu_sleeps, true, __ATOMIC_SEQ_CST);
		apic_start_timer(START_TICKS);
		if (__atomic_load_n(&running, __ATOMIC_SEQ_CST))
			cpu_sleep();
	}
	apic_start_timer(0);
	boot_cpu_sleeps = false;
	for (unsigned int i = 1; i < cpu_count; i++)
		if (!cpu_blocks[i]->up)
			panic("CPU %u (APIC id %u) does not start", i, cpu_blocks[i]->apic_id);
}

void cpus_start(void)
{
	struct acpi_cpus found;

	acpi_find_cpus(&found);
	apic_init_this_cpu();
	put_first(&found, apic_id());
	cpu_count = found.count;
	create_blocks(&found);
	traps_init();
	cpu_init(cpu_blocks[0]);
	memory_map_slots(cpu_count);
	apic_init(found.io_apic);
	if (cpu_count > 1)
		start_others();
}
