/* SPDX-License-Identifier: MIT */
#ifndef BARE_VIRTIO_CONSOLE_H
#define BARE_VIRTIO_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>

/* Whether there is one that can be used. */
bool virtio_console_init(void);
/* Returns how many bytes the device has taken. */
size_t virtio_console_write(const char *text, size_t length);
bool virtio_console_read(char *byte);
/* Reset the device: it writes nothing into memory any more. */
void virtio_console_leave(void);
/* Whether bytes that arrive from now on raise an interrupt. Returns whether none has arrived so far. */
bool virtio_console_set_interrupt(bool wanted);

#endif
