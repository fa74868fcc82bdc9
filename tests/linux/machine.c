// SPDX-License-Identifier: MIT
/*
 * The first and only program of the test machine. It goes through the tests below
 * in their order, prints one line each ("ok NAME" or "FAIL NAME: why"), and reboots.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "machine.h"

#define SYSLOG_READ_ALL 3
#define SYSLOG_CLEAR 5

static const char *test_name = "start";

static void end_machine(void)
{
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
	/* QEMU runs with -no-reboot. */
	reboot(RB_AUTOBOOT);
	for (;;)
		pause();
}

static void print_log(void)
{
	static char log[1 << 18];
	int size = klogctl(SYSLOG_READ_ALL, log, sizeof(log) - 1);

	if (size > 0)
		printf("%.*s\n", size, log);
}

void fail(const char *format, ...)
{
	va_list arguments;

	printf("FAIL %s: ", test_name);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	print_log();
	end_machine();
	abort();
}

void write_file(const char *path, const char *text)
{
	int file = open(path, O_WRONLY);

	if (file < 0)
		fail("%s: %s", path, strerror(errno));
	if (write(file, text, strlen(text)) < 0)
		fail("writing '%s' to %s: %s", text, path, strerror(errno));
	close(file);
}

void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int i = 0; i < CPUS_MOST; i++) {
		if (cpu < 0 || cpu == i)
			CPU_SET(i, &set);
	}
	CHECK(!sched_setaffinity(0, sizeof(set), &set));
}

int online_cpus(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN);
}

int insert(const char *path)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	int error;

	if (file < 0)
		fail("%s: %s", path, strerror(errno));
	error = syscall(SYS_finit_module, file, "", 0) ? errno : 0;
	close(file);
	return error;
}

int remove_module(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? errno : 0;
}

int count_cpu_flag(const char *flag)
{
	char line[8192];
	int found = 0;
	FILE *file = fopen("/proc/cpuinfo", "r");

	CHECK(file);
	while (fgets(line, sizeof(line), file)) {
		if (strncmp(line, "flags", 5))
			continue;
		for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n"))
			found += !strcmp(word, flag);
	}
	fclose(file);
	return found;
}

void expect_clean_log(void)
{
	static const char *const bad[] = {
		"WARNING:",
		"BUG:",
		"Oops",
		"unchecked MSR",
		"soft lockup",
		"hard lockup",
		"stall",
		"Call Trace",
		"general protection",
		"possible recursive",
		"circular locking",
		"KASAN",
		"Invalid padding",
	};
	static char log[1 << 18];
	int size = klogctl(SYSLOG_READ_ALL, log, sizeof(log) - 1);

	CHECK(size >= 0);
	log[size] = '\0';
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (strstr(log, bad[i]))
			fail("the kernel's log has '%s'", bad[i]);
	}
}

void forget_log(void)
{
	klogctl(SYSLOG_CLEAR, NULL, 0);
}

/* In a kernel with lockdep: lockdep turns itself off after its first report, or when it runs out of memory. */
static void tell_of_lockdep(void)
{
	char line[256];
	long classes = 0, on = 0;
	FILE *file = fopen("/proc/lockdep_stats", "r");

	if (!file)
		return;
	while (fgets(line, sizeof(line), file)) {
		sscanf(line, " lock-classes: %ld", &classes);
		sscanf(line, " debug_locks: %ld", &on);
	}
	fclose(file);
	if (!on)
		fail("lockdep has switched itself off");
	printf("# lockdep looked at %ld classes of locks until the end\n", classes);
}

/*
 * When a CPU goes under load, the accounting of Linux 6.12's fair server may end in
 * "dl_rq->running_bw > old": without Veneer too, after 15 to 20 times on 4 busy CPUs,
 * and not in 120 where no server has a share.
 */
static void stop_fair_servers(void)
{
	char path[64];

	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	for (int cpu = 0; cpu < online_cpus(); cpu++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/sched/fair_server/cpu%d/runtime",
			 cpu);
		if (!access(path, W_OK))
			write_file(path, "0");
	}
}

/* With reboot=t on the command line, this is a triple fault without any notification: Veneer has to report it. */
static void die_loaded(void)
{
	CHECK(!insert("/modules/veneer.ko"));
	order("1 load");
	write_file("/proc/sysrq-trigger", "b");
	fail("still alive");
}

static void poke_only(int rounds)
{
	test_name = "poke";
	poke(rounds);
	expect_clean_log();
	printf("ok %s\n", test_name);
	end_machine();
}

/* Since the machine's start. In Bochs this counts simulated instructions, so it says what a test costs. */
static double uptime(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec * 1e-9;
}

static const struct test *find_tests(void)
{
	if (getenv("agent"))
		return agent_tests;
	return getenv("refused") ? refused_tests : tests;
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	printf("# %d CPUs, %d levels of page tables\n", online_cpus(),
	       count_cpu_flag("la57") ? 5 : 4);
	stop_fair_servers();
	/* The load must not delay this process. */
	CHECK(!setpriority(PRIO_PROCESS, 0, -20));
	forget_log();
	if (getenv("die"))
		die_loaded();
	if (getenv("poke"))
		poke_only(atoi(getenv("poke")));
	for (const struct test *test = find_tests(); test->name; test++) {
		test_name = test->name;
		test->run();
		expect_clean_log();
		printf("ok %s\n# until %.1f s\n", test_name, uptime());
	}
	tell_of_lockdep();
	end_machine();
}
