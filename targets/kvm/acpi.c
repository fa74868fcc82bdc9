// SPDX-License-Identifier: MIT
#include "acpi.h"

#include <stddef.h>
#include <string.h>

#include "../formats/acpi.h"

#define RSDP ACPI_RSDP_FROM
#define RSDT 0xe0040
#define MADT 0xe0080
#define LOCAL_APIC 0xfee00000
#define IO_APIC 0xfec00000

static uint8_t checksum(const uint8_t *bytes, size_t size)
{
	uint8_t sum = 0;

	while (size--)
		sum -= *bytes++;
	return sum;
}

static void write_header(uint8_t *at, const char *signature, uint8_t revision, size_t length)
{
	struct acpi_header head = { .length = (uint32_t)length, .revision = revision };

	memcpy(head.signature, signature, sizeof(head.signature));
	memcpy(head.oem, "TOUCHS", sizeof(head.oem));
	memcpy(at, &head, sizeof(head));
	head.checksum = checksum(at, length);
	memcpy(at, &head, sizeof(head));
}

static void write_madt(uint8_t *table, unsigned int cpus)
{
	struct acpi_madt madt = { .local_apic = LOCAL_APIC };
	struct acpi_io_apic io = {
		.type = ACPI_MADT_IO_APIC,
		.length = sizeof(io),
		.address = IO_APIC,
	};
	uint8_t *at = table + sizeof(madt);

	memcpy(table, &madt, sizeof(madt));
	for (unsigned int i = 0; i < cpus; i++) {
		struct acpi_local_apic one = {
			.type = ACPI_MADT_LOCAL_APIC,
			.length = sizeof(one),
			.processor = (uint8_t)i,
			.id = (uint8_t)i,
			.flags = ACPI_LOCAL_APIC_ENABLED,
		};

		memcpy(at, &one, sizeof(one));
		at += sizeof(one);
	}
	memcpy(at, &io, sizeof(io));
	at += sizeof(io);
	write_header(table, "APIC", 3, (size_t)(at - table));
}

void acpi_write(uint8_t *memory, unsigned int cpus)
{
	struct acpi_rsdp rsdp = { .rsdt = RSDT };
	uint32_t madt = MADT;

	write_madt(memory + MADT, cpus);
	memcpy(memory + RSDT + sizeof(struct acpi_header), &madt, sizeof(madt));
	write_header(memory + RSDT, "RSDT", 1, sizeof(struct acpi_header) + sizeof(madt));
	memcpy(rsdp.signature, ACPI_RSDP_SIGNATURE, sizeof(rsdp.signature));
	rsdp.checksum = checksum((const uint8_t *)&rsdp, sizeof(rsdp));
	memcpy(memory + RSDP, &rsdp, sizeof(rsdp));
}
