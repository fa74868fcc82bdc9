/* SPDX-License-Identifier: MIT */
#include "firmware_subject.h"

#include "../uefi/subject.h"
#include "broadcast.h"
#include "cpu.h"

/* As Linux numbers them. */
#define EIO 5
#define ENODEV 19
#define EOPNOTSUPP 95

struct call {
	void(EFIAPI *function)(void *);
	void *argument;
};

static void call_here(void *argument)
{
	const struct call *call = argument;

	call->function(call->argument);
}

static void EFIAPI on_cpu(uint32_t apic_id, void(EFIAPI *function)(void *), void *argument)
{
	struct call call = { function, argument };

	for (unsigned int i = 0; i < os_cpus(); i++)
		if (cpu_blocks[i]->apic_id == apic_id)
			os_on_cpu(i, call_here, &call);
}

static const struct uefi_subject_os services = { .on_cpu = on_cpu };

/* Without a table of its own, what became of its start is all that is known of it. */
static int ask(const struct uefi_subject *subject, enum platform_subject_verb verb,
	       unsigned int cpu, unsigned int count, char *buffer, size_t size)
{
	uint32_t apic_id = cpu < os_cpus() ? cpu_blocks[cpu]->apic_id : 0;

	if (verb == SUBJECT_QUERY) {
		if (subject && subject->query)
			return subject->query(&services, buffer, size);
		os_snprintf(buffer, size, " loaded=1 by=firmware");
		return 0;
	}
	if (verb == SUBJECT_EXITS && subject && subject->exits)
		return subject->exits(&services, apic_id, buffer, size);
	if (verb == SUBJECT_TRACE && subject && subject->trace)
		return subject->trace(&services, apic_id, count, buffer, size);
	os_snprintf(buffer, size, "the program that the firmware has loaded does not offer this");
	return -EOPNOTSUPP;
}

int firmware_subject(const struct uefi_handover *handover, enum platform_subject_verb verb,
		     unsigned int cpu, unsigned int count, char *buffer, size_t size)
{
	const struct uefi_subject *subject = (const void *)handover->subject;

	if (handover->step != UEFI_STARTED) {
		os_snprintf(buffer, size, "%s returned EFI_STATUS %lx",
			    handover->step == UEFI_LOAD_IMAGE ? "LoadImage" : "the program",
			    handover->status);
		return verb == SUBJECT_LOAD ? -EIO : -ENODEV;
	}
	if (verb == SUBJECT_LOAD)
		return 0;
	if (subject && subject->version != UEFI_SUBJECT_VERSION) {
		os_snprintf(buffer, size, "its table has version %lx, and not %x", subject->version,
			    UEFI_SUBJECT_VERSION);
		return -EIO;
	}
	return ask(subject, verb, cpu, count, buffer, size);
}
