/* SPDX-License-Identifier: MIT */
#ifndef VENEER_SVM_ENTER_H
#define VENEER_SVM_ENTER_H

#include "../core/vcpu.h"
#include "vmcb.h"

/* Returns 0 in guest mode, 1 outside of it if VMRUN was refused. */
int svm_launch(struct vcpu *vcpu, struct vmcb *vmcb);
extern const char svm_entry_refused[];

#endif
