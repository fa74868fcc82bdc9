/* SPDX-License-Identifier: MIT */
#ifndef VENEER_CPUID_H
#define VENEER_CPUID_H

#include "vcpu.h"

void handle_cpuid(struct vcpu *vcpu);

#endif
