// SPDX-License-Identifier: MIT
/*
 * Veneer as a UEFI runtime driver: the firmware loads it, it takes all CPUs, and stays in memory when an
 * operating system takes over. From there it is asked for counters and the trace, and to leave all CPUs, by whoever finds
 * its configuration table.
 */
#include "core/backend.h"
#include "core/lifecycle.h"
#include "core/query.h"
#include "core/text.h"

#include "firmware.h"

#define LINE 256

static void print(struct efi_system_table *system, const char *text)
{
	static uint16_t wide[LINE];
	size_t used = 0;

	for (; *text && used < LINE - 1; text++)
		wide[used++] = (uint8_t)*text;
	wide[used] = 0;
	system->console_out->output_string(system->console_out, wide);
}

/* The nearest that UEFI 2.10, appendix D, has. */
static efi_status status_of(int error)
{
	switch (error) {
	case -EPERM:
		return EFI_ACCESS_DENIED;
	case -EBUSY:
		return EFI_ALREADY_STARTED;
	case -ENOMEM:
		return EFI_OUT_OF_RESOURCES;
	case -ENODEV:
		return EFI_UNSUPPORTED;
	default:
		return EFI_DEVICE_ERROR;
	}
}

static int EFIAPI query(const struct uefi_subject_os *os, char *buffer, uint64_t size)
{
	struct text text = { .buffer = buffer, .size = size };
	int error;

	host_use(os);
	error = veneer_query(0, buffer, size);
	while (buffer[text.used])
		text.used++;
	/* Where control hypercalls are expected; checks on this machine call from elsewhere. */
	if (veneer_backend()) {
		text_add(&text, " control=");
		text_add_hex(&text, (u64)veneer_backend()->hypercall_address);
	}
	host_use(NULL);
	return error;
}

static int EFIAPI exits(const struct uefi_subject_os *os, uint32_t apic_id, char *buffer,
			uint64_t size)
{
	int error;

	host_use(os);
	error = veneer_exits(host_cpu_of(apic_id), buffer, size);
	host_use(NULL);
	return error;
}

static int EFIAPI trace(const struct uefi_subject_os *os, uint32_t apic_id, unsigned int count,
			char *buffer, uint64_t size)
{
	int error;

	host_use(os);
	error = veneer_trace(host_cpu_of(apic_id), count, buffer, size);
	host_use(NULL);
	return error;
}

static int EFIAPI unload(const struct uefi_subject_os *os, char *buffer, uint64_t size)
{
	struct refusal refusal;

	host_use(os);
	if (veneer_unload(&refusal))
		veneer_explain(&refusal, buffer, size);
	host_use(NULL);
	return refusal.error;
}

static struct uefi_subject services = {
	.version = UEFI_SUBJECT_VERSION,
	.query = query,
	.exits = exits,
	.trace = trace,
	.unload = unload,
};

efi_status efi_main(efi_handle image, struct efi_system_table *system)
{
	static const struct efi_guid name = UEFI_SUBJECT_GUID;
	static char why[LINE];
	struct refusal refusal;
	efi_status status = host_begin(system->boot_services);

	(void)image;
	if (status) {
		print(system,
		      "Veneer: the firmware has no MP services, or no memory below 1 MiB\r\n");
		return status;
	}
	/* With an error, it is loaded still if the firmware did not let it leave the CPUs again. */
	if (!veneer_load(&refusal) || veneer_backend()) {
		/* Without it, Veneer is there and cannot be asked. */
		system->boot_services->install_configuration_table(&name, &services);
		return EFI_SUCCESS;
	}
	host_end();
	veneer_explain(&refusal, why, sizeof(why));
	print(system, "Veneer: ");
	print(system, why);
	print(system, "\r\n");
	return status_of(refusal.error);
}
