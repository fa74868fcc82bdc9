/* SPDX-License-Identifier: MIT */
#ifndef VENEER_VMX_STATE_H
#define VENEER_VMX_STATE_H

#include "../core/vcpu.h"

/* Fill the VMCS that is current. */
void vmx_fill_guest_state(const struct vcpu *vcpu);
void vmx_fill_host_state(struct vcpu *vcpu);

#endif
