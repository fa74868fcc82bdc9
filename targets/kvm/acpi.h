/* SPDX-License-Identifier: MIT */
/* ACPI tables that name the CPUs and the I/O APIC (ACPI 6.5, 5.2.5, 5.2.7 and 5.2.12). */
#ifndef KVM_ACPI_H
#define KVM_ACPI_H

#include <stdint.h>

/* Write the tables into the first MiB of a guest's memory. */
void acpi_write(uint8_t *memory, unsigned int cpus);

#endif
