/* SPDX-License-Identifier: MIT */
#ifndef VENEER_VMX_EPT_H
#define VENEER_VMX_EPT_H

#include "../core/vcpu.h"

/* The identity map that all CPUs share; 0, or a negative errno. */
int vmx_build_ept(u64 *ept_pointer);
/* In host mode: the memory types are those of this CPU's MTRRs, read now. */
void vmx_change_memory_types(struct vcpu *vcpu);

#endif
