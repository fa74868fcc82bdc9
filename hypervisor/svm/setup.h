/* SPDX-License-Identifier: MIT */
#ifndef VENEER_SVM_SETUP_H
#define VENEER_SVM_SETUP_H

#include "../core/vcpu.h"

int svm_examine(struct refusal *refusal);
int svm_allocate(struct vcpu *vcpu);
int svm_enable(struct vcpu *vcpu, struct refusal *refusal);
void svm_disable(struct vcpu *vcpu);
int svm_enter(struct vcpu *vcpu, struct refusal *refusal);
__attribute__((noreturn)) void svm_leave(struct vcpu *vcpu);
/* The first VMRUN was refused: return to svm_launch(), with SVM still enabled. */
__attribute__((noreturn)) void svm_return_from_refused_entry(struct vcpu *vcpu);

#endif
