// SPDX-License-Identifier: MIT
/* The tests, in the order in which they run. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "machine.h"

#define KVM_MINOR 232
/* More CPUIDs than a kernel executes on a CPU in a suspend. */
#define MANY_EXITS 5000
#define KVM_CREATE_VM 0xae01
#define SYSLOG_CONSOLE_LEVEL 8

/* vmalloc areas in use, without those that wait to be freed and without kernel stacks, which the kernel caches. */
static int count_areas(void)
{
	char line[512];
	int areas = 0;
	FILE *file = fopen("/proc/vmallocinfo", "r");

	CHECK(file);
	while (fgets(line, sizeof(line), file))
		areas += !strstr(line, "unpurged") && !strstr(line, "dup_task_struct") &&
			 !strstr(line, "alloc_thread_stack");
	fclose(file);
	return areas;
}

static bool has_kvm(void)
{
	return !access("/modules/kvm/0.ko", R_OK);
}

int insert_kvm(void)
{
	char path[64];
	int error = 0;

	for (int i = 0;; i++) {
		snprintf(path, sizeof(path), "/modules/kvm/%d.ko", i);
		if (access(path, R_OK))
			return error;
		error = insert(path);
		if (error == EEXIST)
			error = 0;
	}
}

void remove_kvm(void)
{
	if (remove_module("kvm_amd"))
		CHECK(!remove_module("kvm_intel"));
	CHECK(!remove_module("kvm"));
}

static void test_insert(void)
{
	CHECK(!insert("/modules/veneer.ko"));
	expect_unloaded();
}

static void test_kvm_first(void)
{
	char answer[8192];

	if (!has_kvm())
		return;
	CHECK(!insert_kvm());
	CHECK(ask("1 load", answer, sizeof(answer)) == EBUSY);
	CHECK(!strncmp(answer, "error -16 KVM is loaded", 23));
	expect_unloaded();
	remove_kvm();
}

static int count_virtualization_flags(void)
{
	return count_cpu_flag("svm") + count_cpu_flag("vmx");
}

static void expect_refused(const char *const *requests, size_t count)
{
	char answer[8192];

	for (size_t i = 0; i < count; i++) {
		int error = ask(requests[i], answer, sizeof(answer));

		if (error != EINVAL || strncmp(answer, "error -22 ", 10) || strlen(answer) < 16)
			fail("'%s' gave %d: %s", requests[i], error, answer);
	}
}

static void test_bad_requests(void)
{
	static const char *const requests[] = {
		"",
		"\n",
		"load",
		"2 load",
		"1 lod",
		"1",
		"1 load now",
		"1 exits",
		"1 exits x",
		"1 exits -1",
		"1 exits 0",
		"1 trace 0",
		"1 trace 0 0 0",
		"1 trace 99 1",
		"1 lo\tad",
		"1 load\n\n",
		"1 exits 4294967296",
		"1 query                                                                     ",
	};
	char answer[8192], line[65];

	expect_refused(requests, sizeof(requests) / sizeof(requests[0]));
	/* A request has less than 64 characters. */
	snprintf(line, sizeof(line), "%-64s", "1 query");
	expect_refused((const char *const[]){ line }, 1);
	snprintf(line, sizeof(line), "%-63s", "1 query");
	order(line);
	CHECK(ask("1 unload", answer, sizeof(answer)) == EINVAL);
	expect_unloaded();
}

