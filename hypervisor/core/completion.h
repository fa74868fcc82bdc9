/* SPDX-License-Identifier: MIT */
/* End of an emulated instruction: complete it, or inject an exception. */
#ifndef VENEER_COMPLETION_H
#define VENEER_COMPLETION_H

#include "vcpu.h"

/*
 * Advance RIP, clear RFLAGS.RF, end blocking by STI or MOV SS, and raise a single-step trap if TF
 * is set.
 */
void complete_instruction(struct vcpu *vcpu);

/* Whether an exception pushes an error code; there are none in real mode. */
bool pushes_error_code(const struct vcpu *vcpu, enum vector vector);

/*
 * Inject an exception, combined with the event whose delivery the exit interrupted (SDM 3A 6.15,
 * APM2 8.2.9).
 */
void inject_exception(struct vcpu *vcpu, enum vector vector, u32 error_code);

#endif
