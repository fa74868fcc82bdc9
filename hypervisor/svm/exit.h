/* SPDX-License-Identifier: MIT */
#ifndef VENEER_SVM_EXIT_H
#define VENEER_SVM_EXIT_H

#include "../core/vcpu.h"
#include "vmcb.h"

/* Called by enter.S with all GPRs but RSP in struct vcpu; does not return when Veneer leaves this CPU. */
void svm_handle_exit(struct vcpu *vcpu, struct vmcb *vmcb);

#endif
