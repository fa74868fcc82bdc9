/* SPDX-License-Identifier: MIT */
/* Veneer as its hosts see it. All of these are called from one context at a time, outside of any broadcast. */
#ifndef VENEER_H
#define VENEER_H

#include "refusal.h"

struct backend;
struct trace_entry;
struct vcpu;

/*
 * Put every CPU under Veneer. 0; or a negative errno, the reason in *refusal,
 * and every CPU is as it was.
 */
int veneer_load(struct refusal *refusal);

/* Take every CPU out again and free everything. 0, or -EINVAL if Veneer is not loaded. */
int veneer_unload(struct refusal *refusal);

/*
 * A CPU comes or goes while Veneer is loaded; called on it, interrupts off. The
 * first returns 0, or a negative errno and the CPU is as it was.
 */
int veneer_enter_this_cpu(struct refusal *refusal);
void veneer_leave_this_cpu(void);

/* CPUs that prove to be in guest mode, asked now. */
unsigned int veneer_count_cpus(void);

/* All virtualised CPUs, for a post-mortem from outside; NULL and 0 while Veneer is not loaded. */
extern struct vcpu **vcpus;
extern unsigned int vcpu_count;

/* NULL while Veneer is not loaded. */
const struct backend *veneer_backend(void);

/* What a control hypercall on this CPU takes, in TSC ticks, from the stub and back; 0 while Veneer is not loaded. */
u64 veneer_time_hypercall(void);

/* EXIT_REASONS exit counters of a CPU; false if it is not in guest mode. */
bool veneer_read_counts(unsigned int cpu, u64 *counts);

/* The last exits of a CPU, newest first; returns how many there are, at most count. */
unsigned int veneer_read_trace(unsigned int cpu, struct trace_entry *entries, unsigned int count);

#endif
