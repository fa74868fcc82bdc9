// SPDX-License-Identifier: MIT
/* A firmware with MP services of threads, whose calls can be made to fail; and what Veneer's host makes of it. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/host.h"
#include "core/local_apic.h"
#include "made_up_firmware.h"
#include "../check.h"

const char image_base[1], image_end[1];

struct firmware firmware;
__thread u32 apic_id;

u32 this_apic_id(void)
{
	return apic_id;
}

static void EFIAPI end_thread(pthread_t *threads)
{
	for (uint64_t i = 1; i < firmware.cpus; i++)
		if (i != firmware.disabled)
			pthread_join(threads[i], NULL);
}

struct event {
	pthread_t threads[MOST];
	bool started, over;
};

static efi_status EFIAPI create_event(uint32_t type, uint64_t tpl, void *notify, void *context,
				      void **event)
{
	(void)type, (void)tpl, (void)notify, (void)context;
	if (firmware.create_event)
		return firmware.create_event;
	firmware.events++;
	*event = calloc(1, sizeof(struct event));
	return EFI_SUCCESS;
}

static efi_status EFIAPI close_event(void *event)
{
	firmware.events--;
	free(event);
	return EFI_SUCCESS;
}

/* Signalled once all have returned. */
static efi_status EFIAPI check_event(void *pointer)
{
	struct event *event = pointer;

	CHECK(event->started);
	if (!event->over)
		end_thread(event->threads);
	event->over = true;
	return EFI_SUCCESS;
}

static efi_status EFIAPI allocate_pages(enum efi_allocate_type type, enum efi_memory_type memory,
					uint64_t pages, uint64_t *address)
{
	/* Of all types that an operating system leaves alone, the one that it does not map either. */
	CHECK(type == EFI_ALLOCATE_MAX_ADDRESS && memory == EFI_RESERVED_MEMORY);
	*address = (uint64_t)aligned_alloc(PAGE_BYTES, pages * PAGE_BYTES);
	/* What somebody has had in it. */
	memset((void *)*address, 0xa5, pages * PAGE_BYTES);
	firmware.pages += (int)pages;
	return EFI_SUCCESS;
}

static efi_status EFIAPI free_pages(uint64_t address, uint64_t pages)
{
	firmware.pages -= (int)pages;
	free((void *)address);
	return EFI_SUCCESS;
}

static efi_status EFIAPI get_number(struct efi_mp_services *this, uint64_t *all, uint64_t *enabled)
{
	(void)this;
	*all = *enabled = firmware.cpus;
	return EFI_SUCCESS;
}

/* APIC ids are even. */
static efi_status EFIAPI get_information(struct efi_mp_services *this, uint64_t number,
					 struct efi_processor_information *information)
{
	(void)this;
	*information = (struct efi_processor_information){
		.id = number * 2,
		.status = number && number == firmware.disabled ? 0 : EFI_PROCESSOR_IS_ENABLED,
	};
	return EFI_SUCCESS;
}

struct work {
	uint64_t cpu;
	void(EFIAPI *procedure)(void *);
	void *argument;
};

static void *run_thread(void *pointer)
{
	struct work *work = pointer;

	apic_id = (u32)work->cpu * 2;
	work->procedure(work->argument);
	free(work);
	return NULL;
}

static efi_status EFIAPI start_all(struct efi_mp_services *this,
				   void(EFIAPI *procedure)(void *argument), uint8_t one_by_one,
				   void *event, uint64_t timeout, void *argument, uint64_t **failed)
{
	struct event here = { .started = false }, *waited = event ? event : &here;

	(void)this, (void)one_by_one, (void)timeout, (void)failed;
	if (firmware.start_all)
		return firmware.start_all;
	CHECK(firmware.cpus > 1);
	firmware.started++;
	waited->started = true;
	for (uint64_t i = 1; i < firmware.cpus; i++) {
		struct work *work = malloc(sizeof(*work));

		if (i == firmware.disabled) {
			free(work);
			continue;
		}
		*work = (struct work){ i, procedure, argument };
		CHECK(!pthread_create(&waited->threads[i], NULL, run_thread, work));
	}
	if (!event)
		end_thread(here.threads);
	return EFI_SUCCESS;
}

static struct efi_mp_services mp = { .get_number = get_number,
				     .get_information = get_information,
				     .start_all = start_all };

