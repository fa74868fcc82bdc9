/* SPDX-License-Identifier: MIT */
#ifndef VENEER_VMX_RESET_H
#define VENEER_VMX_RESET_H

#include "../core/vcpu.h"

/* INIT and SIPI (SDM 3A 9.1.4, 9.4.4). */
void vmx_wait_for_sipi(struct vcpu *vcpu);
void vmx_reset(struct vcpu *vcpu);
void vmx_start(struct vcpu *vcpu);

#endif
