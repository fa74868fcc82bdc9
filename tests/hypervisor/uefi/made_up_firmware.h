/* SPDX-License-Identifier: MIT */
/* The firmware of firmware.c, for what is tested on it. */
#ifndef MADE_UP_FIRMWARE_H
#define MADE_UP_FIRMWARE_H

#include "hosts/uefi/firmware.h"

#define MOST 4

/* How it is, and what it has seen. */
struct firmware {
	uint64_t cpus, disabled;
	efi_status create_event, start_all;
	int events, started, pages;
	/* Configuration tables; and what was printed. */
	int tables;
	struct efi_guid name;
	const struct uefi_subject *subject;
	char printed[1024];
};

extern struct firmware firmware;
/* Of the CPU that runs this: even numbers. */
extern __thread u32 apic_id;
extern struct efi_boot_services boot;
extern struct efi_system_table system_table;

/* subject.c: Veneer as a driver, loaded and refused, and asked by an operating system. */
void loaded(void);
void asked_by_an_os(void);
void refused(void);

#endif
