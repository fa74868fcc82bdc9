/* SPDX-License-Identifier: MIT */
/* The CPUs and the I/O APIC, from ACPI's MADT (ACPI 6.5, 5.2.5 and 5.2.12). */
#include "acpi.h"

#include <stdbool.h>
#include <stddef.h>

#define EBDA_SEGMENT 0x40e
#define MADT_LOCAL_APIC 0
#define MADT_IO_APIC 1
#define LOCAL_APIC_ENABLED 1

struct rsdp {
	char signature[8];
	uint8_t checksum;
	char oem[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
} __attribute__((packed));

struct table {
	char signature[4];
	uint32_t length;
	uint8_t rest[28];
} __attribute__((packed));

struct madt_entry {
	uint8_t type, length;
	union {
		struct {
			uint8_t processor, apic_id;
			uint32_t flags;
		} __attribute__((packed)) local;
		struct {
			uint8_t id, reserved;
			uint32_t address;
		} __attribute__((packed)) io;
	};
} __attribute__((packed));

#define MADT_ENTRIES (sizeof(struct table) + 8)

static bool same(const char *a, const char *b, size_t size)
{
	return !__builtin_memcmp(a, b, size);
}

static const struct rsdp *search(uint64_t from, uint64_t to)
{
	for (uint64_t at = from & ~15ull; at < to; at += 16) {
		const uint8_t *bytes = (const uint8_t *)at;
		uint8_t sum = 0;

		if (!same((const char *)bytes, "RSD PTR ", 8))
			continue;
		for (int i = 0; i < 20; i++)
			sum += bytes[i];
		if (!sum)
			return (const void *)at;
	}
	return NULL;
}

static const struct table *find_table(const char *signature)
{
	const volatile uint16_t *segment = (const void *)EBDA_SEGMENT;

	/* Hide the constant from gcc, which warns of accesses through small constant addresses. */
	asm("" : "+r"(segment));

	uint64_t ebda = (uint64_t)*segment << 4;
	const struct rsdp *rsdp = ebda ? search(ebda, ebda + 1024) : NULL;

	if (!rsdp)
		rsdp = search(0xe0000, 0x100000);
	if (!rsdp)
		return NULL;

	/* Only 4 GiB are mapped: ignore an XSDT above. */
	bool wide = rsdp->revision >= 2 && rsdp->xsdt && !(rsdp->xsdt >> 32);
	const struct table *root = (const void *)(wide ? rsdp->xsdt : rsdp->rsdt);
	unsigned int size = wide ? 8 : 4;

	for (uint32_t at = sizeof(*root); at + size <= root->length; at += size) {
		uint64_t address = 0;

		__builtin_memcpy(&address, (const char *)root + at, size);
		if (!(address >> 32) && same((const char *)address, signature, 4))
			return (const void *)address;
	}
	return NULL;
}

void acpi_find_cpus(struct acpi_cpus *cpus)
{
	const struct table *madt = find_table("APIC");

	cpus->count = 0;
	cpus->io_apic = 0;
	for (uint32_t at = MADT_ENTRIES; madt && at + 2 <= madt->length;) {
		const struct madt_entry *entry = (const void *)((const char *)madt + at);

		if (entry->length < 2)
			break;
		if (entry->type == MADT_LOCAL_APIC && entry->local.flags & LOCAL_APIC_ENABLED &&
		    cpus->count < OS_MAX_CPUS)
			cpus->id[cpus->count++] = entry->local.apic_id;
		if (entry->type == MADT_IO_APIC && !cpus->io_apic)
			cpus->io_apic = entry->io.address;
		at += entry->length;
	}
}
