/* SPDX-License-Identifier: MIT */
/*
 * A payload: a Multiboot program that gets the machine from this OS, which stays in memory with the subject. Whoever
 * starts the machine has put a struct payload into a page behind an image that is linked for payloads, that is, not at 1 MiB
 * (plugins/touchstone/drivers/emulated/payload_image.py writes it).
 */
#ifndef BARE_PAYLOAD_H
#define BARE_PAYLOAD_H

#include <stddef.h>
#include <stdint.h>

/* Bytes behind the image, where a boot loader may put what it tells the OS (QEMU puts the command line there). */
#define PAYLOAD_GAP 0x10000
#define PAYLOAD_MAGIC 0x31444f4c594150ull /* "PAYLOD1" */

struct payload_segment {
	uint32_t address, memory_size;
	uint32_t offset, file_size; /* from the beginning of struct payload */
};

struct payload {
	uint64_t magic;
	uint32_t size; /* of all of it, with the Multiboot information that the payload gets */
	uint32_t entry, information;
	uint32_t segment_count;
	struct payload_segment segment[];
};

/*
 * Kept from the payload, which has the memory up to here below 1 MiB: a page for the subject (os_start_page()), where
 * INT 12h tells 639 KiB (payload_image.py has the same numbers).
 */
#define PAYLOAD_LOW_MEMORY 0x9e000
#define START_PAGE PAYLOAD_LOW_MEMORY

/* The first address behind the image and its payload. */
uint64_t payload_end(void);

/* Find out what os_start_page() returns. Once, when all CPUs are known. */
void payload_find(void);

/*
 * Call starting(), then put the payload where it belongs and enter it on this CPU as a Multiboot loader would. Returns
 * a negative errno and the reason in why if there is none. Boot CPU only; the others stay where they are.
 */
int payload_start(void (*starting)(void), char *why, size_t size);

#endif
