/* SPDX-License-Identifier: MIT */
/* What the files of this host share that are built as a part of the kernel. */
#ifndef VENEER_LINUX_H
#define VENEER_LINUX_H

#define pr_fmt(fmt) "veneer: " fmt

#include <linux/printk.h>
#include <linux/types.h>

#include "core/refusal.h"

/* Longest answer to a request: 48 entries of a trace. */
#define ANSWER_BYTES 4096

/*
 * state.c: Veneer as a whole. Each returns 0, or a negative errno with the
 * reason in why, which has ANSWER_BYTES; the kernel's log has it as well.
 */
int state_load(char *why);
int state_unload(char *why);
int state_query(char *answer);
/* cpu is Linux' number. */
int state_exits(unsigned int cpu, char *answer);
int state_trace(unsigned int cpu, unsigned int count, char *answer);
/*
 * Unload, and refuse to load until state_resume(), which loads again if Veneer was loaded; after a
 * reboot notification, for good.
 */
void state_suspend(const char *why);
void state_resume(void);

/* cpus.c: Linux' CPU numbers have gaps, Veneer's do not. Number those that are present. */
void cpus_number(void);
/* Veneer's number of a CPU; -1: it has none. */
int cpus_find(unsigned int linux_cpu);
unsigned int cpus_linux_number(unsigned int cpu);

/* memory.c: the number of pages that Veneer holds. */
long memory_pages(void);

/* kvm.c: keep KVM out; -EBUSY: it is there. */
int kvm_keep_out(void);
void kvm_let_in(void);
/* The kernel's record of the CPUs' features, as CPUID has them with Veneer and without it; and of a CPU that has come. */
void kvm_hide_features(void);
void kvm_hide_features_of(unsigned int cpu);
void kvm_show_features(void);

/* control.c, hotplug.c, power.c */
int control_start(void);
void control_stop(void);
int hotplug_start(void);
void hotplug_stop(void);
int power_start(void);
void power_stop(void);

#endif
