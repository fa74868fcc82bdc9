/* SPDX-License-Identifier: MIT */
/* What the payloads print, on the first serial port: lines as kvm-unit-tests has them. */
#ifndef PAYLOADS_REPORT_H
#define PAYLOADS_REPORT_H

static void out8(unsigned short port, unsigned char value)
{
	asm volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static unsigned char in8(unsigned short port)
{
	unsigned char value;

	asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static void say(const char *text)
{
	while (*text) {
		while (!(in8(0x3fd) & 0x20))
			;
		out8(0x3f8, (unsigned char)*text++);
	}
}

static void report(const char *result, const char *what)
{
	say(result);
	say(": ");
	say(what);
	say("\n");
}

static void check(int holds, const char *what)
{
	report(holds ? "PASS" : "FAIL", what);
}

#endif
