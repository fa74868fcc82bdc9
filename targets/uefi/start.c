/* SPDX-License-Identifier: MIT */
/* Where the firmware enters a program of ours. */
#include "uefi.h"

#define R_X86_64_RELATIVE 8

/* ELF-64 Object File Format, 1.5: relocation with an addend. */
struct relocation {
	uint64_t offset, info;
	int64_t addend;
};

/* link.ld */
extern char image_base[];
extern const struct relocation relocations_start[], relocations_end[];

efi_status EFIAPI efi_start(efi_handle image, struct efi_system_table *system);

/*
 * The linker leaves the addresses in data for whoever loads the image, in ELF's form, which the firmware does not know.
 * The Makefiles refuse any other type of relocation. Nothing in here needs one.
 */
efi_status EFIAPI efi_start(efi_handle image, struct efi_system_table *system)
{
	for (const struct relocation *one = relocations_start; one < relocations_end; one++)
		*(uint64_t *)(image_base + one->offset) = (uint64_t)image_base + one->addend;
	return efi_main(image, system);
}
