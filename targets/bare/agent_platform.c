/* SPDX-License-Identifier: MIT */
/* agent/platform.h on this OS. */
#include "../agent/platform.h"
#include "broadcast.h"
#include "console.h"
#include "cpu.h"
#include "firmware_subject.h"
#include "handover.h"
#include "payload.h"
#include "subject.h"
#include "x86.h"

/* As Linux numbers them. */
#define ENODEV 19
#define EOPNOTSUPP 95
#define ETIMEDOUT 110

/* How often to look for an NMI before it counts as lost: some seconds on an emulator. */
#define NMI_POLLS 3000000

const char platform_os[] = "bare";

struct run {
	const struct cpu_mask *mask;
	bool together;
	unsigned int arrived, expected;
	const struct probe_request *request;
	struct probe_outcome *outcomes;
};

unsigned int platform_cpus(void)
{
	return os_cpus();
}

uint64_t platform_slot(unsigned int cpl)
{
	return cpl == 3 ? SLOT_USER_BASE : SLOT_SUPERVISOR_BASE;
}

void platform_send(const char *line, size_t length)
{
	console_fresh_line();
	os_write(line, length);
}

static void meet(void *arg)
{
	struct run *run = arg;

	broadcast_meet(&run->arrived, run->expected, run->mask);
}

static void run_here(void *arg)
{
	struct run *run = arg;
	struct cpu *cpu = cpu_of_stack();
	unsigned int at = cpu_mask_below(run->mask, cpu->index);

	probe_run(&cpu->probe, run->request, &run->outcomes[at], run->together ? meet : NULL, run);
}

void platform_run(const struct cpu_mask *mask, bool together, const struct probe_request *request,
		  struct probe_outcome *outcomes)
{
	struct run run = {
		.mask = mask,
		.together = together,
		.expected = cpu_mask_count(mask),
		.request = request,
		.outcomes = outcomes,
	};

	broadcast_run(mask, run_here, &run);
}

uint64_t platform_nmis(unsigned int cpu)
{
	return os_nmi_count(cpu);
}

int platform_nmi(unsigned int cpu)
{
	uint64_t before = os_nmi_count(cpu);

	os_send_nmi(cpu);
	for (int i = 0; i < NMI_POLLS; i++) {
		if (os_nmi_count(cpu) != before)
			return 0;
		x86_pause();
	}
	return -ETIMEDOUT;
}

int platform_work(enum platform_work_verb verb, const char *kinds, unsigned int rounds,
		  unsigned int seconds, char *buffer, size_t size)
{
	(void)verb, (void)kinds, (void)rounds, (void)seconds;
	os_snprintf(buffer, size, "this OS has no processes that could work");
	return -EOPNOTSUPP;
}

int platform_kvm(char *buffer, size_t size)
{
	os_snprintf(buffer, size, "this OS has no hypervisor of its own");
	return -EOPNOTSUPP;
}

int platform_payload(void (*starting)(void), char *buffer, size_t size)
{
	return payload_start(starting, buffer, size);
}

const char *platform_subject_name(void)
{
	return subject ? subject->name : "none";
}

int platform_subject(enum platform_subject_verb verb, const char *option, unsigned int cpu,
		     unsigned int count, char *buffer, size_t size)
{
	int error;

	if (!subject) {
		const struct uefi_handover *handover = uefi_handover();

		if (handover && handover->step != UEFI_NO_SUBJECT)
			return firmware_subject(handover, verb, cpu, count, buffer, size);
		os_snprintf(buffer, size, "there is no subject in this image");
		return -ENODEV;
	}
	switch (verb) {
	case SUBJECT_LOAD:
		broadcast_with_registers(true);
		error = subject->load(option, buffer, size);
		broadcast_with_registers(false);
		return error;
	case SUBJECT_UNLOAD:
		if (!subject->unload)
			break;
		broadcast_with_registers(true);
		error = subject->unload(buffer, size);
		broadcast_with_registers(false);
		return error;
	case SUBJECT_QUERY:
		return subject->query(buffer, size);
	case SUBJECT_EXITS:
		if (subject->exits)
			return subject->exits(cpu, buffer, size);
		break;
	case SUBJECT_TRACE:
		if (subject->trace)
			return subject->trace(cpu, count, buffer, size);
		break;
	}
	os_snprintf(buffer, size, "the subject does not offer this");
	return -EOPNOTSUPP;
}
