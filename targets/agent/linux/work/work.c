// SPDX-License-Identifier: MIT
/* Starts workers, waits for them and ends them. The other files of this directory implement their kinds of work. */
#define _GNU_SOURCE
#include "work.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
/* Lower than the priority of the agent, which workers must not slow down. */
#define NICENESS 10

const struct work_kind *const work_kinds[] = {
	&work_processes, &work_faults, &work_timers, &work_perf, &work_ptrace,
	&work_signals,	 &work_vdso,   &work_fpu,    NULL,
};

struct worker {
	const struct work_kind *kind;
	int cpu;
	pid_t pid;
	int pidfd; /* -1: it has ended */
	_Atomic uint64_t rounds, failures;
	_Atomic uint64_t awaited; /* the round that work_wait() waits for */
};

/* In memory that all workers share. */
struct work {
	size_t size;
	unsigned int workers;
	int event; /* an eventfd, written when a worker has done the awaited round or has failed */
	_Atomic bool stop;
	_Atomic bool failed;
	_Atomic bool told; /* text is complete */
	_Atomic uint64_t shared;
	char text[200];
	struct worker worker[];
};

static struct work *work;
/* In a worker process: its own state. */
static struct worker *self;
static bool round_failed;
static uint64_t random_state;

static void wake_up(void)
{
	const uint64_t one = 1;

	/* EAGAIN: the counter is at its maximum, so the reader is woken anyway. */
	if (write(work->event, &one, sizeof(one)) < 0)
		return;
}

static void tell(const struct worker *worker, const char *what)
{
	if (atomic_exchange(&work->failed, true))
		return;
	snprintf(work->text, sizeof(work->text), "%s on CPU %d, round %lu: %s", worker->kind->name,
		 worker->cpu, (unsigned long)worker->rounds + 1, what);
	work->told = true;
}

void work_fail(const char *format, ...)
{
	char what[160];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	round_failed = true;
	tell(self, what);
}

pid_t work_fork(void)
{
	pid_t parent = getpid(), child = fork();
	cpu_set_t all;

	if (child < 0)
		work_fail("fork: %s", strerror(errno));
	if (child)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	memset(&all, 0xff, sizeof(all));
	sched_setaffinity(0, sizeof(all), &all);
	return 0;
}

int work_await(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0) {
		if (errno != EINTR) {
			work_fail("waitpid: %s", strerror(errno));
			return -1;
		}
	}
	return status;
}

int work_cpu(void)
{
	cpu_set_t mine;

	if (sched_getaffinity(0, sizeof(mine), &mine) || CPU_COUNT(&mine) != 1 ||
	    !CPU_ISSET(self->cpu, &mine))
		return -1;
	return self->cpu;
}

uint64_t work_rounds(void)
{
	return self->rounds;
}

/* Marsaglia's xorshift64. */
uint64_t work_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

_Atomic uint64_t *work_shared(void)
{
	return &work->shared;
}

/* Close all inherited files except the event: the other end of an SSH channel would wait for a worker to close it. */
static void let_go(void)
{
	int null = open("/dev/null", O_RDWR);

	for (int file = 0; null >= 0 && file < 3; file++)
		dup2(null, file);
	syscall(SYS_close_range, 3, work->event - 1, 0);
	syscall(SYS_close_range, work->event + 1, ~0u, 0);
}

__attribute__((noreturn)) static void go_round(struct worker *worker, pid_t parent)
{
	cpu_set_t mine;

	self = worker;
	random_state = 0x9e3779b97f4a7c15u * (unsigned int)(getpid() + 1);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	let_go();
	CPU_ZERO(&mine);
	CPU_SET(worker->cpu, &mine);
	sched_setaffinity(0, sizeof(mine), &mine);
	if (nice(NICENESS) < 0)
		errno = 0;
	while (!work->stop) {
		round_failed = false;
		worker->kind->round();
		if (round_failed)
			worker->failures++;
		if (++worker->rounds == worker->awaited || round_failed)
			wake_up();
	}
	_exit(0);
}

