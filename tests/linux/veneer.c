// SPDX-License-Identifier: MIT
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine.h"

int ask(const char *request, char *answer, size_t size)
{
	int file = open("/dev/veneer", O_RDWR | O_CLOEXEC);
	ssize_t done;
	int error;

	if (file < 0)
		return errno;
	done = write(file, request, strlen(request));
	error = done < 0 ? errno : 0;
	CHECK(error || done == (ssize_t)strlen(request));
	done = read(file, answer, size - 1);
	CHECK(done >= 0);
	answer[done] = '\0';
	CHECK(read(file, answer + done, 1) == 0);
	close(file);
	return error;
}

void order(const char *request)
{
	char answer[8192];
	int error = ask(request, answer, sizeof(answer));

	if (error)
		fail("'%s': %s: %s", request, strerror(error), answer);
	if (strncmp(answer, "ok", 2))
		fail("'%s' was answered '%s'", request, answer);
}

static long field(const char *answer, const char *key)
{
	char word[64];
	const char *found;

	snprintf(word, sizeof(word), " %s=", key);
	found = strstr(answer, word);
	if (!found)
		fail("no %s in '%s'", key, answer);
	return strtol(found + strlen(word), NULL, 10);
}

long query(const char *key)
{
	char answer[8192];

	CHECK(!ask("1 query", answer, sizeof(answer)));
	return field(answer, key);
}

bool signature_on(int cpu)
{
	unsigned int a, b, c, d;

	pin(cpu);
	__cpuid(0x40000000, a, b, c, d);
	return b == 0x656e6556 && c == 0x65567265 && d == 0x7265656e;
}

long count_exits(int cpu, const char *reason)
{
	char request[32], answer[8192];

	snprintf(request, sizeof(request), "1 exits %d", cpu);
	CHECK(!ask(request, answer, sizeof(answer)));
	return field(answer, reason);
}

static bool is_online(int cpu)
{
	char path[64], text = '1';
	int file;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	file = open(path, O_RDONLY);
	/* The first CPU has no such file. */
	if (file >= 0) {
		CHECK(read(file, &text, 1) == 1);
		close(file);
	}
	return text == '1';
}

static void expect_counted(int cpu)
{
	long before = count_exits(cpu, "cpuid");
	char request[32];

	CHECK(signature_on(cpu));
	CHECK(count_exits(cpu, "cpuid") > before);
	snprintf(request, sizeof(request), "1 trace %d 5", cpu);
	order(request);
}

void expect_loaded(int cpus)
{
	CHECK(query("loaded") == 1);
	CHECK(query("cpus") == cpus);
	for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_CONF); cpu++) {
		if (is_online(cpu))
			expect_counted(cpu);
	}
	pin(-1);
}

void expect_unloaded(void)
{
	CHECK(query("loaded") == 0);
	CHECK(query("cpus") == 0);
	CHECK(query("held-pages") == 0);
	for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_CONF); cpu++)
		CHECK(!is_online(cpu) || !signature_on(cpu));
	pin(-1);
}
