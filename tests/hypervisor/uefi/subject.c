// SPDX-License-Identifier: MIT
/* The driver's entry and the table that an operating system finds, with a core that says what the test wants. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/backend.h"
#include "core/host.h"
#include "core/lifecycle.h"
#include "core/query.h"
#include "made_up_firmware.h"
#include "../check.h"

#define NOT_CALLED ~0u

static const struct backend backend = { .hypercall_address = (const char *)0xabc };
/* How the core is, and what it was asked. */
static struct {
	int load_error, unload_error, answer;
	bool loaded;
	unsigned int exits_of, trace_of, count;
	/* Of each CPU, how often it ran a function during the last question. */
	unsigned int ran[MOST];
} core = { .exits_of = NOT_CALLED, .trace_of = NOT_CALLED };
/* The operating system's. */
static unsigned int calls_of_os;

static void note(void *argument)
{
	(void)argument;
	core.ran[host_this_cpu()]++;
}

static void expect_ran(unsigned int first, unsigned int last)
{
	for (unsigned int cpu = 0; cpu < MOST; cpu++)
		CHECK(core.ran[cpu] == (cpu >= first && cpu <= last));
	memset(core.ran, 0, sizeof(core.ran));
}

int veneer_load(struct refusal *refusal)
{
	core.loaded = !core.load_error;
	return refuse_with(refusal, core.load_error, "the reason", 0);
}

int veneer_unload(struct refusal *refusal)
{
	CHECK(!host_on_each_cpu(note, NULL));
	core.loaded = core.loaded && core.unload_error;
	return refuse_with(refusal, core.unload_error, "the reason", 0);
}

const struct backend *veneer_backend(void)
{
	return core.loaded ? &backend : NULL;
}

void veneer_explain(const struct refusal *refusal, char *buffer, size_t size)
{
	snprintf(buffer, size, "because of %s", refusal->reason);
}

int veneer_query(u64 free_pages, char *buffer, size_t size)
{
	CHECK(!free_pages && !host_on_each_cpu(note, NULL));
	snprintf(buffer, size, " loaded=%d", core.loaded);
	return core.answer;
}

int veneer_exits(unsigned int cpu, char *buffer, size_t size)
{
	core.exits_of = cpu;
	if (cpu < host_cpus())
		host_on_cpu(cpu, note, NULL);
	snprintf(buffer, size, " cpuid=%u", cpu);
	return core.answer;
}

int veneer_trace(unsigned int cpu, unsigned int count, char *buffer, size_t size)
{
	core.trace_of = cpu;
	core.count = count;
	if (cpu < host_cpus())
		host_on_cpu(cpu, note, NULL);
	snprintf(buffer, size, " exits=%u", cpu);
	return core.answer;
}

/* As an operating system that runs it here does: for the CPU that it is told of, which is not the one of this thread. */
static void EFIAPI run_for(uint32_t id, void(EFIAPI *function)(void *), void *argument)
{
	CHECK(!(id % 2) && id / 2 < MOST);
	calls_of_os++;
	function(argument);
}

static const struct uefi_subject_os os = { .on_cpu = run_for };

/* No system is there any more: functions run by the firmware, on the CPU that this is. */
static void expect_firmware(void)
{
	unsigned int before = calls_of_os;

	CHECK(host_this_cpu() == 0);
	CHECK(!host_on_each_cpu(note, NULL));
	expect_ran(0, MOST - 1);
	CHECK(calls_of_os == before);
}

static void load(void)
{
	static const struct efi_guid name = UEFI_SUBJECT_GUID;

	firmware.cpus = MOST;
	CHECK(efi_main(NULL, &system_table) == EFI_SUCCESS);
	CHECK(firmware.tables == 1 && !memcmp(&firmware.name, &name, sizeof(name)));
	CHECK(firmware.subject->version == UEFI_SUBJECT_VERSION);
	CHECK(!*firmware.printed && firmware.pages == 1);
}

void loaded(void)
{
	const char *start, *end;
	u8 *memory;

	load();
	expect_firmware();
	memory = host_alloc(3);
	for (size_t i = 0; i < 3 * PAGE_BYTES; i++)
		CHECK(!memory[i]);
	host_free(memory, 3);
	/* Host mode has the program, and the page in which CPUs start. */
	CHECK(host_image(0, &start, &end) && start == image_base && end == image_end);
	CHECK(host_image(1, &start, &end) && start == host_start_page() &&
	      end == start + PAGE_BYTES);
	CHECK(!host_image(2, &start, &end));
}

void asked_by_an_os(void)
{
	char answer[256];
	void *memory;

	load();
	memory = host_alloc(1);
	CHECK(!firmware.subject->query(&os, answer, sizeof(answer)));
	CHECK(!strcmp(answer, " loaded=1 control=abc"));
	expect_ran(0, MOST - 1);
	for (unsigned int cpu = 0; cpu < MOST; cpu++) {
		CHECK(!firmware.subject->exits(&os, 2 * cpu, answer, sizeof(answer)));
		CHECK(core.exits_of == cpu);
		expect_ran(cpu, cpu);
		CHECK(!firmware.subject->trace(&os, 2 * cpu, 7, answer, sizeof(answer)));
		CHECK(core.trace_of == cpu && core.count == 7);
		expect_ran(cpu, cpu);
		expect_firmware();
	}
	/* An id that no CPU has is no CPU's number. */
	for (unsigned int id = 1; id < 2 * MOST + 4; id += id < 2 * MOST ? 2 : 1) {
		core.answer = -EINVAL;
		CHECK(firmware.subject->exits(&os, id, answer, sizeof(answer)) == -EINVAL);
		CHECK(core.exits_of == host_cpus());
		CHECK(firmware.subject->trace(&os, id, 1, answer, sizeof(answer)) == -EINVAL);
		CHECK(core.trace_of == host_cpus());
	}
	core.answer = 0;
	core.unload_error = -EIO;
	CHECK(firmware.subject->unload(&os, answer, sizeof(answer)) == -EIO);
	CHECK(!strcmp(answer, "because of the reason"));
	expect_ran(0, MOST - 1);
	expect_firmware();
	core.unload_error = 0;
	CHECK(!firmware.subject->unload(&os, answer, sizeof(answer)));
	expect_ran(0, MOST - 1);
	expect_firmware();
	CHECK(!firmware.subject->query(&os, answer, sizeof(answer)));
	CHECK(!strcmp(answer, " loaded=0"));
	/* To an operating system nothing is given back. */
	host_use(&os);
	host_free(memory, 1);
	CHECK(firmware.pages == 2);
	host_use(NULL);
	host_free(memory, 1);
	CHECK(firmware.pages == 1);
}

void refused(void)
{
	static const struct {
		int error;
		efi_status status;
	} errors[] = {
		{ -EPERM, EFI_ACCESS_DENIED },	   { -EBUSY, EFI_ALREADY_STARTED },
		{ -ENOMEM, EFI_OUT_OF_RESOURCES }, { -ENODEV, EFI_UNSUPPORTED },
		{ -EIO, EFI_DEVICE_ERROR },
	};

	int status;

	firmware.cpus = 1;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		core.load_error = errors[i].error;
		/* In a process of its own, as for any other start of the firmware. */
		if (!fork()) {
			CHECK(efi_main(NULL, &system_table) == errors[i].status);
			CHECK(!firmware.tables && !firmware.pages);
			CHECK(!strcmp(firmware.printed, "Veneer: because of the reason\r\n"));
			exit(0);
		}
		CHECK(wait(&status) > 0 && !status);
	}
}
