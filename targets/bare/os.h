/* SPDX-License-Identifier: MIT */
/*
 * What the tiny OS of the bare targets offers to what is linked with it: the
 * agent, and a subject's host layer. Memory is identity mapped: a virtual
 * address is the physical one.
 */
#ifndef BARE_OS_H
#define BARE_OS_H

#include <stddef.h>
#include <stdint.h>

#define OS_MAX_CPUS 64

/* CPUs that came up; they are numbered 0 (the boot CPU) to os_cpus() - 1. */
unsigned int os_cpus(void);
unsigned int os_this_cpu(void);

/*
 * Run fn(arg) on one CPU, or on all CPUs of a mask at the same time, with
 * interrupts off, and wait until it has returned on each. Called from the
 * boot CPU only. fn may rendezvous with its copies on the other CPUs.
 */
void os_on_cpu(unsigned int cpu, void (*fn)(void *), void *arg);
void os_on_cpus(uint64_t mask, void (*fn)(void *), void *arg);

/* Zeroed, physically contiguous pages of 4 KiB, or NULL. Boot CPU only. */
void *os_alloc_pages(size_t count);
void os_free_pages(void *pages, size_t count);
size_t os_count_free_pages(void);

/* First address of the image, and the first one behind it (bss included). */
extern char os_image_start[], os_image_end[];

/* Write to the console, byte for byte, whatever state the machine is in. */
void os_write(const char *text, size_t length);

/* Formats %s %c %d %u %x %lu %lx %p, with width and zero padding; to the console as one line. */
__attribute__((format(printf, 1, 2))) void os_print(const char *format, ...);
__attribute__((format(printf, 3, 4))) int os_snprintf(char *buffer, size_t size, const char *format,
						      ...);

/*
 * The end, from whatever state and with whatever page tables: the report as a
 * line of its own, an event "!1 panic cpu=K", and no CPU goes on.
 */
__attribute__((noreturn)) void os_panic(const char *report);

/*
 * A pair in section .os_fixups: an exception at `instruction` continues at `target` (registers
 * as they were). Holds while this OS's IDT is in place; an exception elsewhere is a panic.
 */
struct os_fixup {
	uint64_t instruction;
	uint64_t target;
};

/* NMIs taken by a CPU since boot. */
uint64_t os_nmi_count(unsigned int cpu);
/* Send one NMI to a CPU through its local APIC; does not wait for it. */
void os_send_nmi(unsigned int cpu);

#endif
