// SPDX-License-Identifier: MIT
#include "acpi.h"

#include <stddef.h>
#include <string.h>

#define RSDP 0xe0000
#define RSDT 0xe0040
#define MADT 0xe0080
#define LOCAL_APIC 0xfee00000
#define IO_APIC 0xfec00000

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt;
} __attribute__((packed));

struct header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem[6], oem_table[8];
	uint32_t oem_revision, creator, creator_revision;
} __attribute__((packed));

struct local_apic {
	uint8_t type, length, processor, id;
	uint32_t flags;
} __attribute__((packed));

struct io_apic {
	uint8_t type, length, id, reserved;
	uint32_t address, first_interrupt;
} __attribute__((packed));

static uint8_t checksum(const uint8_t *bytes, size_t size)
{
	uint8_t sum = 0;

	while (size--)
		sum -= *bytes++;
	return sum;
}

static void write_header(uint8_t *at, const char *signature, uint8_t revision, size_t length)
{
	struct header head = { .length = (uint32_t)length, .revision = revision };

	memcpy(head.signature, signature, sizeof(head.signature));
	memcpy(head.oem, "TOUCHS", sizeof(head.oem));
	memcpy(at, &head, sizeof(head));
	head.checksum = checksum(at, length);
	memcpy(at, &head, sizeof(head));
}

static void write_madt(uint8_t *table, unsigned int cpus)
{
	uint8_t *at = table + sizeof(struct header);
	uint32_t local[] = { LOCAL_APIC, 0 };
	struct io_apic io = { .type = 1, .length = sizeof(io), .address = IO_APIC };

	memcpy(at, local, sizeof(local));
	at += sizeof(local);
	for (unsigned int i = 0; i < cpus; i++) {
		struct local_apic one = {
			.length = sizeof(one),
			.processor = (uint8_t)i,
			.id = (uint8_t)i,
			.flags = 1,
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
	struct rsdp rsdp = { .rsdt = RSDT };
	uint32_t madt = MADT;

	write_madt(memory + MADT, cpus);
	memcpy(memory + RSDT + sizeof(struct header), &madt, sizeof(madt));
	write_header(memory + RSDT, "RSDT", 1, sizeof(struct header) + sizeof(madt));
	memcpy(rsdp.signature, "RSD PTR ", sizeof(rsdp.signature));
	rsdp.checksum = checksum((const uint8_t *)&rsdp, sizeof(rsdp));
	memcpy(memory + RSDP, &rsdp, sizeof(rsdp));
}
