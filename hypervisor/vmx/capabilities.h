/* SPDX-License-Identifier: MIT */
#ifndef VENEER_VMX_CAPABILITIES_H
#define VENEER_VMX_CAPABILITIES_H

#include "../core/refusal.h"

/* The controls of a CPU. */
struct vmx_controls {
	u32 pin, primary, secondary, exit, entry;
};

int vmx_examine(struct refusal *refusal);

/* The controls for this CPU from its capability MSRs, or what it lacks. */
int vmx_find_controls(struct vmx_controls *controls, struct refusal *refusal);

#endif