static const struct work_kind *find_kind(const char *name, size_t length)
{
	for (const struct work_kind *const *kind = work_kinds; *kind; kind++)
		if (strlen((*kind)->name) == length && !strncmp((*kind)->name, name, length))
			return *kind;
	return NULL;
}

/* Look up the kinds that are named. Returns their number, or a negative errno and the reason. */
static int choose(const char *names, const struct work_kind **chosen, char *why, size_t size)
{
	bool all = !strcmp(names, "all");
	int count = 0;

	for (const struct work_kind *const *kind = work_kinds; all && *kind; kind++)
		if (!(*kind)->possible || (*kind)->possible(why, size))
			chosen[count++] = *kind;
	for (const char *name = names; !all; name++) {
		size_t length = strcspn(name, ",");
		const struct work_kind *kind = find_kind(name, length);
		int used = 0;

		if (!kind) {
			used = snprintf(why, size, "kinds: all");
			for (const struct work_kind *const *known = work_kinds; *known; known++)
				used += snprintf(why + used, size - used, ", %s", (*known)->name);
			snprintf(why + used, size - used, "; not '%.*s'", (int)length, name);
			return -EINVAL;
		}
		for (int i = 0; i < count; i++) {
			if (chosen[i] == kind) {
				snprintf(why, size, "kinds: %s given twice", kind->name);
				return -EINVAL;
			}
		}
		if (kind->possible) {
			used = snprintf(why, size, "%s: ", kind->name);
			if (!kind->possible(why + used, size - used))
				return -EOPNOTSUPP;
		}
		chosen[count++] = kind;
		name += length;
		if (!*name)
			break;
	}
	return count;
}

int work_start(const char *kinds, char *why, size_t size)
{
	const struct work_kind *chosen[sizeof(work_kinds) / sizeof(*work_kinds)];
	pid_t parent = getpid(), child;
	unsigned int workers;
	size_t bytes;
	cpu_set_t cpus;
	int count;

	if (work) {
		snprintf(why, size, "there is work already: stop it first");
		return -EBUSY;
	}
	count = choose(kinds, chosen, why, size);
	if (count < 0)
		return count;
	sched_getaffinity(0, sizeof(cpus), &cpus);
	workers = (unsigned int)(CPU_COUNT(&cpus) * count);
	bytes = sizeof(*work) + workers * sizeof(*work->worker);
	work = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (work == MAP_FAILED) {
		work = NULL;
		snprintf(why, size, "no memory for %u workers", workers);
		return -ENOMEM;
	}
	work->size = bytes;
	work->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		for (int i = 0; CPU_ISSET(cpu, &cpus) && i < count; i++) {
			struct worker *worker = &work->worker[work->workers];

			worker->kind = chosen[i];
			worker->cpu = cpu;
			/* Into a local variable: the child would overwrite worker->pid with 0 in the shared memory. */
			child = fork();
			if (!child)
				go_round(worker, parent);
			worker->pid = child;
			worker->pidfd = child < 0 ? -1 : (int)syscall(SYS_pidfd_open, child, 0);
			if (worker->pidfd < 0) {
				int error = errno;

				snprintf(why, size, "worker %u of %u cannot be started: %s",
					 work->workers + 1, workers, strerror(error));
				if (child > 0) {
					kill(child, SIGKILL);
					waitpid(child, NULL, 0);
				}
				work_stop(0, NULL, 0);
				return -error;
			}
			work->workers++;
		}
	}
	return 0;
}

unsigned int work_workers(void)
{
	return work ? work->workers : 0;
}

/* Reap a worker that has ended. Without `wanted`, it must not have: it was not told to stop. */
static void bury(struct worker *worker, bool wanted)
{
	char what[80];
	int status;

	if (worker->pidfd < 0 || waitpid(worker->pid, &status, WNOHANG) != worker->pid)
		return;
	close(worker->pidfd);
	worker->pidfd = -1;
	if (wanted && WIFEXITED(status) && !WEXITSTATUS(status))
		return;
	if (WIFSIGNALED(status))
		snprintf(what, sizeof(what), "the worker was killed by signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(what, sizeof(what), "the worker has ended with status %d",
			 WEXITSTATUS(status));
	worker->failures++;
	tell(worker, what);
}

