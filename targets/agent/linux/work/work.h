/* SPDX-License-Identifier: MIT */
/*
 * Processes that load the machine and check their own results, to detect a hypervisor that disturbs
 * them (PROTOCOL.md, `work`). Each worker repeats its round until it is stopped. No worker outlives the
 * process that started it.
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
	/* Whether this machine can do this kind of work; if not, why. NULL: every machine can. */
	bool (*possible)(char *why, size_t size);
	/* One round. Reports what is wrong with work_fail(). */
	void (*round)(void);
};

/* All kinds, ending with NULL. */
extern const struct work_kind *const work_kinds[];
extern const struct work_kind work_faults, work_fpu, work_perf, work_processes, work_ptrace,
	work_signals, work_timers, work_vdso;

/*
 * For the process that starts work. Errors are negative errnos, with the reason in `why`.
 *
 * Start one worker of each kind on each CPU that this process may use. kinds: names with commas between them, or
 * "all" for those that are possible here. -EBUSY: there is work already; -EINVAL: there is no such
 * kind; -EOPNOTSUPP: this machine cannot do it.
 */
int work_start(const char *kinds, char *why, size_t size);
unsigned int work_workers(void);
/*
 * Wait until every worker has done so many further rounds, or one has failed (see the report).
 * -ETIMEDOUT: `seconds` are over, and a worker has not; -ESRCH: there is no work.
 */
int work_wait(unsigned int rounds, unsigned int seconds, char *why, size_t size);
/*
 * Write " KIND=ROUNDS:FAILURES" for each kind: rounds of the worker that has done the fewest, failures of all of them;
 * and " text=" with the first failure, if there is one. Returns the number of failures.
 */
uint64_t work_report(char *text, size_t size);
/* End all workers, and report. One that does not finish its round in time has failed. -ESRCH: there is no work. */
int work_stop(unsigned int seconds, char *text, size_t size);

/* For the kinds of work. Marks the round as failed. The first text of all workers is reported. */
void work_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Fork; the child dies with its worker, and may run on any CPU. Fails the round, and returns -1, if there is none. */
pid_t work_fork(void);
/* Wait for a child. Its status, or -1. */
int work_await(pid_t child);
/* The CPU that the worker is pinned to. -1: hotplug has undone that. */
int work_cpu(void);
/* The number of rounds that the worker has done, and the next number of its random generator. */
uint64_t work_rounds(void);
uint64_t work_random(void);
/* A number that all workers of all kinds share; 0 at the start. */
_Atomic uint64_t *work_shared(void);

#endif
