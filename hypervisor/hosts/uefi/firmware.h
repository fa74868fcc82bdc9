/* SPDX-License-Identifier: MIT */
/* What host.c has of the firmware, for the program's entry. */
#ifndef VENEER_UEFI_FIRMWARE_H
#define VENEER_UEFI_FIRMWARE_H

#include "core/types.h"
#include "subject.h"
#include "uefi.h"

/* link.ld */
extern const char image_base[], image_end[];

/* Find the CPUs, and a page below 1 MiB for those that start anew. Before anything of core/host.h. */
efi_status host_begin(struct efi_boot_services *services);
/* Give back what it has taken, after a refusal. */
void host_end(void);
/* Once the firmware has gone: run functions on CPUs with what the operating system offers, during a call of it; NULL behind it. */
void host_use(const struct uefi_subject_os *services);
/* The number that Veneer gives the CPU with this APIC id; host_cpus() if there is none. */
unsigned int host_cpu_of(u32 apic_id);

#endif
