/* SPDX-License-Identifier: MIT */
/*
 * The agent on standard input and output, on a platform that runs no probes, to test how it parses and answers
 * requests. A probe "ends" at once, with RAX holding the register values that the agent
 * resolved for it (see platform_run).
 */
#include <stdio.h>
#include <string.h>

#include "agent.h"
#include "platform.h"

#define CPUS 5

const char platform_os[] = "test";

unsigned int platform_cpus(void)
{
	return CPUS;
}

uint64_t platform_slot(unsigned int cpl)
{
	return cpl == 3 ? 0x200000 : 0x100000;
}

void platform_send(const char *line, size_t length)
{
	fwrite(line, 1, length, stdout);
	fflush(stdout);
}

/*
 * A request whose first code byte is 0x0f ends in #UD, one with 0xf4 is refused; any other is
 * done. R8 to R15 come back changed if their start value was given as a number. An MSR comes back as what
 * was asked for it: see below.
 */
void platform_run(const struct cpu_mask *mask, bool together, const struct probe_request *request,
		  struct probe_outcome *outcomes)
{
	(void)together;
	for (unsigned int count = cpu_mask_count(mask); count; count--) {
		struct probe_outcome *outcome = outcomes++;

		memset(outcome, 0, sizeof(*outcome));
		outcome->rip = request->at + request->code_size;
		outcome->rflags = request->rflags;
		outcome->done = request->code[0] != 0x0f;
		outcome->vector = 6;
		for (int i = 8; i < 16; i++)
			if (request->gpr_given & 1u << i && request->gpr[i].base == PROBE_NUMBER)
				outcome->gpr[i] = request->gpr[i].number;
		for (uint32_t i = 0; i < request->memory_count; i++)
			if (request->memory[i].offset < sizeof(outcome->read))
				memcpy(outcome->read + request->memory[i].offset,
				       request->data + request->memory[i].data, 1);
		for (uint32_t i = 0; i < request->msr_count; i++) {
			const struct probe_msr *msr = &request->msr[i];

			outcome->msr[i] = (uint64_t)msr->start << 28 | msr->value.base << 24 |
					  msr->value.number << 8 | msr->clear;
			outcome->msr_read |= 1u << i;
		}
		if (request->code[0] == 0xf4) {
			outcome->refused = true;
			strcpy(outcome->why, "cr4=1 faults");
		}
	}
}

uint64_t platform_nmis(unsigned int cpu)
{
	return cpu * 10;
}

int platform_nmi(unsigned int cpu)
{
	return cpu == 4 ? -110 : 0;
}

int platform_work(enum platform_work_verb verb, const char *kinds, unsigned int rounds,
		  unsigned int seconds, char *buffer, size_t size)
{
	if (kinds && !strcmp(kinds, "none")) {
		snprintf(buffer, size, "none: not\there");
		return -95;
	}
	snprintf(buffer, size, " verb=%d kinds=%s rounds=%u seconds=%u", verb, kinds ? kinds : "",
		 rounds, seconds);
	return 0;
}

int platform_kvm(char *buffer, size_t size)
{
	snprintf(buffer, size, " insert=none");
	return 0;
}

int platform_payload(void (*starting)(void), char *buffer, size_t size)
{
	(void)starting;
	snprintf(buffer, size, "no payload here");
	return -19;
}

const char *platform_subject_name(void)
{
	return "test-subject";
}

int platform_subject(enum platform_subject_verb verb, const char *option, unsigned int cpu,
		     unsigned int count, char *buffer, size_t size)
{
	switch (verb) {
	case SUBJECT_LOAD:
		snprintf(buffer, size, "%s\n", option ? option : "no option");
		return option ? -16 : 0;
	case SUBJECT_UNLOAD:
		return -9999;
	case SUBJECT_TRACE:
		snprintf(buffer, size, " exits=%u:%u", cpu, count);
		return 0;
	case SUBJECT_EXITS:
		/* More than fits. */
		memset(buffer, 'x', size);
		return 0;
	default:
		snprintf(buffer, size, "loaded=0");
		return 0;
	}
}

int main(void)
{
	int c;

	agent_ready();
	while ((c = getchar()) != EOF)
		agent_take((char)c);
	return 0;
}
