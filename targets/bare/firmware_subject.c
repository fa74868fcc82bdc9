/* SPDX-License-Identifier: MIT */
#include "firmware_subject.h"

#include "../uefi/subject.h"
#include "broadcast.h"
#include "cpu.h"
#include "guard.h"

/* As Linux numbers them. */
#define EIO 5
#define EBUSY 16
#define ENODEV 19
#define EOPNOTSUPP 95

struct call {
	void(EFIAPI *function)(void *);
	void *argument;
};

/* The CPU on which the subject's function has ended in an exception, if there was one; NULL: none. */
static const struct cpu *faulted;
static bool unloaded;

static void call_function(void *argument)
{
	const struct call *call = argument;

	call->function(call->argument);
}

/* A CPU that is no longer virtualised raises #UD for the subject's hypercall. */
static void call_here(void *argument)
{
	if (!guard_call(call_function, argument))
		faulted = cpu_of_stack();
}

static void EFIAPI on_cpu(uint32_t apic_id, void(EFIAPI *function)(void *), void *argument)
{
	struct call call = { function, argument };

	for (unsigned int i = 0; i < os_cpus(); i++)
		if (cpu_blocks[i]->apic_id == apic_id)
			os_on_cpu(i, call_here, &call);
}

static const struct uefi_subject_os services = { .on_cpu = on_cpu };

static int end_of_question(int error, char *buffer, size_t size)
{
	if (!faulted)
		return error;
	os_snprintf(buffer, size,
		    "asked on CPU %u, it raised exception %u, as on a CPU that is not virtualised",
		    faulted->index, faulted->guard_vector);
	return -EIO;
}

/* Without a table of its own, what became of its start is all that is known of it. */
static int ask(const struct uefi_subject *subject, enum platform_subject_verb verb,
	       unsigned int cpu, unsigned int count, char *buffer, size_t size)
{
	uint32_t apic_id = cpu < os_cpus() ? cpu_blocks[cpu]->apic_id : 0;

	faulted = NULL;
	if (verb == SUBJECT_QUERY) {
		if (subject && subject->query)
			return subject->query(&services, buffer, size);
		os_snprintf(buffer, size, " loaded=1 by=firmware");
		return 0;
	}
	if (verb == SUBJECT_EXITS && subject && subject->exits)
		return end_of_question(subject->exits(&services, apic_id, buffer, size), buffer,
				       size);
	if (verb == SUBJECT_TRACE && subject && subject->trace)
		return end_of_question(subject->trace(&services, apic_id, count, buffer, size),
				       buffer, size);
	if (verb == SUBJECT_UNLOAD && subject && subject->version > 1 && subject->unload) {
		int error;

		broadcast_with_registers(true);
		error = end_of_question(subject->unload(&services, buffer, size), buffer, size);
		broadcast_with_registers(false);
		unloaded = !error;
		return error;
	}
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
	if (verb == SUBJECT_LOAD && unloaded) {
		os_snprintf(buffer, size, "the firmware loads it, at the next reset");
		return -EBUSY;
	}
	if (verb == SUBJECT_LOAD)
		return 0;
	if (subject && (!subject->version || subject->version > UEFI_SUBJECT_VERSION)) {
		os_snprintf(buffer, size, "its table has version %lx, and not 1 to %x",
			    subject->version, UEFI_SUBJECT_VERSION);
		return -EIO;
	}
	return ask(subject, verb, cpu, count, buffer, size);
}
