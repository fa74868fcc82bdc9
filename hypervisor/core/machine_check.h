/* SPDX-License-Identifier: MIT */
/* Machine checks outside of guest mode. In guest mode they do not exit: the guest's handler takes them. */
#ifndef VENEER_MACHINE_CHECK_H
#define VENEER_MACHINE_CHECK_H

#include "vcpu.h"

/*
 * #MC in host mode, or while VMX or SVM is being enabled or disabled: keep it for the guest. False: what was
 * interrupted cannot go on, or the guest cannot be told.
 */
bool note_machine_check_in_host_mode(void);
/* The same, on the CPU that it is about. */
bool note_machine_check(struct vcpu *vcpu);

/* One came during a VM entry, which it made fail (SDM 3C 27.9). */
void handle_machine_check(struct vcpu *vcpu);

/* IA32_MCG_STATUS, for the crash report; 0 if there is none. */
u64 machine_check_status(void);

#endif
