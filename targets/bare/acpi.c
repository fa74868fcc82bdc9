/* SPDX-License-Identifier: MIT */
/* The CPUs and the I/O APIC, from ACPI's MADT (ACPI 6.5, 5.2.5 and 5.2.12). */
#include "acpi.h"

#include <stdbool.h>
#include <stddef.h>

#include "../formats/acpi.h"

#define EBDA_SEGMENT 0x40e

static bool same(const char *a, const char *b, size_t size)
{
	return !__builtin_memcmp(a, b, size);
}

static const struct acpi_rsdp_2 *search(uint64_t from, uint64_t to)
{
	for (uint64_t at = from & ~15ull; at < to; at += 16) {
		const uint8_t *bytes = (const uint8_t *)at;
		uint8_t sum = 0;

		if (!same((const char *)bytes, ACPI_RSDP_SIGNATURE, 8))
			continue;
		for (size_t i = 0; i < sizeof(struct acpi_rsdp); i++)
			sum += bytes[i];
		if (!sum)
			return (const void *)at;
	}
	return NULL;
}

static const struct acpi_header *find_table(const char *signature)
{
	const volatile uint16_t *segment = (const void *)EBDA_SEGMENT;

	/* Hide the constant from gcc, which warns of accesses through small constant addresses. */
	asm("" : "+r"(segment));

	uint64_t ebda = (uint64_t)*segment << 4;
	const struct acpi_rsdp_2 *rsdp = ebda ? search(ebda, ebda + 1024) : NULL;

	if (!rsdp)
		rsdp = search(ACPI_RSDP_FROM, ACPI_RSDP_TO);
	if (!rsdp)
		return NULL;

	/* Only 4 GiB are mapped: ignore an XSDT above. */
	bool wide = rsdp->first.revision >= 2 && rsdp->xsdt && !(rsdp->xsdt >> 32);
	const struct acpi_header *root = (const void *)(wide ? rsdp->xsdt : rsdp->first.rsdt);
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
	const struct acpi_header *madt = find_table("APIC");

	cpus->count = 0;
	cpus->io_apic = 0;
	for (uint32_t at = sizeof(struct acpi_madt); madt && at + 2 <= madt->length;) {
		const void *entry = (const char *)madt + at;
		const struct acpi_local_apic *local = entry;
		const struct acpi_io_apic *io = entry;

		if (local->length < 2)
			break;
		if (local->type == ACPI_MADT_LOCAL_APIC && local->flags & ACPI_LOCAL_APIC_ENABLED &&
		    cpus->count < OS_MAX_CPUS)
			cpus->id[cpus->count++] = local->id;
		if (io->type == ACPI_MADT_IO_APIC && !cpus->io_apic)
			cpus->io_apic = io->address;
		at += local->length;
	}
}
