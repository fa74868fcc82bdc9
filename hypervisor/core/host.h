/* SPDX-License-Identifier: MIT */
/*
 * What a host (the bare OS, or Linux) provides to the core. Veneer uses nothing else of the system
 * that it runs under.
 */
#ifndef VENEER_HOST_H
#define VENEER_HOST_H

#include "types.h"

/* Zeroed, physically contiguous pages at a page boundary, or NULL. Before the broadcast only. */
void *host_alloc(size_t pages);
void host_free(void *memory, size_t pages);

/* Physical address of something that host_alloc() gave, or of Veneer's own image. */
u64 host_physical(const void *address);
/* Virtual address of a physical address in memory of host_alloc(). */
void *host_virtual(u64 physical);

/*
 * Address range [start, end) of one part of Veneer's code and data, for its page tables; false if
 * there is no such part. Called in host mode too.
 */
bool host_image(unsigned int part, const char **start, const char **end);

/*
 * CPUs that may be virtualised, numbered from 0 without gaps; how many of them run now; and the
 * number of this one.
 */
unsigned int host_cpus(void);
unsigned int host_running_cpus(void);
unsigned int host_this_cpu(void);

/*
 * Run function(argument) on all running CPUs at the same time, with interrupts off, and return
 * when all have returned. The CPUs wait for each other in it. 0; or a negative errno, and it was run on none of them.
 */
int host_on_each_cpu(void (*function)(void *), void *argument);
/* The same on one CPU; does nothing if it is not running. */
void host_on_cpu(unsigned int cpu, void (*function)(void *), void *argument);
/*
 * Called by `expected` CPUs in what host_on_each_cpu() runs, with a counter that is 0 at first: returns when all of them
 * have called it. What they wrote before is read afterwards.
 */
void host_meet(unsigned int *arrived, unsigned int expected);

/*
 * A page below 1 MiB, mapped at its own address in host mode, in which CPUs begin that the OS starts anew while Veneer is
 * loaded; NULL: the OS does not start any.
 */
void *host_start_page(void);

/*
 * Print the report and stop or reset the machine. Called in host mode, with Veneer's page tables,
 * in an unknown state of the machine.
 */
__attribute__((noreturn)) void host_die(const char *report);

#endif
