// SPDX-License-Identifier: MIT
/*
 * Veneer as a UEFI runtime driver: the firmware loads it, it takes all CPUs, and stays in memory when an
 * operating system takes over. It cannot be unloaded from there.
 */
#include "core/lifecycle.h"
#include "core/query.h"

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

efi_status efi_main(efi_handle image, struct efi_system_table *system)
{
	static char why[LINE];
	struct refusal refusal;
	efi_status status = host_begin(system->boot_services);

	(void)image;
	if (status) {
		print(system,
		      "Veneer: the firmware has no MP services, or no memory below 1 MiB\r\n");
		return status;
	}
	if (!veneer_load(&refusal))
		return EFI_SUCCESS;
	host_end();
	veneer_explain(&refusal, why, sizeof(why));
	print(system, "Veneer: ");
	print(system, why);
	print(system, "\r\n");
	return status_of(refusal.error);
}
