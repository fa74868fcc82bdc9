/* SPDX-License-Identifier: MIT */
#ifndef BARE_CONSOLE_H
#define BARE_CONSOLE_H

#include <stdbool.h>

/* Finds the virtio console, if the virtual machine has one; else the console is COM1. */
void console_init(void);
/* From now on, a byte that arrives wakes the boot CPU. */
void console_enable_interrupt(void);
bool console_read(char *byte);
/* Sleep until a byte has arrived or another interrupt wakes this CPU. */
void console_wait(void);
/* No interrupt from the console any more, and nothing that it writes into memory. */
void console_leave(void);
/* Send LF unless the last byte was one. */
void console_fresh_line(void);

#endif
