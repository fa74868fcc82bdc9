/* SPDX-License-Identifier: MIT */
#ifndef BARE_ACPI_H
#define BARE_ACPI_H

#include <stdint.h>

#include "os.h"

/* From the MADT, in its order; count is 0 without a MADT, io_apic 0 if it names none. */
struct acpi_cpus {
	unsigned int count;
	uint8_t id[OS_MAX_CPUS]; /* APIC ids of the CPUs that are enabled */
	uint64_t io_apic;
};
void acpi_find_cpus(struct acpi_cpus *cpus);

#endif
