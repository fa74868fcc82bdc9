/* SPDX-License-Identifier: MIT */
#ifndef VENEER_MSR_H
#define VENEER_MSR_H

#include "vcpu.h"

void handle_rdmsr(struct vcpu *vcpu);
void handle_wrmsr(struct vcpu *vcpu);
/* With the number of the MSR in the instruction, and one 64-bit register. */
void handle_rdmsr_immediate(struct vcpu *vcpu);
void handle_wrmsrns_immediate(struct vcpu *vcpu);

/* MSRs that tell of virtualization and therefore always exit: both backends fill their bitmaps from this table. [first, last] */
struct msr_range {
	u32 first, last;
};
extern const struct msr_range guarded_msrs[];
extern const unsigned int guarded_msr_count;

/* MSRs that say which memory type an address has. Where the nested page tables do, writes to them exit too. */
extern const struct msr_range memory_type_msrs[];
extern const unsigned int memory_type_msr_count;

#endif