static efi_status EFIAPI locate_protocol(const struct efi_guid *protocol, void *registration,
					 void **interface)
{
	static const struct efi_guid guid = EFI_MP_SERVICES_GUID;

	(void)registration;
	if (memcmp(protocol, &guid, sizeof(guid)) != 0)
		return EFI_NOT_FOUND;
	*interface = &mp;
	return EFI_SUCCESS;
}

static efi_status EFIAPI install_configuration_table(const struct efi_guid *name, void *table)
{
	firmware.tables++;
	firmware.name = *name;
	firmware.subject = table;
	return EFI_SUCCESS;
}

static efi_status EFIAPI output_string(struct efi_text_output *this, const uint16_t *text)
{
	size_t used = strlen(firmware.printed);

	(void)this;
	while (*text && used < sizeof(firmware.printed) - 1)
		firmware.printed[used++] = (char)*text++;
	firmware.printed[used] = '\0';
	return EFI_SUCCESS;
}

static struct efi_text_output console = { .output_string = output_string };

struct efi_boot_services boot = { .allocate_pages = allocate_pages,
				  .free_pages = free_pages,
				  .create_event = create_event,
				  .close_event = close_event,
				  .check_event = check_event,
				  .locate_protocol = locate_protocol,
				  .install_configuration_table = install_configuration_table };

struct efi_system_table system_table = { .console_out = &console, .boot_services = &boot };

/* As the rendezvous of core/lifecycle.c: no CPU goes on before all are there. */
struct meeting {
	unsigned int arrived, expected;
	bool seen[MOST];
};

static void meet(void *argument)
{
	struct meeting *meeting = argument;

	__atomic_store_n(&meeting->seen[host_this_cpu()], true, __ATOMIC_RELAXED);
	host_meet(&meeting->arrived, meeting->expected);
}

static void all_meet(void)
{
	struct meeting meeting = { .expected = host_cpus() };

	CHECK(!host_on_each_cpu(meet, &meeting));
	CHECK(meeting.arrived == host_cpus() && !firmware.events);
	for (unsigned int cpu = 0; cpu < host_cpus(); cpu++)
		CHECK(meeting.seen[cpu]);
}

/* Who came first would wait for ever: so nobody may be sent. */
static void nobody_meets(void)
{
	struct meeting meeting = { .expected = host_cpus() };

	CHECK(host_on_each_cpu(meet, &meeting) == -EIO);
	CHECK(!meeting.arrived && !firmware.events);
}

static void four_cpus(void)
{
	firmware.cpus = 4;
	CHECK(!host_begin(&boot) && host_cpus() == 4);
	all_meet();
	firmware.create_event = EFI_OUT_OF_RESOURCES;
	nobody_meets();
	firmware.create_event = EFI_SUCCESS;
	firmware.start_all = EFI_DEVICE_ERROR;
	nobody_meets();
	firmware.start_all = EFI_SUCCESS;
	all_meet();
	host_end();
	CHECK(!firmware.pages);
}

/* The last one is switched off, so that nobody is to wait for it. */
static void three_of_four(void)
{
	firmware.cpus = 4;
	firmware.disabled = 3;
	CHECK(!host_begin(&boot) && host_cpus() == 3);
	all_meet();
	host_end();
}

static void one_cpu(void)
{
	firmware.cpus = 1;
	firmware.create_event = firmware.start_all = EFI_DEVICE_ERROR;
	CHECK(!host_begin(&boot) && host_cpus() == 1);
	all_meet();
	CHECK(!firmware.started);
	host_end();
}

static void others_do_not_start(void)
{
	firmware.cpus = 2;
	firmware.start_all = EFI_UNSUPPORTED;
	CHECK(host_begin(&boot) == EFI_UNSUPPORTED);
	CHECK(!firmware.pages);
}

static const struct {
	const char *name;
	void (*test)(void);
} tests[] = {
	{ "four-cpus", four_cpus }, { "three-of-four", three_of_four },
	{ "one-cpu", one_cpu },	    { "others-do-not-start", others_do_not_start },
	{ "loaded", loaded },	    { "asked-by-an-os", asked_by_an_os },
	{ "refused", refused },
};

/* All, or the one that is named; each in a process of its own, since a firmware starts once. */
int main(int count, char **names)
{
	bool found = false;
	int status;

	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (count > 1 && strcmp(tests[i].name, names[1]) != 0)
			continue;
		found = true;
		if (!fork()) {
			tests[i].test();
			exit(0);
		}
		CHECK(wait(&status) > 0);
		if (status)
			return 1;
	}
	CHECK(found);
	puts("all passed");
	return 0;
}
