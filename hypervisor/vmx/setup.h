/* SPDX-License-Identifier: MIT */
#ifndef VENEER_VMX_SETUP_H
#define VENEER_VMX_SETUP_H

#include "../core/vcpu.h"

int vmx_allocate(struct vcpu *vcpu);
int vmx_enable(struct vcpu *vcpu, struct refusal *refusal);
void vmx_disable(struct vcpu *vcpu);
int vmx_enter(struct vcpu *vcpu, struct refusal *refusal);

#endif
