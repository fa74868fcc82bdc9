/* SPDX-License-Identifier: MIT */
/* touchstone-agent: speaks the protocol on standard input and output, and runs probes with /dev/touchstone-agent. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../agent.h"
#include "../platform.h"
#include "abi.h"
#include "kvm.h"
#include "work/work.h"

#define DEVICE_PATH "/dev/" TOUCHSTONE_DEVICE

const char platform_os[] = "linux";

static int device;
static struct touchstone_info info = { .abi = TOUCHSTONE_ABI };

__attribute__((noreturn)) static void give_up(const char *what)
{
	fprintf(stderr, "touchstone-agent: %s: %s\n", what, strerror(errno));
	exit(1);
}

unsigned int platform_cpus(void)
{
	return info.cpus;
}

uint64_t platform_slot(unsigned int cpl)
{
	return info.slot[cpl == 3];
}

void platform_run(const struct cpu_mask *mask, bool together, const struct probe_request *request,
		  struct probe_outcome *outcomes)
{
	const struct touchstone_run run = {
		.cpus = *mask,
		.request = (uintptr_t)request,
		.outcomes = (uintptr_t)outcomes,
		.request_size = sizeof(*request),
		.outcome_size = sizeof(*outcomes),
		.together = together,
	};
	int result;

	do
		result = ioctl(device, TOUCHSTONE_RUN, &run);
	while (result < 0 && errno == EINTR);
	for (unsigned int i = 0; result < 0 && i < cpu_mask_count(mask); i++) {
		outcomes[i].refused = true;
		snprintf(outcomes[i].why, sizeof(outcomes[i].why), DEVICE_PATH ": %s",
			 strerror(errno));
	}
}

/* The number of NMIs in /proc/interrupts of the CPU `number`. CPUs that are offline have no column. */
static uint64_t find_nmis(FILE *table, unsigned int number)
{
	char *row = NULL, *cell;
	size_t size = 0;
	int column = -1;
	uint64_t count = 0;

	if (getline(&row, &size, table) > 0) {
		int at = 0;

		for (cell = strtok(row, " \n"); cell; cell = strtok(NULL, " \n"), at++)
			if (!strncmp(cell, "CPU", 3) && strtoul(cell + 3, NULL, 10) == number)
				column = at;
	}
	while (column >= 0 && getline(&row, &size, table) > 0) {
		cell = strtok(row, " \n");
		if (!cell || strcmp(cell, "NMI:"))
			continue;
		for (int at = 0; cell && at <= column; at++)
			cell = strtok(NULL, " \n");
		count = cell ? strtoull(cell, NULL, 10) : 0;
		break;
	}
	free(row);
	return count;
}

uint64_t platform_nmis(unsigned int cpu)
{
	FILE *table = fopen("/proc/interrupts", "re");
	uint64_t count;

	if (!table)
		give_up("/proc/interrupts");
	count = find_nmis(table, info.number[cpu]);
	fclose(table);
	return count;
}

/* Linux would report an NMI that none of its drivers expects. */
int platform_nmi(unsigned int cpu)
{
	(void)cpu;
	return -EOPNOTSUPP;
}

const char *platform_subject_name(void)
{
	return "none";
}

int platform_subject(enum platform_subject_verb verb, const char *option, unsigned int cpu,
		     unsigned int count, char *buffer, size_t size)
{
	(void)verb, (void)option, (void)cpu, (void)count;
	snprintf(buffer, size,
		 "on Linux, the subject is not the agent's: whoever started it loads it");
	return -ENODEV;
}

int platform_work(enum platform_work_verb verb, const char *kinds, unsigned int rounds,
		  unsigned int seconds, char *buffer, size_t size)
{
	int error;

	switch (verb) {
	case WORK_START:
		error = work_start(kinds, buffer, size);
		if (!error)
			snprintf(buffer, size, " workers=%u", work_workers());
		return error;
	case WORK_WAIT:
		error = work_wait(rounds, seconds, buffer, size);
		break;
	case WORK_STOP:
		return work_stop(seconds, buffer, size);
	default:
		error = work_wait(0, 0, buffer, size);
	}
	if (!error)
		work_report(buffer, size);
	return error;
}

int platform_kvm(char *buffer, size_t size)
{
	return kvm_try(buffer, size);
}

int platform_payload(void (*starting)(void), char *buffer, size_t size)
{
	(void)starting;
	snprintf(buffer, size, "the machine is not this agent's to hand over");
	return -EOPNOTSUPP;
}

int main(void)
{
	char bytes[4096];
	ssize_t got;

	device = open(DEVICE_PATH, O_RDWR | O_CLOEXEC);
	if (device < 0)
		give_up(DEVICE_PATH);
	if (ioctl(device, TOUCHSTONE_INFO, &info)) {
		if (errno == EPROTO) {
			fprintf(stderr,
				"touchstone-agent: the module speaks ABI %u, this program %u\n",
				info.abi, TOUCHSTONE_ABI);
			return 1;
		}
		give_up(DEVICE_PATH);
	}
	agent_ready();
	while ((got = read(STDIN_FILENO, bytes, sizeof(bytes))) > 0 || (got < 0 && errno == EINTR))
		for (ssize_t i = 0; i < got; i++)
			agent_take(bytes[i]);
	if (got < 0)
		give_up("standard input");
	return 0;
}
