/* SPDX-License-Identifier: MIT */
/* The guest's console: this process's standard input and output. Devices of the guest carry it. */
#ifndef KVM_CONSOLE_H
#define KVM_CONSOLE_H

#include <stddef.h>
#include <stdint.h>

/* Devices are used by one thread at a time: a CPU's, or the one that reads the input. */
void console_lock(void);
void console_unlock(void);

/* Pass on what the guest has written: at once, or with the end of a line. With the lock. */
void console_write(const void *bytes, size_t count);
void console_write_by_lines(uint8_t byte);

/* Pass on what is left of the last line. Without the lock. */
void console_flush(void);

/* Give the guest what comes from standard input, until its end, which ends the process. */
__attribute__((noreturn)) void console_serve(void);

#endif
