/* SPDX-License-Identifier: MIT */
/*
 * What a subject that a UEFI firmware has loaded may offer to the operating system behind it: a configuration table
 * (UEFI 2.10, 4.6) of this name, in memory that stays its own. docs/judge-a-uefi-hypervisor.md tells what for.
 */
#ifndef UEFI_SUBJECT_H
#define UEFI_SUBJECT_H

#include "uefi.h"

#define UEFI_SUBJECT_GUID                                              \
	{                                                              \
		0x1f3c9a52, 0x7d14, 0x4a0b,                            \
		{                                                      \
			0x9e, 0x6b, 0x54, 0x6f, 0x75, 0x63, 0x68, 0x53 \
		}                                                      \
	}

/* Version 1 ends before `unload`. */
#define UEFI_SUBJECT_VERSION 2

/* What the operating system does for it during a call. CPUs are named by their local APIC ids. */
struct uefi_subject_os {
	/* Call a function on a CPU with interrupts off, and wait for it. */
	void(EFIAPI *on_cpu)(uint32_t apic_id, void(EFIAPI *function)(void *), void *argument);
};

/*
 * Every function is called on the boot CPU, at CPL 0 with interrupts off, and with memory identity mapped; NULL: it has
 * none. They write key=value pairs with a space between two, and return 0, or a negative errno as Linux numbers them and
 * the reason as text.
 */
struct uefi_subject {
	uint64_t version;
	int(EFIAPI *query)(const struct uefi_subject_os *os, char *buffer, uint64_t size);
	/* Counters of a CPU's exits by reason, and the last exits of a CPU (targets/agent/PROTOCOL.md, the verb `subject`). */
	int(EFIAPI *exits)(const struct uefi_subject_os *os, uint32_t apic_id, char *buffer,
			   uint64_t size);
	int(EFIAPI *trace)(const struct uefi_subject_os *os, uint32_t apic_id, unsigned int count,
			   char *buffer, uint64_t size);
	/* Take every CPU out of guest mode, for good: what is called behind it is `query`, and memory stays the subject's. */
	int(EFIAPI *unload)(const struct uefi_subject_os *os, char *buffer, uint64_t size);
};

#endif
