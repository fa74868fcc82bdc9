// SPDX-License-Identifier: MIT
/*
 * Each process goes round until it is told to stop, and exits with 0 if all was
 * as it should be. What counts is in memory that all share: a process that got
 * stuck has not gone round.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "machine.h"

#define JOBS_MOST 16
/* Hundredths of a second that a process may take for its first round. */
#define PATIENCE 6000

static volatile long *rounds;
static pid_t processes[JOBS_MOST];
static volatile sig_atomic_t stop_asked, alarms;

static void on_term(int signal)
{
	(void)signal;
	stop_asked = 1;
}

static void on_alarm(int signal)
{
	(void)signal;
	alarms++;
}

/* XMM registers and MXCSR: the same sum every time. */
static bool compute(void)
{
	static double first;
	double sum = 0, x = 1.5;

	for (int i = 1; i < 2000; i++) {
		x = x * 1.0000001 + 1.0 / i;
		sum += x / 3.0;
	}
	if (first == 0)
		first = sum;
	return sum == first;
}

/* x87 registers too. */
static bool compute_long(void)
{
	static long double first;
	long double sum = 0;

	for (int i = 1; i < 2000; i++)
		sum += 1.0L / i;
	if (first == 0)
		first = sum;
	return sum == first;
}

static bool fault_pages(void)
{
	const size_t size = 64 * 4096;
	volatile unsigned char *memory =
		mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool good = memory != MAP_FAILED;

	for (size_t at = 0; good && at < size; at += 4096) {
		good = memory[at] == 0;
		memory[at] = at >> 12;
	}
	for (size_t at = 0; good && at < size; at += 4096)
		good = memory[at] == (unsigned char)(at >> 12);
	munmap((void *)memory, size);
	return good;
}

static bool fork_and_wait(void)
{
	int status;
	pid_t child = fork();

	if (!child)
		_exit(compute() ? 7 : 8);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == 7;
}

/* Signals from a timer, and a clock that only goes forward. */
static bool take_alarms(void)
{
	const struct itimerval often = { { 0, 2000 }, { 0, 2000 } };
	struct timespec before, after;
	int wanted = alarms + 3;

	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &often, NULL);
	clock_gettime(CLOCK_MONOTONIC, &before);
	while (alarms < wanted && !stop_asked) {
		clock_gettime(CLOCK_MONOTONIC, &after);
		if (after.tv_sec < before.tv_sec ||
		    (after.tv_sec == before.tv_sec && after.tv_nsec < before.tv_nsec))
			return false;
		before = after;
	}
	return true;
}

/* Two processes that take turns: nothing but context switches. */
static bool play_ping_pong(void)
{
	static int there[2], back[2];
	static bool started;
	char byte;

	if (!started) {
		started = true;
		if (pipe(there) || pipe(back))
			return false;
		if (!fork()) {
			signal(SIGTERM, SIG_DFL);
			close(there[1]);
			while (read(there[0], &byte, 1) == 1 && write(back[1], &byte, 1) == 1)
				;
			_exit(0);
		}
	}
	byte = rounds[0];
	return write(there[1], &byte, 1) == 1 && read(back[0], &byte, 1) == 1;
}

static void __attribute__((noinline)) stepped_code(void)
{
	unsigned int a = 0, b, c = 0, d;

	asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
}

/* ptrace single-steps over CPUIDs; a step that skips an instruction, or gets lost, changes their number. */
static bool single_step(void)
{
	static long first;
	long steps = 0;
	int status;
	pid_t child = fork();

	if (!child) {
		signal(SIGTERM, SIG_DFL);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		stepped_code();
		asm volatile("int3");
		_exit(0);
	}
	waitpid(child, &status, 0);
	/* Until the int3: its SIGTRAP comes from an instruction, seen by what has been executed. */
	while (WIFSTOPPED(status) && steps < 2000) {
		long word = ptrace(PTRACE_PEEKUSER, child, 16 * 8, 0);
		long code = ptrace(PTRACE_PEEKTEXT, child, word, 0);

		if ((code & 0xff) == 0xcc)
			break;
		steps++;
		ptrace(PTRACE_SINGLESTEP, child, 0, 0);
		waitpid(child, &status, 0);
	}
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	if (!first)
		first = steps;
	return steps == first && steps > 5 && steps < 2000;
}

/* CPUID of plain leaves: always the same answer, in guest mode or not. */
static bool identify(void)
{
	static unsigned int first[4];
	unsigned int a = 0, b, c = 0, d;

	asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	if (!first[1]) {
		first[0] = a;
		first[1] = b;
		first[2] = c;
		first[3] = d;
	}
	return a == first[0] && b == first[1] && c == first[2] && d == first[3];
}

static bool sleep_shortly(void)
{
	const struct timespec time = { 0, 500000 };

	return !nanosleep(&time, NULL) || errno == EINTR;
}

static const struct job {
	const char *name;
	bool (*round)(void);
} jobs[] = {
	{ "compute", compute },		{ "compute-long", compute_long },
	{ "fault-pages", fault_pages }, { "fork", fork_and_wait },
	{ "alarms", take_alarms },	{ "ping-pong", play_ping_pong },
	{ "single-step", single_step }, { "identify", identify },
	{ "sleep", sleep_shortly },
};
#define JOBS (sizeof(jobs) / sizeof(jobs[0]))

static void run_job(size_t index)
{
	setpriority(PRIO_PROCESS, 0, 0);
	signal(SIGTERM, on_term);
	while (!stop_asked) {
		if (!jobs[index].round() && !stop_asked)
			_exit(1);
		rounds[index]++;
	}
	_exit(0);
}

void start_load(void)
{
	if (!rounds)
		rounds =
			mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(rounds != MAP_FAILED);
	for (size_t i = 0; i < JOBS; i++) {
		rounds[i] = 0;
		processes[i] = fork();
		CHECK(processes[i] >= 0);
		if (!processes[i])
			run_job(i);
	}
	/* Until all are at it: a process that never runs would notice nothing. */
	for (size_t i = 0; i < JOBS; i++) {
		for (int wait = 0; !rounds[i]; wait++) {
			if (wait == PATIENCE)
				fail("the %s process does not go round", jobs[i].name);
			usleep(10000);
		}
	}
}

void stop_load(void)
{
	for (size_t i = 0; i < JOBS; i++)
		kill(processes[i], SIGTERM);
	for (size_t i = 0; i < JOBS; i++) {
		int status;

		CHECK(waitpid(processes[i], &status, 0) == processes[i]);
		if (!WIFEXITED(status) || WEXITSTATUS(status))
			fail("the %s process has noticed something (status %x, round %ld)",
			     jobs[i].name, status, rounds[i]);
	}
	/* Children of the above that init has inherited. */
	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
}
