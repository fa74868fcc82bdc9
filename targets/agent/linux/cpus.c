// SPDX-License-Identifier: MIT
#define pr_fmt(format) KBUILD_MODNAME ": " format

#include <linux/bitops.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/gfp.h>
#include <linux/irqflags.h>
#include <linux/smp.h>
#include <linux/stop_machine.h>
#include <asm/fpu/api.h>

#include "cpus.h"

struct run {
	struct cpus *cpus;
	const struct cpu_mask *mask;
	bool together;
	const struct probe_request *request;
	struct probe_outcome *outcomes;
	unsigned int expected;
	atomic_t arrived;
	struct cpumask numbers;
};

static struct isolated_cpu *create_cpu(struct cpus *cpus, unsigned int index, unsigned int number)
{
	struct isolated_cpu *cpu =
		(void *)__get_free_pages(GFP_KERNEL | __GFP_ZERO, CPU_BLOCK_ORDER);

	if (!cpu)
		return NULL;
	cpu->number = number;
	if (space_add_cpu(&cpus->space, cpu, index)) {
		free_pages((unsigned long)cpu, CPU_BLOCK_ORDER);
		return NULL;
	}
	isolation_prepare(cpu);
	return cpu;
}

int cpus_create(struct cpus *cpus)
{
	unsigned int number;
	int error = space_create(&cpus->space);

	if (error)
		return error;
	cpus_read_lock();
	for_each_online_cpu(number)
	{
		if (cpus->count == ARRAY_SIZE(cpus->cpu)) {
			pr_err("more CPUs are online than the %d that a probe can name: boot with nr_cpus=%d\n",
			       CPU_MASK_CPUS, CPU_MASK_CPUS);
			error = -EOVERFLOW;
			break;
		}
		cpus->cpu[cpus->count] = create_cpu(cpus, cpus->count, number);
		if (!cpus->cpu[cpus->count]) {
			error = -ENOMEM;
			break;
		}
		cpus->count++;
	}
	cpus_read_unlock();
	if (error)
		cpus_destroy(cpus);
	return error;
}

void cpus_destroy(struct cpus *cpus)
{
	while (cpus->count) {
		struct isolated_cpu *cpu = cpus->cpu[--cpus->count];

		space_remove_cpu(cpu);
		free_pages((unsigned long)cpu, CPU_BLOCK_ORDER);
	}
	space_destroy(&cpus->space);
}

/* Wait until all CPUs of the run are here. Interrupts are off. */
static void meet(void *arg)
{
	struct run *run = arg;

	atomic_inc(&run->arrived);
	while ((unsigned int)atomic_read(&run->arrived) < run->expected)
		cpu_relax();
}

/* Runs on each CPU in process context, as kernel_fpu_begin() needs. */
static int run_here(void *arg)
{
	struct run *run = arg;
	unsigned int number, at = 0, i;
	unsigned long flags;

	/* No CPU goes offline during stop_machine() or cpus_read_lock(), so all CPUs come to the same result. */
	if (!cpumask_subset(&run->numbers, cpu_online_mask))
		return -ENXIO;
	kernel_fpu_begin();
	local_irq_save(flags);
	number = smp_processor_id();
	for (i = 0; i < run->cpus->count; i++) {
		if (!cpu_mask_has(run->mask, i))
			continue;
		if (run->cpus->cpu[i]->number == number)
			isolation_run(run->cpus->cpu[i], run->request, &run->outcomes[at],
				      run->together ? meet : NULL, run);
		at++;
	}
	local_irq_restore(flags);
	kernel_fpu_end();
	return 0;
}

int cpus_run(struct cpus *cpus, const struct cpu_mask *mask, bool together,
	     const struct probe_request *request, struct probe_outcome *outcomes)
{
	struct run run = {
		.cpus = cpus,
		.mask = mask,
		.together = together,
		.request = request,
		.outcomes = outcomes,
		.expected = cpu_mask_count(mask),
	};
	unsigned int i;
	int error;

	for (i = 0; i < cpus->count; i++)
		if (cpu_mask_has(mask, i))
			cpumask_set_cpu(cpus->cpu[i]->number, &run.numbers);
	/* CPUs that wait for each other with interrupts off would deadlock under two callers; stop_machine() prevents it. */
	if (together)
		return stop_machine(run_here, &run, &run.numbers);
	cpus_read_lock();
	error = cpumask_subset(&run.numbers, cpu_online_mask)
			? smp_call_on_cpu(cpumask_first(&run.numbers), run_here, &run, false)
			: -ENXIO;
	cpus_read_unlock();
	return error;
}
