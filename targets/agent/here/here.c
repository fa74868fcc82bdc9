/* SPDX-License-Identifier: MIT */
/* touchstone-agent-here: speaks the protocol on standard input and output, and runs probes as an ordinary program. */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "../agent.h"
#include "../platform.h"
#include "attempt.h"

#define VECTOR_UD 6
#define VECTOR_GP 13
#define VECTOR_PF 14
/* A user's write to a page that is not present (SDM 3A 4.7, APM2 8.4.2). */
#define PF_USER_WRITE 6
#define UNMAPPED (SLOT_USER_BASE + SLOT_STACK_END)

const char platform_os[] = "linux";

static struct attempt *attempts;
static int numbers[ATTEMPTS_MOST];
static unsigned int cpus;

__attribute__((noreturn)) static void give_up(const char *what)
{
	fprintf(stderr, "touchstone-agent-here: %s: %s\n", what, strerror(errno));
	exit(1);
}

unsigned int platform_cpus(void)
{
	return cpus;
}

uint64_t platform_slot(unsigned int cpl)
{
	return cpl == 3 ? SLOT_USER_BASE : SLOT_SUPERVISOR_BASE;
}

void platform_run(const struct cpu_mask *mask, bool together, const struct probe_request *request,
		  struct probe_outcome *outcomes)
{
	unsigned int count = 0;

	(void)together;
	for (unsigned int index = 0; index < cpus; index++) {
		if (!cpu_mask_has(mask, index))
			continue;
		attempts[count].number = numbers[index];
		attempts[count++].index = index;
	}
	attempt_run(attempts, count, request);
	for (unsigned int i = 0; i < count; i++)
		outcomes[i] = attempts[i].outcome;
}

uint64_t platform_nmis(unsigned int cpu)
{
	(void)cpu;
	return 0;
}

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
	snprintf(buffer, size, "this machine runs under whatever it runs under");
	return -ENODEV;
}

int platform_work(enum platform_work_verb verb, const char *kinds, unsigned int rounds,
		  unsigned int seconds, char *buffer, size_t size)
{
	(void)verb, (void)kinds, (void)rounds, (void)seconds;
	snprintf(buffer, size, "this agent loads no machine that others use");
	return -EOPNOTSUPP;
}

int platform_kvm(char *buffer, size_t size)
{
	snprintf(buffer, size, "this agent inserts no modules");
	return -EOPNOTSUPP;
}

int platform_payload(void (*starting)(void), char *buffer, size_t size)
{
	(void)starting;
	snprintf(buffer, size, "the machine is not this agent's to hand over");
	return -EOPNOTSUPP;
}

static void find_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof(set), &set))
		give_up("sched_getaffinity");
	for (int number = 0; number < CPU_SETSIZE && cpus < ATTEMPTS_MOST; number++)
		if (CPU_ISSET((size_t)number, &set))
			numbers[cpus++] = number;
}

/* Whether Linux tells how a probe ended: there are systems that only look like it. */
static bool ends_in(const uint8_t *code, uint32_t size, uint32_t vector, uint64_t error,
		    uint64_t cr2)
{
	static struct probe_request request;
	static struct probe_outcome outcome;

	memset(&request, 0, sizeof(request));
	request.cpus = cpu_mask_of(0);
	request.cpl = 3;
	request.code_bits = 64;
	request.code_size = size;
	memcpy(request.code, code, size);
	request.gpr_given = 1u << 7;
	request.gpr[7].number = UNMAPPED;
	platform_run(&request.cpus, false, &request, &outcome);
	if (!outcome.refused && outcome.vector == vector && outcome.error == error &&
	    outcome.cr2 == cr2 && outcome.rip == SLOT_USER_BASE && !outcome.done)
		return true;
	fprintf(stderr,
		"touchstone-agent-here: an exception of a program is not told as Linux does: vector %u expected;"
		" %s, vector %u, error code %#llx, CR2 %#llx, RIP %#llx\n",
		vector, outcome.refused ? outcome.why : "measured", outcome.vector,
		(unsigned long long)outcome.error, (unsigned long long)outcome.cr2,
		(unsigned long long)outcome.rip);
	return false;
}

static bool is_told_of_exceptions(void)
{
	static const uint8_t ud2[] = { 0x0f, 0x0b }, hlt[] = { 0xf4 };
	static const uint8_t write_to_rdi[] = { 0x88, 0x07 };

	return ends_in(ud2, sizeof(ud2), VECTOR_UD, 0, 0) &&
	       ends_in(hlt, sizeof(hlt), VECTOR_GP, 0, 0) &&
	       ends_in(write_to_rdi, sizeof(write_to_rdi), VECTOR_PF, PF_USER_WRITE, UNMAPPED);
}

int main(void)
{
	char bytes[4096];
	ssize_t got;

	/* Also while it waits for a probe that hangs. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	find_cpus();
	attempts = attempt_create();
	if (!attempts)
		give_up("shared memory");
	if (!is_told_of_exceptions())
		return 1;
	agent_ready();
	while ((got = read(STDIN_FILENO, bytes, sizeof(bytes))) > 0 || (got < 0 && errno == EINTR))
		for (ssize_t i = 0; i < got; i++)
			agent_take(bytes[i]);
	if (got < 0)
		give_up("standard input");
	return 0;
}
