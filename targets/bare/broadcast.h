/* SPDX-License-Identifier: MIT */
#ifndef BARE_BROADCAST_H
#define BARE_BROADCAST_H

#include <stdbool.h>
#include <stdint.h>

#include "../agent/cpu_mask.h"
#include "cpu.h"

/* On the boot CPU: `cpus` others will call broadcast_finish(). */
void broadcast_expect(unsigned int cpus);
/* Sleep once, unless they all have. Returns whether one has not. */
bool broadcast_sleep(void);

/* On another CPU: its part is done. */
void broadcast_finish(void);
/* As os_on_cpus(), on any CPUs of this machine. */
void broadcast_run(const struct cpu_mask *mask, void (*fn)(void *), void *arg);
/* Carry out what broadcast_run() gives this CPU to do. */
__attribute__((noreturn)) void broadcast_serve(struct cpu *cpu);

/*
 * On the boot CPU: whether broadcast_run() is called by a subject that is being loaded or unloaded. Then functions are called
 * with the registers that a probe has left on the CPU, if it has (struct probe_left).
 */
void broadcast_with_registers(bool apply);

/*
 * In a function that broadcast_run() runs on the CPUs of `mask`: wait until `expected` of them have called
 * this. A CPU that waits for long sleeps.
 */
void broadcast_meet(unsigned int *arrived, unsigned int expected, const struct cpu_mask *mask);

#endif
