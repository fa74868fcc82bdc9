/* SPDX-License-Identifier: MIT */
/*
 * Work that would notice if the machine beneath it were not the same all the time: processes that
 * go round until they are told to stop, and look at their own results. No worker outlives
 * the process that started it.
 */
#ifndef AGENT_WORK_H
#define AGENT_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* One kind of work. */
struct work_kind {
	const char *name;
	/* Whether this machine can do it at all; else why not. NULL: any can. */
	bool (*possible)(char *why, size_t size);
	/* One round. What is wrong is said with work_fail(). */
	void (*round)(void);
};

/* processes, faults, timers, perf, ptrace, signals, vdso, fpu; the last one has no name. */
extern const struct work_kind *const work_kinds[];
extern const struct work_kind work_faults, work_fpu, work_perf, work_processes, work_ptrace,
	work_signals, work_timers, work_vdso;

/*
 * For whoever has work done. Errors are negative errnos, with the reason in `why`.
 *
 * One worker of each kind on each CPU that this process may use. kinds: names with commas between them, or
 * "all" for those that are possible here. -EBUSY: there is work already; -EINVAL: there is no such
 * kind; -EOPNOTSUPP: this machine cannot do it.
 */
int work_start(const char *kinds, char *why, size_t size);
unsigned int work_workers(void);
/*
 * Wait until every worker has gone round so often again, or something has failed (see the report).
 * -ETIMEDOUT: `seconds` are over, and somebody has not; -ESRCH: there is no work.
 */
int work_wait(unsigned int rounds, unsigned int seconds, char *why, size_t size);
/*
 * " KIND=ROUNDS:FAILURES" for each kind: rounds of the worker that has made the fewest, failures of all of them;
 * and " text=" with the first failure, if there is one. Returns the number of failures.
 */
uint64_t work_report(char *text, size_t size);
/* End all workers, and report. One that is not done with its round in time has failed. -ESRCH: there is no work. */
int work_stop(unsigned int seconds, char *text, size_t size);

/*
 * For the kinds. Something is not as it should be: the round has failed. The
 * first text of all is kept.
 */
void work_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Fork; the child dies with its worker, and may run on any CPU. Fails the round, and returns -1, if there is none. */
pid_t work_fork(void);
/* Wait for a child. Its status, or -1. */
int work_await(pid_t child);
/* The CPU that the worker is tied to. -1: it is not any more (hotplug). */
int work_cpu(void);
/* The rounds that the worker has done, and numbers that differ from round to round and from worker to worker. */
uint64_t work_rounds(void);
uint64_t work_random(void);
/* A number that all workers of all kinds see; zero at the start. */
_Atomic uint64_t *work_shared(void);

#endif
