// SPDX-License-Identifier: MIT
/* Two CPUs die at once: one writes its report, and the other waits until that one has stopped the machine. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/crash_report.h"
#include "core/host.h"
#include "core/vcpus.h"

static bool first_is_reporting, second_waits;
static const char *first_report;

u64 read_cr2(void)
{
	return 0;
}

bool host_image(unsigned int part, const char **start, const char **end)
{
	(void)part;
	(void)start;
	(void)end;
	return false;
}

struct vcpu *vcpu_of_stack(u64 address)
{
	(void)address;
	return NULL;
}

/* The second CPU only: the first has nothing to wait for. */
void fake_pause(void)
{
	__atomic_store_n(&second_waits, true, __ATOMIC_SEQ_CST);
}

static void *die_second(void *vcpu)
{
	while (!__atomic_load_n(&first_is_reporting, __ATOMIC_SEQ_CST))
		;
	die(vcpu, "second", 2, 2);
}

void host_die(const char *report)
{
	char copy[1024];

	if (__atomic_exchange_n(&first_is_reporting, true, __ATOMIC_SEQ_CST)) {
		fprintf(stderr, "two reports: %s, %s\n", first_report, report);
		exit(1);
	}
	first_report = report;
	snprintf(copy, sizeof(copy), "%s", report);
	while (!__atomic_load_n(&second_waits, __ATOMIC_SEQ_CST))
		;
	if (strcmp(copy, report) || strncmp(copy, "veneer: first rip=1", 19)) {
		fprintf(stderr, "not the report of the first: %s\n", report);
		exit(1);
	}
	puts("all passed");
	exit(0);
}

static void describe_nothing(struct vcpu *vcpu, char *line, size_t size)
{
	(void)vcpu;
	(void)size;
	*line = '\0';
}

int main(void)
{
	static const struct backend backend = { .describe_exit = describe_nothing };
	static struct vcpu vcpus_of_both[2] = { { .backend = &backend }, { .backend = &backend } };
	pthread_t thread;

	if (pthread_create(&thread, NULL, die_second, &vcpus_of_both[1]))
		return 1;
	die(&vcpus_of_both[0], "first", 1, 1);
}
