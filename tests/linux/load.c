// SPDX-License-Identifier: MIT
/* The load is the agent's work for Linux (targets/agent/linux/work), whose processes check their own results. */
#include <string.h>
#include <sys/resource.h>

#include "machine.h"
#include "work.h"

/* Seconds that a process may take for its first round, and for its last, on a host that is busy. */
#define PATIENCE 300

void start_load(void)
{
	char why[256];

	/* Workers get the normal priority, lower than that of the kernel threads that loading Veneer needs. */
	CHECK(!setpriority(PRIO_PROCESS, 0, 0));
	if (work_start("all", why, sizeof(why)))
		fail("the load does not start: %s", why);
	CHECK(!setpriority(PRIO_PROCESS, 0, -20));
	/* Until every worker has done a round: one that never ran would detect nothing. */
	if (work_wait(1, PATIENCE, why, sizeof(why)))
		fail("the load does not go round: %s", why);
	/*
	 * Bochs 2.7 takes the trap of a single step over SYSCALL, although the system call's mask clears TF:
	 * Linux warns of it, once, in this round, and goes on.
	 */
	forget_log();
}

void stop_load(void)
{
	char report[1024];

	CHECK(!work_stop(PATIENCE, report, sizeof(report)));
	if (strstr(report, " text="))
		fail("the load has noticed something:%s", report);
}
