/* SPDX-License-Identifier: MIT */
/*
 * Layout of the ACPI tables that name CPUs and the I/O APIC (ACPI 6.5, 5.2.5 to 5.2.12): the bare OS reads them, and
 * the guest program of KVM writes them.
 */
#ifndef FORMATS_ACPI_H
#define FORMATS_ACPI_H

#include <stdint.h>

/* Where the root pointer is looked for: in the EBDA, and there (5.2.5.1). */
#define ACPI_RSDP_FROM 0xe0000
#define ACPI_RSDP_TO 0x100000
#define ACPI_RSDP_SIGNATURE "RSD PTR "

/* The root pointer of revision 0, whose checksum is about these bytes. */
struct acpi_rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt;
} __attribute__((packed));

/* The one of later revisions. */
struct acpi_rsdp_2 {
	struct acpi_rsdp first;
	uint32_t length;
	uint64_t xsdt;
} __attribute__((packed));

struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem[6], oem_table[8];
	uint32_t oem_revision, creator, creator_revision;
} __attribute__((packed));

/* The MADT; its entries follow. */
struct acpi_madt {
	struct acpi_header header;
	uint32_t local_apic, flags;
} __attribute__((packed));

enum {
	ACPI_MADT_LOCAL_APIC,
	ACPI_MADT_IO_APIC
};

#define ACPI_LOCAL_APIC_ENABLED 1

struct acpi_local_apic {
	uint8_t type, length, processor, id;
	uint32_t flags;
} __attribute__((packed));

struct acpi_io_apic {
	uint8_t type, length, id, reserved;
	uint32_t address, first_interrupt;
} __attribute__((packed));

#endif
