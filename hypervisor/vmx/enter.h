/* SPDX-License-Identifier: MIT */
#ifndef VENEER_VMX_ENTER_H
#define VENEER_VMX_ENTER_H

#include "../core/vcpu.h"

enum vmx_launch_result {
	VMX_IN_GUEST_MODE,
	/* VMLAUNCH failed with VMfailInvalid or VMfailValid; nothing has changed. */
	VMX_FAILED,
	/*
	 * VM entry was refused after the host state was loaded; vmx_return_from_failed_entry()
	 * returned here.
	 */
	VMX_ENTRY_REFUSED,
};
int vmx_launch(struct vcpu *vcpu);
extern const char vmx_exited[], vmx_entry_refused[];

#endif
