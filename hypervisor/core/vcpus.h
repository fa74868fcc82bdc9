/* SPDX-License-Identifier: MIT */
/* All virtualised CPUs. */
#ifndef VENEER_VCPUS_H
#define VENEER_VCPUS_H

#include "vcpu.h"

/* By number; NULL and 0 while Veneer is not loaded. A post-mortem reads them from outside of the machine. */
extern struct vcpu **vcpus;
extern unsigned int vcpu_count;

/* The CPU whose host stack an address is on, or NULL. */
struct vcpu *vcpu_of_stack(u64 address);

#endif
