/* SPDX-License-Identifier: MIT */
#ifndef VENEER_LEAVE_H
#define VENEER_LEAVE_H

#include "vcpu.h"

/* Leave host mode for good: go on with the state in vcpu->context. */
__attribute__((noreturn)) void resume_context(struct vcpu *vcpu);

#endif
