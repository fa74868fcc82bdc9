/*
 * @NAME@ as a UEFI runtime driver. The firmware calls efi_main() on its boot CPU, before any operating system. What must
 * hold when it has returned EFI_SUCCESS, until the machine is reset: memory that survives ExitBootServices, and every CPU
 * virtualised, also after an operating system has started it with INIT and a start-up IPI.
 */
#include <stddef.h>

#include "uefi.h"

/* On every CPU. Virtualise this CPU here. */
static void EFIAPI enter(void *unused)
{
	(void)unused;
}

efi_status efi_main(efi_handle image, struct efi_system_table *system)
{
	static const struct efi_guid name = EFI_MP_SERVICES_GUID;
	struct efi_boot_services *boot = system->boot_services;
	struct efi_mp_services *cpus;
	uint64_t all, enabled;
	efi_status status = boot->locate_protocol(&name, NULL, (void **)&cpus);

	(void)image;
	if (status == EFI_SUCCESS)
		status = cpus->get_number(cpus, &all, &enabled);
	/* On all CPUs but this one, which start_all() refuses if there is no other. */
	if (status == EFI_SUCCESS && enabled > 1)
		status = cpus->start_all(cpus, enter, 0, NULL, 0, NULL, NULL);
	if (status == EFI_SUCCESS)
		enter(NULL);
	return status;
}
