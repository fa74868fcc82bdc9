/* SPDX-License-Identifier: MIT */
#ifndef AGENT_DEBUG_REGISTERS_H
#define AGENT_DEBUG_REGISTERS_H

#include "probe.h"

/* DR0 to DR3, DR6 and DR7 by their numbers; any other number is 0. */
static inline uint64_t read_dr(unsigned int number)
{
	uint64_t value = 0;

	switch (number) {
	case 0:
		asm volatile("mov %%dr0, %0" : "=r"(value));
		break;
	case 1:
		asm volatile("mov %%dr1, %0" : "=r"(value));
		break;
	case 2:
		asm volatile("mov %%dr2, %0" : "=r"(value));
		break;
	case 3:
		asm volatile("mov %%dr3, %0" : "=r"(value));
		break;
	case 6:
		asm volatile("mov %%dr6, %0" : "=r"(value));
		break;
	case 7:
		asm volatile("mov %%dr7, %0" : "=r"(value));
		break;
	}
	return value;
}

/* 0, or -1 if writing it faulted; a number that is none of these does nothing. */
static inline int try_dr(unsigned int number, uint64_t value)
{
	switch (number) {
	case 0:
		return probe_try_dr0(value);
	case 1:
		return probe_try_dr1(value);
	case 2:
		return probe_try_dr2(value);
	case 3:
		return probe_try_dr3(value);
	case 6:
		return probe_try_dr6(value);
	case 7:
		return probe_try_dr7(value);
	}
	return 0;
}

#endif
