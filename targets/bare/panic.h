/* SPDX-License-Identifier: MIT */
#ifndef BARE_PANIC_H
#define BARE_PANIC_H

#include "../agent/probe.h"

/* Report a text, or an unexpected exception, and halt all CPUs. */
__attribute__((noreturn, format(printf, 1, 2))) void panic(const char *format, ...);
__attribute__((noreturn)) void panic_at(const struct probe_frame *frame);
/* Halts this CPU if another one has panicked. */
void panic_join(void);

#endif