static uint64_t count_failures(void)
{
	uint64_t failures = 0;

	for (unsigned int i = 0; i < work->workers; i++)
		failures += work->worker[i].failures;
	return failures;
}

static int64_t milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ll + now.tv_nsec / 1000000;
}

/* Wait until a worker writes to the event or ends. Returns false at the deadline. */
static bool listen(int64_t deadline)
{
	struct pollfd *files = calloc(work->workers + 1, sizeof(*files));
	int64_t left = deadline - milliseconds();
	uint64_t unused;
	int ready;

	if (!files)
		return false;
	files[0] = (struct pollfd){ .fd = work->event, .events = POLLIN };
	for (unsigned int i = 0; i < work->workers; i++)
		files[i + 1] = (struct pollfd){ .fd = work->worker[i].pidfd, .events = POLLIN };
	ready = poll(files, work->workers + 1, left > 0 ? (int)left : 0);
	if (read(work->event, &unused, sizeof(unused)) < 0)
		errno = 0;
	free(files);
	return ready > 0 || left > 0;
}

static const struct worker *find_late(void)
{
	for (unsigned int i = 0; i < work->workers; i++)
		if (work->worker[i].rounds < work->worker[i].awaited)
			return &work->worker[i];
	return NULL;
}

int work_wait(unsigned int rounds, unsigned int seconds, char *why, size_t size)
{
	int64_t deadline = milliseconds() + seconds * 1000ll;
	const struct worker *late;

	if (!work) {
		snprintf(why, size, "there is no work: start it first");
		return -ESRCH;
	}
	for (unsigned int i = 0; i < work->workers; i++)
		work->worker[i].awaited = work->worker[i].rounds + rounds;
	for (;;) {
		for (unsigned int i = 0; i < work->workers; i++)
			bury(&work->worker[i], false);
		late = find_late();
		if (count_failures() || !late)
			return 0;
		if (!listen(deadline))
			break;
	}
	late = find_late();
	if (!late)
		return 0;
	snprintf(why, size,
		 "%s on CPU %d is in round %lu still, after %u s, and %lu more are awaited",
		 late->kind->name, late->cpu, (unsigned long)late->rounds + 1, seconds,
		 (unsigned long)(late->awaited - late->rounds));
	return -ETIMEDOUT;
}

uint64_t work_report(char *text, size_t size)
{
	size_t used = 0;

	if (!size)
		return count_failures();
	text[0] = '\0';
	for (const struct work_kind *const *kind = work_kinds; *kind; kind++) {
		uint64_t fewest = UINT64_MAX, failures = 0;

		for (unsigned int i = 0; i < work->workers; i++) {
			const struct worker *worker = &work->worker[i];

			if (worker->kind != *kind)
				continue;
			failures += worker->failures;
			if (worker->rounds < fewest)
				fewest = worker->rounds;
		}
		if (fewest != UINT64_MAX && used < size)
			used += (size_t)snprintf(text + used, size - used, " %s=%lu:%lu",
						 (*kind)->name, (unsigned long)fewest,
						 (unsigned long)failures);
	}
	if (work->told && used < size)
		snprintf(text + used, size - used, " text=%s", work->text);
	return count_failures();
}

static bool all_ended(void)
{
	bool ended = true;

	for (unsigned int i = 0; i < work->workers; i++) {
		bury(&work->worker[i], true);
		ended &= work->worker[i].pidfd < 0;
	}
	return ended;
}

int work_stop(unsigned int seconds, char *text, size_t size)
{
	int64_t deadline = milliseconds() + seconds * 1000ll;

	if (!work) {
		snprintf(text, size, "there is no work");
		return -ESRCH;
	}
	work->stop = true;
	while (!all_ended() && listen(deadline))
		;
	for (unsigned int i = 0; i < work->workers; i++) {
		struct worker *worker = &work->worker[i];

		if (worker->pidfd < 0)
			continue;
		kill(worker->pid, SIGKILL);
		waitpid(worker->pid, NULL, 0);
		close(worker->pidfd);
		worker->failures++;
		tell(worker, "this round does not end");
	}
	work_report(text, size);
	close(work->event);
	munmap(work, work->size);
	work = NULL;
	return 0;
}
