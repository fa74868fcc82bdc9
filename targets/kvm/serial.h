/* SPDX-License-Identifier: MIT */
/* COM1, a 16550. All functions with the console's lock. */
#ifndef KVM_SERIAL_H
#define KVM_SERIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Its interrupts go to this machine. */
void serial_connect(int machine);

bool serial_has(uint16_t port);

/* An access of one byte by a CPU. */
void serial_access(uint16_t port, uint8_t *value, bool write);

/* Give the guest bytes that have come for it. Returns how many fit. */
size_t serial_give(const uint8_t *bytes, size_t count);

#endif
