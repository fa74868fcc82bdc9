/* SPDX-License-Identifier: MIT */
/* How the instruction that caused an exit ends: completed, or with an exception. */
#ifndef VENEER_COMPLETION_H
#define VENEER_COMPLETION_H

#include "vcpu.h"

/* It is done: RIP, RFLAGS.RF, TF and the interrupt shadow follow. */
void complete_instruction(struct vcpu *vcpu);

/* It raises an exception, combined with the event that the exit interrupted (SDM 3A 6.15, APM2 8.2.9). */
void inject_exception(struct vcpu *vcpu, enum vector vector, u32 error_code);

#endif
