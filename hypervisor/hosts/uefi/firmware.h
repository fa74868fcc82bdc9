/* SPDX-License-Identifier: MIT */
/* What host.c has of the firmware, for the program's entry. */
#ifndef VENEER_UEFI_FIRMWARE_H
#define VENEER_UEFI_FIRMWARE_H

#include "uefi.h"

/* link.ld */
extern const char image_base[], image_end[];

/* Find the CPUs, and a page below 1 MiB for those that start anew. Before anything of core/host.h. */
efi_status host_begin(struct efi_boot_services *services);
/* Give back what it has taken, after a refusal. */
void host_end(void);

#endif
