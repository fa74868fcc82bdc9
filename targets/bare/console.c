/* SPDX-License-Identifier: MIT */
/* The console, which is a virtio console or COM1, and formatted output to it. */
#include "console.h"

#include <stdarg.h>

#include "cpu.h"
#include "print.h"
#include "virtio_console.h"
#include "x86.h"

#define COM1 0x3f8
#define DATA (COM1 + 0)
#define INTERRUPT_ENABLE (COM1 + 1)
#define FIFO_CONTROL (COM1 + 2)
#define LINE_CONTROL (COM1 + 3)
#define MODEM_CONTROL (COM1 + 4)
#define LINE_STATUS (COM1 + 5)

#define FIFO_SIZE 16
#define STATUS_DATA 0x01
#define STATUS_TRANSMITTER_EMPTY 0x20

/* How often to try to take the lock. Then print without it: its owner may have died while it was printing. */
#define LOCK_PATIENCE 1000000

static bool virtio;
static char last_byte = '\n';
static bool locked;

void console_init(void)
{
	x86_out8(INTERRUPT_ENABLE, 0);
	x86_out8(LINE_CONTROL, 0x80);
	x86_out8(DATA, 1);
	x86_out8(INTERRUPT_ENABLE, 0);
	x86_out8(LINE_CONTROL, 0x03);
	/* FIFOs enabled and cleared; an interrupt after 14 bytes, or after a pause with fewer. */
	x86_out8(FIFO_CONTROL, 0xc7);
	x86_out8(MODEM_CONTROL, 0x0b);
	virtio = virtio_console_init();
}

void console_enable_interrupt(void)
{
	if (!virtio)
		x86_out8(INTERRUPT_ENABLE, 0x01);
}

bool console_read(char *byte)
{
	if (virtio)
		return virtio_console_read(byte);
	if (!(x86_in8(LINE_STATUS) & STATUS_DATA))
		return false;
	*byte = (char)x86_in8(DATA);
	return true;
}

void console_wait(void)
{
	if (!virtio || virtio_console_set_interrupt(true))
		cpu_sleep(cpu_blocks[0]);
	if (virtio)
		virtio_console_set_interrupt(false);
}

void console_leave(void)
{
	x86_out8(INTERRUPT_ENABLE, 0);
	if (virtio)
		virtio_console_leave();
	while (!(x86_in8(LINE_STATUS) & STATUS_TRANSMITTER_EMPTY))
		x86_pause();
}

static void write_com1(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		/* An empty transmitter takes FIFO_SIZE bytes, so that the status is read once for all of them. */
		while (i % FIFO_SIZE == 0 && !(x86_in8(LINE_STATUS) & STATUS_TRANSMITTER_EMPTY))
			x86_pause();
		x86_out8(DATA, (uint8_t)text[i]);
	}
}

void os_write(const char *text, size_t length)
{
	if (!length)
		return;

	size_t done = 0;

	for (int i = 0; i < LOCK_PATIENCE && __atomic_test_and_set(&locked, __ATOMIC_ACQUIRE); i++)
		x86_pause();
	if (virtio) {
		done = virtio_console_write(text, length);
		virtio = done == length; /* do not wait for a broken device again */
	}
	write_com1(text + done, length - done);
	last_byte = text[length - 1];
	__atomic_clear(&locked, __ATOMIC_RELEASE);
}

void console_fresh_line(void)
{
	if (last_byte != '\n')
		os_write("\n", 1);
}

void os_print(const char *format, ...)
{
	char line[256];
	va_list arguments;

	va_start(arguments, format);

	int length = print_format(line, sizeof(line) - 1, format, arguments);

	va_end(arguments);
	if (length > (int)sizeof(line) - 2)
		length = sizeof(line) - 2;
	if (!length || line[length - 1] != '\n')
		line[length++] = '\n';
	os_write(line, (size_t)length);
}
