// SPDX-License-Identifier: MIT
/*
 * The vDSO computes the time from the TSC, and gets the number of the CPU from TSC_AUX or from a segment limit, without
 * a system call. It must agree with the kernel, and the time of no CPU may be behind another's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "work.h"

#define SECOND 1000000000ull
#define TURNS 200

static uint64_t as_number(struct timespec time)
{
	return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static uint64_t ask_kernel(clockid_t clock)
{
	struct timespec time = { 0 };

	syscall(SYS_clock_gettime, clock, &time);
	return as_number(time);
}

static uint64_t ask_vdso(clockid_t clock)
{
	struct timespec time = { 0 };

	clock_gettime(clock, &time);
	return as_number(time);
}

static void compare(clockid_t clock, const char *name)
{
	uint64_t before = ask_kernel(clock), found = ask_vdso(clock), after = ask_kernel(clock);

	if (found < before || found > after)
		work_fail("%s by the vDSO is %lu, by the kernel %lu before and %lu after", name,
			  (unsigned long)found, (unsigned long)before, (unsigned long)after);
}

/* The latest time that a worker on any CPU has read. */
static void look_at_others(void)
{
	_Atomic uint64_t *latest = work_shared();
	uint64_t seen = *latest, now = ask_vdso(CLOCK_MONOTONIC);

	if (now < seen)
		work_fail("the time is %lu, and %lu was seen before by some CPU",
			  (unsigned long)now, (unsigned long)seen);
	while (seen < now && !atomic_compare_exchange_weak(latest, &seen, now))
		;
}

static void go_round(void)
{
	unsigned int cpu;
	int tied;

	for (int turn = 0; turn < TURNS; turn++) {
		compare(CLOCK_MONOTONIC, "CLOCK_MONOTONIC");
		compare(CLOCK_BOOTTIME, "CLOCK_BOOTTIME");
		look_at_others();
		tied = work_cpu();
		/* From the vDSO, too. */
		if (!getcpu(&cpu, NULL) && tied >= 0 && tied == work_cpu() &&
		    cpu != (unsigned int)tied)
			work_fail("getcpu() says %u on CPU %d", cpu, tied);
	}
}

static bool is_possible(char *why, size_t size)
{
	if (getauxval(AT_SYSINFO_EHDR))
		return true;
	snprintf(why, size, "this kernel has no vDSO");
	return false;
}

const struct work_kind work_vdso = { .name = "vdso", .possible = is_possible, .round = go_round };
