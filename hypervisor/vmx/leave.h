/* SPDX-License-Identifier: MIT */
#ifndef VENEER_VMX_LEAVE_H
#define VENEER_VMX_LEAVE_H

#include "../core/vcpu.h"

/* Continue as the guest without VMX. */
__attribute__((noreturn)) void vmx_leave(struct vcpu *vcpu);
/* Return to vmx_launch() after a refused entry. */
__attribute__((noreturn)) void vmx_return_from_failed_entry(struct vcpu *vcpu);

#endif
