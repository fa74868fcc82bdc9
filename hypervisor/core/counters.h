/* SPDX-License-Identifier: MIT */
/* Counters and trace of a loaded Veneer, and what a control hypercall takes. Called outside of any broadcast. */
#ifndef VENEER_COUNTERS_H
#define VENEER_COUNTERS_H

#include "vcpu.h"

/* EXIT_REASONS exit counters of a CPU; false if it is not in guest mode. */
bool veneer_read_counts(unsigned int cpu, u64 *counts);

/* The last exits of a CPU, newest first; returns how many there are, at most count. */
unsigned int veneer_read_trace(unsigned int cpu, struct trace_entry *entries, unsigned int count);

/* What a control hypercall on this CPU takes, in TSC ticks, from the stub and back; 0 while Veneer is not loaded. */
u64 veneer_time_hypercall(void);

#endif
