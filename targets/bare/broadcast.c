/* SPDX-License-Identifier: MIT */
/* Running a function on other CPUs. A CPU without work sleeps. */
#include "broadcast.h"

#include <stddef.h>

#include "apic.h"

/*
 * How often a CPU that waits looks again before it sleeps. Often enough that CPUs that all run meet
 * without sleeping; not more, because an emulator may run many CPUs on 2, and takes longer to wake a CPU
 * than for many looks. The loops do without PAUSE, for which QEMU takes the lock that its devices need too.
 */
#define SPINS 1000

static unsigned int running; /* CPUs that have not called broadcast_finish() */
static bool boot_cpu_sleeps;
static bool apply_registers;

static void wake(const struct cpu *cpu)
{
	apic_send(cpu->apic_id, APIC_FIXED | VECTOR_WAKE);
}

void broadcast_expect(unsigned int cpus)
{
	__atomic_store_n(&running, cpus, __ATOMIC_SEQ_CST);
}

static bool all_finished(void)
{
	return !__atomic_load_n(&running, __ATOMIC_SEQ_CST);
}

/*
 * The last CPU to finish decrements `running` and then reads boot_cpu_sleeps; here they are accessed the
 * other way round. So either that CPU sees that it has to wake us, or we see that it has finished.
 */
bool broadcast_sleep(void)
{
	__atomic_store_n(&boot_cpu_sleeps, true, __ATOMIC_SEQ_CST);
	if (!all_finished())
		cpu_sleep(cpu_blocks[0]);
	__atomic_store_n(&boot_cpu_sleeps, false, __ATOMIC_SEQ_CST);
	return !all_finished();
}

void broadcast_finish(void)
{
	if (!__atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST) &&
	    __atomic_load_n(&boot_cpu_sleeps, __ATOMIC_SEQ_CST))
		wake(cpu_blocks[0]);
}

static void wait_for_all(void)
{
	for (unsigned int i = 0; i < SPINS; i++)
		if (all_finished())
			return;
	while (broadcast_sleep())
		;
}

void broadcast_with_registers(bool apply)
{
	__atomic_store_n(&apply_registers, apply, __ATOMIC_SEQ_CST);
}

/* call.S */
void call_with_registers(void (*function)(void *), void *argument, struct probe_call *registers);

static void call(struct cpu *cpu, void (*fn)(void *), void *arg)
{
	struct probe_left *left = &cpu->probe.left;

	if (!left->valid || !__atomic_load_n(&apply_registers, __ATOMIC_SEQ_CST)) {
		fn(arg);
		return;
	}
	call_with_registers(fn, arg, &left->returned);
	left->returned.ss = x86_read_ss();
	left->returned.rflags = (left->returned.rflags & CALL_RFLAGS) | 2;
}

void broadcast_run(const struct cpu_mask *mask, void (*fn)(void *), void *arg)
{
	bool here = cpu_mask_has(mask, 0);

	broadcast_expect(cpu_mask_count(mask) - here);
	for (unsigned int i = 1; i < os_cpus(); i++) {
		if (!cpu_mask_has(mask, i))
			continue;
		cpu_blocks[i]->arg = arg;
		__atomic_store_n(&cpu_blocks[i]->fn, fn, __ATOMIC_SEQ_CST);
		wake(cpu_blocks[i]);
	}
	if (here)
		call(cpu_blocks[0], fn, arg);
	wait_for_all();
}

static struct cpu_mask every_cpu(void)
{
	struct cpu_mask cpus = { .word = { 0 } };

	for (unsigned int i = 0; i < os_cpus(); i++)
		cpu_mask_add(&cpus, i);
	return cpus;
}

void os_on_cpus(uint64_t mask, void (*fn)(void *), void *arg)
{
	struct cpu_mask cpus = { .word = { 0 } };

	for (unsigned int i = 0; i < os_cpus() && i < 64; i++)
		if (mask >> i & 1)
			cpu_mask_add(&cpus, i);
	broadcast_run(&cpus, fn, arg);
}

void os_on_every_cpu(void (*fn)(void *), void *arg)
{
	struct cpu_mask cpus = every_cpu();

	broadcast_run(&cpus, fn, arg);
}

void os_on_cpu(unsigned int cpu, void (*fn)(void *), void *arg)
{
	struct cpu_mask mask = cpu_mask_of(cpu);

	broadcast_run(&mask, fn, arg);
}

void broadcast_meet(unsigned int *arrived, unsigned int expected, const struct cpu_mask *mask)
{
	if (__atomic_add_fetch(arrived, 1, __ATOMIC_SEQ_CST) == expected) {
		unsigned int self = os_this_cpu();

		for (unsigned int i = 0; i < os_cpus(); i++)
			if (cpu_mask_has(mask, i) && i != self)
				wake(cpu_blocks[i]);
		return;
	}
	for (unsigned int i = 0; __atomic_load_n(arrived, __ATOMIC_SEQ_CST) < expected; i++)
		if (i >= SPINS)
			cpu_sleep(cpu_of_stack());
}

void os_meet(unsigned int *arrived, unsigned int expected)
{
	struct cpu_mask cpus = every_cpu();

	broadcast_meet(arrived, expected, &cpus);
}

void broadcast_serve(struct cpu *cpu)
{
	for (;;) {
		void (*fn)(void *) = __atomic_load_n(&cpu->fn, __ATOMIC_SEQ_CST);

		if (!fn) {
			cpu_sleep(cpu);
			continue;
		}
		call(cpu, fn, cpu->arg);
		__atomic_store_n(&cpu->fn, NULL, __ATOMIC_SEQ_CST);
		broadcast_finish();
	}
}
