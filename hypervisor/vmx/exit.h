/* SPDX-License-Identifier: MIT */
#ifndef VENEER_VMX_EXIT_H
#define VENEER_VMX_EXIT_H

#include "../core/vcpu.h"

/* Called by enter.S with all GPRs but RSP in struct vcpu; does not return when Veneer leaves this CPU. */
void vmx_handle_exit(struct vcpu *vcpu);
/* VMRESUME has failed. */
__attribute__((noreturn)) void vmx_resume_failed(struct vcpu *vcpu);

#endif
