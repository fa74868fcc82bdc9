// SPDX-License-Identifier: MIT
/*
 * Crash in host mode, under Linux and UEFI: no operating system is mapped, so nothing of it can be called, and locks
 * that this CPU's guest holds are never released. The report goes to the first legacy serial port, where a
 * serial console would be too, and stays in memory (crash_report.c) for a debugger. Then a triple
 * fault resets the machine: with one CPU lost, the OS would hang bit by bit and become unreachable,
 * whereas a machine that restarts can be reached and shows that it has restarted.
 */
#include "core/host.h"
#include "core/x86.h"

#define COM1 0x3f8
#define LINE_STATUS (COM1 + 5)
#define TRANSMITTER_EMPTY BIT_ULL_AT(5)
/* Value read from a port that does not exist. */
#define NOTHING 0xff
/* A character takes 87 us at 115200 baud, and a port access about 1 us. */
#define MOST_WAITS 100000

static u8 read_port(u16 port)
{
	u8 value;

	asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static void write_port(u16 port, u8 value)
{
	asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static void write_character(char character)
{
	for (unsigned int wait = 0; wait < MOST_WAITS; wait++) {
		if (read_port(LINE_STATUS) & TRANSMITTER_EMPTY)
			break;
	}
	write_port(COM1, character);
}

void host_die(const char *report)
{
	const struct table_register no_idt = { 0 };

	if (read_port(LINE_STATUS) != NOTHING) {
		write_character('\r');
		write_character('\n');
		while (*report)
			write_character(*report++);
		write_character('\r');
		write_character('\n');
	}
	write_idtr(&no_idt);
	for (;;)
		asm volatile("int3");
}
