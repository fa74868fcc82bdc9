/* SPDX-License-Identifier: MIT */
#ifndef VENEER_VMX_ENTRY_CHECKS_H
#define VENEER_VMX_ENTRY_CHECKS_H

#include "../core/vcpu.h"

/* Which rule of VM entry the VMCS breaks, as text; "" if it is none that we know. */
void vmx_find_broken_rules(const struct vcpu *vcpu, char *buffer, size_t size);

#endif