/* The errno with which a user who is not root fails to ask. */
static int refused_to_user(void)
{
	char answer[8192];
	int status;

	if (!fork()) {
		CHECK(!setuid(1000));
		_exit(ask("1 query", answer, sizeof(answer)));
	}
	CHECK(wait(&status) > 0 && WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_only_root(void)
{
	/* By the mode of the device file; and by the capability, where somebody has changed that. */
	CHECK(refused_to_user() == EACCES);
	chmod("/dev/veneer", 0666);
	CHECK(refused_to_user() == EPERM);
	chmod("/dev/veneer", 0600);
}

/* What is answered in one file: the second request's answer is whole, and is read once. */
static void ask_twice(void)
{
	static const char *const requests[] = { "1 query", "1 exits 0" };
	int file = open("/dev/veneer", O_RDWR | O_CLOEXEC);
	char answer[8192];

	CHECK(file >= 0);
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		ssize_t size = strlen(requests[i]);

		CHECK(write(file, requests[i], size) == size);
		size = read(file, answer, sizeof(answer) - 1);
		CHECK(size > 3 && !memcmp(answer, "ok ", 3) && answer[size - 1] == '\n');
		CHECK(!read(file, answer, 1));
	}
	close(file);
}

static void test_load(void)
{
	/* Numbers that would be those of a CPU. */
	static const char *const requests[] = { "1 exits 0x0", "1 exits 0\n\n", "1 trace 0 0x1" };
	char answer[8192];

	CHECK(count_virtualization_flags() == online_cpus());
	order("1 load\n");
	expect_loaded(online_cpus());
	CHECK(!ask("1 query", answer, sizeof(answer)));
	printf("# %s", answer);
	CHECK(!count_virtualization_flags());
	CHECK(ask("1 load", answer, sizeof(answer)) == EBUSY);
	CHECK(ask("1 exits 99", answer, sizeof(answer)) == EINVAL);
	CHECK(ask("1 exits 4294967295", answer, sizeof(answer)) == EINVAL);
	expect_refused(requests, sizeof(requests) / sizeof(requests[0]));
	ask_twice();
	expect_loaded(online_cpus());
	order("1 unload");
	expect_unloaded();
	CHECK(count_virtualization_flags() == online_cpus());
}

/* KVM is refused while Veneer is loaded, and works afterwards. */
static void test_kvm_while_loaded(void)
{
	int file;

	mknod("/dev/kvm-by-number", S_IFCHR | 0600, makedev(10, KVM_MINOR));
	order("1 load");
	CHECK(open("/dev/kvm-by-number", O_RDWR) < 0 && errno == EBUSY);
	if (has_kvm()) {
		int error = insert_kvm();

		if (error != EBUSY && error != EOPNOTSUPP && error != EIO && error != ENODEV)
			fail("inserting KVM while Veneer is loaded gave %d", error);
	}
	expect_loaded(online_cpus());
	order("1 unload");
	if (!has_kvm())
		return;
	CHECK(!insert_kvm());
	file = open("/dev/kvm-by-number", O_RDWR);
	CHECK(file >= 0);
	CHECK(ioctl(file, KVM_CREATE_VM, 0) >= 0);
	/* Close both files: KVM and the virtual machine, which has the next number. */
	close(file + 1);
	close(file);
	remove_kvm();
}

/* A processor that Veneer refuses: KVM finds its place free behind each refusal, and so does the next load. */
static void test_refused(void)
{
	char answer[8192];
	int file;

	CHECK(!insert("/modules/veneer.ko"));
	mknod("/dev/kvm-by-number", S_IFCHR | 0600, makedev(10, KVM_MINOR));
	for (int i = 0; i < 2; i++) {
		int error = ask("1 load", answer, sizeof(answer));

		if (error != ENODEV || !strstr(answer, "nested paging"))
			fail("load %d gave %d: %s", i + 1, error, answer);
		expect_unloaded();
		CHECK(open("/dev/kvm-by-number", O_RDWR) < 0 && errno == ENODEV);
	}
	CHECK(!insert_kvm());
	file = open("/dev/kvm-by-number", O_RDWR);
	CHECK(file >= 0);
	close(file);
	remove_kvm();
}

static void cycle(int times)
{
	for (int i = 0; i < times; i++) {
		order("1 load");
		if (i % 20 == 0)
			expect_loaded(online_cpus());
		order("1 unload");
	}
}

/* KASAN keeps freed objects in quarantine until their slab cache is shrunk. */
static void empty_slabs(void)
{
	DIR *directory = opendir("/sys/kernel/slab");
	struct dirent *entry;
	char path[512];

	if (!directory)
		return;
	while ((entry = readdir(directory))) {
		snprintf(path, sizeof(path), "/sys/kernel/slab/%s/shrink", entry->d_name);
		if (!access(path, W_OK))
			write_file(path, "1");
	}
	closedir(directory);
}

/* Free pages: those in the zones, and those in the per-CPU lists. */
static long count_free_pages(void)
{
	char line[512], word[32];
	long pages = 0, number;
	FILE *file;

	sync();
	write_file("/proc/sys/vm/drop_caches", "3");
	empty_slabs();
	file = fopen("/proc/zoneinfo", "r");
	CHECK(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, " %31s %ld", word, &number) == 2 &&
		    (!strcmp(word, "nr_free_pages") || !strcmp(word, "count:")))
			pages += number;
	}
	fclose(file);
	return pages;
}

/* How often, by a word of the kernel's command line: NAME=N. */
static int count_asked(const char *name, int otherwise)
{
	const char *asked = getenv(name);

	return asked ? atoi(asked) : otherwise;
}

/* 200, or cycles=N. */
static void test_cycles(void)
{
	start_load();
	cycle(count_asked("cycles", 200));
	stop_load();
	expect_unloaded();
}

/*
 * Without the load, which changes the number of free pages. Fewer than half a page per cycle may be lost: the
 * kernel itself changes the number, but a leak occurs in every cycle. 50 of them, or quiet-cycles=N.
 */
