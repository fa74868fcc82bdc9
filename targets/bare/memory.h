/* SPDX-License-Identifier: MIT */
#ifndef BARE_MEMORY_H
#define BARE_MEMORY_H

#include <stdint.h>

/* Boot CPU only, once: needs the multiboot information. */
void memory_init(const void *multiboot);
/* Map the slots of all CPUs, and unmap page 0. */
void memory_map_slots(void);

#endif
