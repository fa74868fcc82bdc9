// SPDX-License-Identifier: MIT
#include "cpus.h"

#include <linux/cpumask.h>
#include <linux/percpu.h>
#include <linux/smp.h>
#include <linux/stop_machine.h>

#include "core/host.h"

static DEFINE_PER_CPU(int, veneer_number) = -1;
static unsigned int present;

/*
 * Called while CPUs cannot be hotplugged. Present CPUs that are offline get a number, so that they
 * can come online.
 */
void cpus_number(void)
{
	unsigned int cpu;

	present = 0;
	for_each_possible_cpu(cpu) per_cpu(veneer_number, cpu) = cpu_present(cpu) ? (int)present++
										  : -1;
}

int cpus_find(unsigned int linux_cpu)
{
	/* The number comes from user space. */
	if (linux_cpu >= nr_cpu_ids || !cpu_possible(linux_cpu))
		return -1;
	return per_cpu(veneer_number, linux_cpu);
}

unsigned int cpus_linux_number(unsigned int number)
{
	unsigned int cpu;

	for_each_possible_cpu(cpu)
	{
		if (per_cpu(veneer_number, cpu) == (int)number)
			return cpu;
	}
	return nr_cpu_ids;
}

unsigned int host_cpus(void)
{
	return present;
}

unsigned int host_running_cpus(void)
{
	return num_online_cpus();
}

unsigned int host_this_cpu(void)
{
	return raw_cpu_read(veneer_number);
}

struct job {
	void (*function)(void *argument);
	void *argument;
};

static int run_job(void *data)
{
	const struct job *job = data;

	job->function(job->argument);
	return 0;
}

/*
 * The CPUs wait for each other with interrupts off. With a mere IPI one CPU could wait here
 * holding a spinlock, while another one spins for that lock with interrupts off and never takes
 * the IPI. stop_machine() runs the function in a kernel thread on each CPU, where no spinlock is
 * held, after all CPUs have disabled interrupts.
 */
int host_on_each_cpu(void (*function)(void *), void *argument)
{
	struct job job = { .function = function, .argument = argument };

	return stop_machine(run_job, &job, cpu_online_mask);
}

void host_on_cpu(unsigned int cpu, void (*function)(void *), void *argument)
{
	unsigned int linux_cpu = cpus_linux_number(cpu);

	if (linux_cpu < nr_cpu_ids)
		smp_call_function_single(linux_cpu, function, argument, 1);
}
