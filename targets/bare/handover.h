/* SPDX-License-Identifier: MIT */
/*
 * What the boot loader tells the OS: the Multiboot information (Multiboot Specification 0.6.96, 3.3), and, where a UEFI
 * firmware has booted it (uefi.c), a struct uefi_handover as the first module.
 */
#ifndef BARE_HANDOVER_H
#define BARE_HANDOVER_H

#include "os.h"

#define MULTIBOOT_HAS_MEMORY 0x1
#define MULTIBOOT_HAS_MODULES 0x8
#define MULTIBOOT_HAS_MAP 0x40
#define MULTIBOOT_USABLE 1
#define MULTIBOOT_RESERVED 2

struct multiboot {
	uint32_t flags, mem_lower, mem_upper, boot_device, command_line;
	uint32_t module_count, modules, symbols[4];
	uint32_t map_length, map_address;
};

struct multiboot_range {
	uint32_t size; /* of what follows */
	uint64_t base, length;
	uint32_t type;
} __attribute__((packed));

struct multiboot_module {
	uint32_t start, end, text, reserved;
};

#define UEFI_HANDOVER_MAGIC 0x49464555544f4f42ull /* "BOOTUEFI" */

/* How far the firmware has come with the subject's program. */
enum uefi_step {
	UEFI_NO_SUBJECT,
	UEFI_LOAD_IMAGE,
	UEFI_START_IMAGE,
	UEFI_STARTED,
};

struct uefi_handover {
	uint64_t magic;
	/* Of LoadImage or StartImage, whichever is `step`. */
	uint64_t status;
	uint32_t step;
	/* Local APIC ids of the CPUs that the firmware runs, by its MP services. */
	uint32_t cpu_count;
	uint8_t apic_id[OS_MAX_CPUS];
	/* What the program offers (uefi/subject.h), or 0. */
	uint64_t subject;
};

/* NULL unless a UEFI firmware has booted us. */
const struct uefi_handover *uefi_handover(void);

#endif
