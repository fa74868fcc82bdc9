/* SPDX-License-Identifier: MIT */
#include "guard.h"

/* guard_entry.S */
int call_guarded(void (*function)(void *), void *argument, uint64_t *rsp);
extern const char guard_ended[];

bool guard_call(void (*function)(void *), void *argument)
{
	return !call_guarded(function, argument, &cpu_of_stack()->guard_rsp);
}

bool guard_takes(struct probe_frame *frame)
{
	struct cpu *cpu = cpu_of_stack();

	if (!cpu->guard_rsp)
		return false;
	cpu->guard_vector = frame->vector & 0xff;
	frame->rip = (uint64_t)guard_ended;
	frame->rsp = cpu->guard_rsp;
	frame->rflags = 2;
	return true;
}
