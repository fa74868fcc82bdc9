/* SPDX-License-Identifier: MIT */
/*
 * What the tiny OS of the bare targets offers to the agent and to a subject. Memory is identity mapped: a
 * virtual address is the physical address.
 */
#ifndef BARE_OS_H
#define BARE_OS_H

#include <stddef.h>
#include <stdint.h>

/* As many as xAPIC has identifiers for (SDM 3A 11.4.6): 255 means all. */
#define OS_MAX_CPUS 255

/* The number of CPUs. They are numbered from 0, the boot CPU. */
unsigned int os_cpus(void);
unsigned int os_this_cpu(void);

/*
 * Run fn(arg) on one CPU, on all of them, or on those of the first 64 that are in a mask, with
 * interrupts off, and wait until it has returned on each. Boot CPU only. The CPUs
 * run fn at the same time, so that they can wait for each other in it.
 */
void os_on_cpu(unsigned int cpu, void (*fn)(void *), void *arg);
void os_on_every_cpu(void (*fn)(void *), void *arg);
void os_on_cpus(uint64_t mask, void (*fn)(void *), void *arg);

/*
 * In fn: wait until `expected` CPUs have called this with the same counter, which is 0 at first. A CPU that waits for long
 * sleeps, and takes interrupts then.
 */
void os_meet(unsigned int *arrived, unsigned int expected);

/*
 * Zeroed, physically contiguous pages of 4 KiB, or NULL. On the boot CPU, and in what os_on_cpu() runs, for which the
 * boot CPU waits.
 */
void *os_alloc_pages(size_t count);
void os_free_pages(void *pages, size_t count);
size_t os_count_free_pages(void);

/*
 * A page below 1 MiB for CPUs that are started anew while the subject is loaded: only a payload (payload.h) starts any.
 * NULL: none will be. Nothing of the image is read, so that it may be called with any page tables that map the image.
 */
void *os_start_page(void);

/* First address of the image, and first address behind its bss. */
extern char os_image_start[], os_image_end[];

/* Write bytes to the console as they are. May be called on any CPU and with interrupts off. */
void os_write(const char *text, size_t length);

/* printf and snprintf with %s %c %d %u %x %lu %lx %p, widths and zero padding. os_print() writes one line. */
__attribute__((format(printf, 1, 2))) void os_print(const char *format, ...);
__attribute__((format(printf, 3, 4))) int os_snprintf(char *buffer, size_t size, const char *format,
						      ...);

/*
 * Print a report as a line of its own and the event "!1 panic cpu=K", then halt all CPUs. May be called
 * with any stack and any page tables that map the image.
 */
__attribute__((noreturn)) void os_panic(const char *report);

/* NMIs taken by a CPU since boot. */
uint64_t os_nmi_count(unsigned int cpu);
/* Send one NMI to a CPU through its local APIC; does not wait for it. */
void os_send_nmi(unsigned int cpu);

#endif
