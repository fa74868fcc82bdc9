// SPDX-License-Identifier: MIT
/*
 * Makes the kernel patch its own code as often as possible while all CPUs execute that code. The kernel first
 * writes an INT3; an emulator that keeps a stale translation of it makes the kernel oops. With poke=N on
 * the kernel's command line: N rounds of this and nothing else, without Veneer.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine.h"

#define YIELDERS_PER_CPU 2
#define KVM_CREATE_VM 0xae01

/* Each is a static key of the scheduler, with jump labels in schedule(), in wake-ups and in enqueueing. */
static const char *const switches[] = {
	"/proc/sys/kernel/sched_schedstats",
	"/proc/sys/kernel/task_delayacct",
};
#define SWITCHES (sizeof(switches) / sizeof(switches[0]))

static void yield_for_ever(int cpu)
{
	signal(SIGTERM, SIG_DFL);
	pin(cpu);
	for (;;)
		sched_yield();
}

static int start_yielders(pid_t *yielders)
{
	int cpus = online_cpus(), started = 0;

	for (int cpu = 0; cpu < cpus; cpu++) {
		for (int i = 0; i < YIELDERS_PER_CPU; i++) {
			yielders[started] = fork();
			CHECK(yielders[started] >= 0);
			if (!yielders[started])
				yield_for_ever(cpu);
			started++;
		}
	}
	return started;
}

/* The first virtual machine enables the hooks for KVM in schedule(), the last one disables them. */
static void make_machine(void)
{
	int file = open("/dev/kvm", O_RDWR), machine;

	CHECK(file >= 0);
	machine = ioctl(file, KVM_CREATE_VM, 0);
	CHECK(machine >= 0);
	close(machine);
	close(file);
}

void poke(int rounds)
{
	pid_t yielders[CPUS_MOST * YIELDERS_PER_CPU];
	int started;
	bool kvm = !insert_kvm() && !access("/dev/kvm", R_OK | W_OK);

	start_load();
	started = start_yielders(yielders);
	for (int i = 0; i < rounds; i++) {
		for (size_t s = 0; s < SWITCHES; s++) {
			if (!access(switches[s], W_OK))
				write_file(switches[s], i % 2 ? "0" : "1");
		}
		if (kvm)
			make_machine();
		if (i % 10 == 9) {
			expect_clean_log();
			printf("# poked %d times%s\n", i + 1, kvm ? ", with KVM" : "");
		}
	}
	for (int i = 0; i < started; i++) {
		kill(yielders[i], SIGKILL);
		waitpid(yielders[i], NULL, 0);
	}
	stop_load();
}
