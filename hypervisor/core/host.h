/* SPDX-License-Identifier: MIT */
/*
 * What a host gives the core: the tiny OS, or Linux. Everything that Veneer
 * needs from what it is slipped underneath of goes through this page.
 */
#ifndef VENEER_HOST_H
#define VENEER_HOST_H

#include "types.h"

/* Zeroed, physically contiguous pages at a page boundary, or NULL. Before the broadcast only. */
void *host_alloc(size_t pages);
void host_free(void *memory, size_t pages);

/* Physical address of something that host_alloc() gave, or of Veneer's own image. */
u64 host_physical(const void *address);
/* The other way round, for what host_alloc() gave. */
void *host_virtual(u64 physical);

/*
 * Veneer's own code and data, to be mapped into its page tables: [start, end)
 * of one part of it; false if there are no more parts. Called in host mode too.
 */
bool host_image(unsigned int part, const char **start, const char **end);

/* CPUs that may be virtualised, numbered from 0 without gaps, and how many of them are running now. */
unsigned int host_cpus(void);
unsigned int host_running_cpus(void);
unsigned int host_this_cpu(void);

/*
 * Run function(argument) on all running ones at the same time, interrupts off, and
 * return when all have. The copies wait for each other inside of it.
 */
void host_on_each_cpu(void (*function)(void *), void *argument);
/* The same on one of them; nothing happens if it is not running. */
void host_on_cpu(unsigned int cpu, void (*function)(void *), void *argument);

/*
 * Veneer cannot go on: get the report out, from host mode, with Veneer's page
 * tables and whatever else is broken, and stop or reset the machine.
 */
__attribute__((noreturn)) void host_die(const char *report);

#endif
