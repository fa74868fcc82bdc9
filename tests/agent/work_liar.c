/* SPDX-License-Identifier: MIT */
/*
 * Runs one kind of work on a machine that behaves wrongly: work_liar KIND LIE. Functions that the kinds of work
 * call are wrapped (ld --wrap=NAME); after some correct rounds, one of them returns a wrong result. Prints
 * the report.
 *
 * Registers are changed in the signal frame of SIGUSR1.
 */
#define _GNU_SOURCE
#include <linux/perf_event.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "work.h"

#define HONEST 3
#define LIMIT 120

static const char *lie = "";
static pid_t starter;

int __real_clock_gettime(clockid_t clock, struct timespec *time);
int __real_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time,
			   struct timespec *rest);
ssize_t __real_read(int file, void *data, size_t size);
ssize_t __real_write(int file, const void *data, size_t size);
int __real_sigqueue(pid_t process, int signal, const union sigval value);
int __real_madvise(void *address, size_t size, int advice);
pid_t __real_waitpid(pid_t process, int *status, int options);
int __real_getcpu(unsigned int *cpu, unsigned int *node);
long __real_ptrace(enum __ptrace_request request, pid_t process, void *address, void *data);

static bool lies(const char *what)
{
	/* Only in workers: the process that started them needs the correct time. */
	return !strcmp(lie, what) && getpid() != starter && work_rounds() >= HONEST;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
	int error = __real_clock_gettime(clock, time);

	if (lies("clock-behind"))
		time->tv_sec--;
	if (lies("clock-ahead"))
		time->tv_nsec += 50000000;
	return error;
}

int __wrap_clock_nanosleep(clockid_t clock, int flags, const struct timespec *time,
			   struct timespec *rest)
{
	return lies("sleep-short") ? 0 : __real_clock_nanosleep(clock, flags, time, rest);
}

ssize_t __wrap_read(int file, void *data, size_t size)
{
	ssize_t got = __real_read(file, data, size);

	if (got == 8 && lies("timer-lost"))
		--*(uint64_t *)data;
	if (got == 8 && lies("timer-early"))
		*(uint64_t *)data += 3;
	if (got == 8 && lies("message-damaged"))
		*(uint64_t *)data ^= 1ull << 40;
	return got;
}

int __wrap_sigqueue(pid_t process, int signal, const union sigval value)
{
	union sigval other = value;

	if (lies("signal-lost") && value.sival_int % 16 == 5)
		return 0;
	if (lies("signal-doubled") && value.sival_int % 16 == 5)
		__real_sigqueue(process, signal, value);
	if (lies("signal-changed") && value.sival_int % 16 == 5)
		other.sival_int ^= 0x100;
	return __real_sigqueue(process, signal, other);
}

int __wrap_madvise(void *address, size_t size, int advice)
{
	return lies("page-kept") ? 0 : __real_madvise(address, size, advice);
}

pid_t __wrap_waitpid(pid_t process, int *status, int options)
{
	pid_t child = __real_waitpid(process, status, options);

	if (!options && lies("status-wrong") && status && WIFEXITED(*status))
		*status ^= 0x100;
	return child;
}

int __wrap_getcpu(unsigned int *cpu, unsigned int *node)
{
	int error = __real_getcpu(cpu, node);

	if (lies("cpu-wrong"))
		++*cpu;
	return error;
}

long __wrap_ptrace(enum __ptrace_request request, ...)
{
	static unsigned int steps;
	va_list arguments;
	pid_t process;
	void *address, *data;
	int status;

	va_start(arguments, request);
	process = va_arg(arguments, pid_t);
	address = va_arg(arguments, void *);
	data = va_arg(arguments, void *);
	va_end(arguments);
	if (request == PTRACE_SINGLESTEP && lies("step-lost") && ++steps % 5 == 0) {
		__real_ptrace(request, process, NULL, NULL);
		__real_waitpid(process, &status, 0);
	}
	if (request == PTRACE_POKEUSER && lies("breakpoint-lost"))
		return 0;
	return __real_ptrace(request, process, address, data);
}

/*
 * On a machine without a PMU, use the kernel's software counter of nanoseconds, which overflows, too; with a
 * three times longer period if samples are to be lost.
 */
long __real_syscall(long number, ...);

long __wrap_syscall(long number, long a, long b, long c, long d, long e)
{
	struct perf_event_attr *attributes = (void *)a;

	if (number == SYS_perf_event_open && !strncmp(lie, "software", 8)) {
		attributes->type = PERF_TYPE_SOFTWARE;
		attributes->config = PERF_COUNT_SW_CPU_CLOCK;
		attributes->sample_period *= lies("software-lost") ? 3 : 1;
	}
	return __real_syscall(number, a, b, c, d, e);
}

static void disturb(int signal, siginfo_t *info, void *context)
{
	struct _libc_fpstate *state = ((ucontext_t *)context)->uc_mcontext.fpregs;

	(void)signal, (void)info;
	if (!strcmp(lie, "xmm"))
		state->_xmm[11].element[2] ^= 0x10;
	/* The upper halves of YMM0-15 are at 576 (SDM 1 13.4.2). */
	if (!strcmp(lie, "ymm"))
		((unsigned char *)state)[576 + 16 * 3] ^= 1;
	if (!strcmp(lie, "x87"))
		state->_st[5].significand[1] ^= 4;
	if (!strcmp(lie, "mxcsr"))
		state->mxcsr ^= 0x2000;
	if (!strcmp(lie, "control"))
		state->cwd ^= 0x400;
}

/* Signal the first worker at arbitrary times, some of which are in the middle of a round. */
static void disturb_until_noticed(void)
{
	char text[1000];

	for (int i = 0; i < 2000; i++) {
		char path[64], line[64] = "";
		FILE *children;
		int worker = 0;

		snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
		children = fopen(path, "r");
		if (!children || !fgets(line, sizeof(line), children) ||
		    sscanf(line, "%d", &worker) != 1)
			break;
		fclose(children);
		kill(worker, SIGUSR1);
		if (work_wait(1, LIMIT, text, sizeof(text)) || work_report(text, sizeof(text)))
			break;
	}
}

int main(int count, char **arguments)
{
	struct sigaction action = { .sa_sigaction = disturb, .sa_flags = SA_SIGINFO };
	char text[1000];
	int error;

	if (count != 3)
		return 2;
	sigaction(SIGUSR1, &action, NULL);
	lie = arguments[2];
	starter = getpid();
	error = work_start(arguments[1], text, sizeof(text));
	if (error) {
		printf("%d %s\n", error, text);
		return 1;
	}
	if (!strcmp(lie, "endless")) {
		printf("working\n");
		fflush(stdout);
		pause();
	}
	error = work_wait(HONEST + 5, LIMIT, text, sizeof(text));
	if (!error && !strcmp(arguments[1], "fpu") && strcmp(lie, "none"))
		disturb_until_noticed();
	if (error)
		printf("%d %s\n", error, text);
	work_stop(LIMIT, text, sizeof(text));
	printf("%s\n", text);
	return 0;
}
