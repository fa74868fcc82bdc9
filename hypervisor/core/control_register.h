/* SPDX-License-Identifier: MIT */
#ifndef VENEER_CONTROL_REGISTER_H
#define VENEER_CONTROL_REGISTER_H

#include "vcpu.h"

void handle_cr_access(struct vcpu *vcpu);

#endif
