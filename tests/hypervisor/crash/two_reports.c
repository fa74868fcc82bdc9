// SPDX-License-Identifier: MIT
/*
 * Two CPUs die at once: one writes its report, and the other waits until that one has stopped the machine. The report
 * has the last exits of its CPU, the oldest first, each with its code and its RIP.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/crash_report.h"
#include "core/host.h"
#include "core/vcpus.h"

#define EXITS 10

static const char whole_report[] =
	"veneer: first rip=1 rsp=1 cr2=0 cpu=7 exit=10a guest-rip=401000 exits="
	"103:3003,104:3004,105:3005,106:3006,107:3007,108:3008,109:3009,10a:300a";
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
	if (strcmp(copy, report) || strcmp(copy, whole_report)) {
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
	struct vcpu *first = &vcpus_of_both[0];
	pthread_t thread;

	first->cpu = 7;
	first->rip = 0x401000;
	first->exits = EXITS;
	for (unsigned int i = 1; i <= EXITS; i++)
		first->trace[i % TRACE_ENTRIES] =
			(struct trace_entry){ .code = 0x100 + i, .rip = 0x3000 + i };
	if (pthread_create(&thread, NULL, die_second, &vcpus_of_both[1]))
		return 1;
	die(first, "first", 1, 1);
}
