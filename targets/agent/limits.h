/* SPDX-License-Identifier: MIT */
/* Start states that would kill the machine or the OS that the agent runs on, instead of raising #GP. */
#ifndef AGENT_LIMITS_H
#define AGENT_LIMITS_H

#include "types.h"

/*
 * Read what the CPU has; once, when the agent starts: later, CPUID may exit and be counted by a check.
 * efer_needed: bits of EFER without which this OS cannot live.
 */
void limits_begin(uint64_t efer_needed);

/* Why a CPU must not be given these values of EFER and CR4, which it has others of now; NULL if it may be. */
const char *limits_forbid(uint64_t efer, uint64_t efer_now, uint64_t cr4, uint64_t cr4_now);

#endif