static void test_memory(void)
{
	const int quiet_cycles = count_asked("quiet-cycles", 50);
	long free_before, free_after;
	int areas_before, areas_after;

	cycle(5);
	for (int attempt = 0; attempt < 10; attempt++) {
		free_before = count_free_pages();
		areas_before = count_areas();
		cycle(quiet_cycles);
		free_after = count_free_pages();
		areas_after = count_areas();
		printf("# %d cycles, %ld pages were free before, %ld are after; vmalloc areas: %d, %d\n",
		       quiet_cycles, free_before, free_after, areas_before, areas_after);
		if (free_before - free_after < quiet_cycles / 2 && areas_after <= areas_before)
			return;
	}
	fail("every time there is less memory");
}

void set_online(int cpu, bool online)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	write_file(path, online ? "1" : "0");
}

/* A CPU goes and comes 5 times, or hotplug=N. */
static void test_hotplug(void)
{
	const int rounds = count_asked("hotplug", 5);
	int cpus = online_cpus(), last = cpus - 1;
	char answer[8192], request[32];

	if (cpus < 2)
		return;
	start_load();
	order("1 load");
	for (int i = 0; i < rounds; i++) {
		set_online(last, false);
		expect_loaded(cpus - 1);
		snprintf(request, sizeof(request), "1 exits %d", last);
		CHECK(ask(request, answer, sizeof(answer)) == EINVAL);
		if (!strstr(answer, "offline"))
			fail("'%s' gave: %s", request, answer);
		set_online(last, true);
		expect_loaded(cpus);
	}
	/* A CPU goes offline while Veneer is loaded, and comes back when it is not; then the other way round. */
	set_online(1, false);
	order("1 unload");
	expect_unloaded();
	set_online(1, true);
	expect_unloaded();
	set_online(1, false);
	order("1 load");
	expect_loaded(cpus - 1);
	set_online(1, true);
	expect_loaded(cpus);
	CHECK(!count_virtualization_flags());
	order("1 unload");
	expect_unloaded();
	CHECK(count_virtualization_flags() == cpus);
	stop_load();
}

static void test_remove_while_loaded(void)
{
	int file = open("/dev/veneer", O_RDWR);

	order("1 load");
	CHECK(remove_module("veneer") == EWOULDBLOCK);
	expect_loaded(online_cpus());
	close(file);
	CHECK(!remove_module("veneer"));
	for (int cpu = 0; cpu < online_cpus(); cpu++)
		CHECK(!signature_on(cpu));
	pin(-1);
	CHECK(!insert("/modules/veneer.ko"));
	expect_unloaded();
}

/*
 * Suspend or hibernate ("mem", "disk") with pm_test: takes the other CPUs offline and back online, and the machine goes
 * on. The first CPU stays: that its counters begin anew shows that Veneer was unloaded meanwhile.
 */
static void sleep_loaded(const char *state)
{
	int cpus = online_cpus();
	long before;

	order("1 load");
	pin(0);
	for (int i = 0; i < MANY_EXITS; i++)
		CHECK(signature_on(0));
	before = count_exits(0, "cpuid");
	CHECK(before >= MANY_EXITS);
	pin(-1);
	write_file("/sys/power/state", state);
	expect_loaded(cpus);
	if (count_exits(0, "cpuid") >= before)
		fail("Veneer stayed loaded on CPU 0 during '%s'", state);
	order("1 unload");
	write_file("/sys/power/state", state);
	expect_unloaded();
}

static void test_suspend(void)
{
	/* Not s2idle, which does not take CPUs offline. */
	write_file("/sys/power/mem_sleep", "deep");
	write_file("/sys/power/pm_test", "processors");
	sleep_loaded("mem");
	sleep_loaded("disk");
}

/* The test reads the console log: Veneer must unload before the machine reboots. */
static void test_reboot_while_loaded(void)
{
	order("1 load");
	expect_loaded(online_cpus());
	expect_clean_log();
	klogctl(SYSLOG_CONSOLE_LEVEL, NULL, 7);
}

const struct test refused_tests[] = {
	{ "refused", test_refused },
	{ NULL, NULL },
};

const struct test tests[] = {
	{ "insert", test_insert },
	{ "kvm-first", test_kvm_first },
	{ "bad-requests", test_bad_requests },
	{ "only-root", test_only_root },
	{ "load", test_load },
	{ "kvm-while-loaded", test_kvm_while_loaded },
	{ "cycles", test_cycles },
	{ "memory", test_memory },
	{ "hotplug", test_hotplug },
	{ "remove-while-loaded", test_remove_while_loaded },
	{ "suspend", test_suspend },
	{ "reboot-while-loaded", test_reboot_while_loaded },
	{ NULL, NULL },
};
