/* SPDX-License-Identifier: MIT */
/* COM1, a 16550 whose line is this process's standard input and output. */
#ifndef KVM_SERIAL_H
#define KVM_SERIAL_H

#include <stdbool.h>
#include <stdint.h>

bool serial_has(uint16_t port);

/* An access of one byte by a CPU. */
void serial_access(uint16_t port, uint8_t *value, bool write);

/* Take bytes from standard input until its end, which ends the process. Interrupts go to this machine. */
__attribute__((noreturn)) void serial_serve(int machine);

/* Pass on what the guest has written. */
void serial_flush(void);

#endif
