/* SPDX-License-Identifier: MIT */
/* Faults in host mode: fault_entry.S calls host_fault(). */
#ifndef VENEER_FAULT_H
#define VENEER_FAULT_H

#include "vcpu.h"

/* The stack frame that fault_entry.S builds, from the lowest address. */
struct fault_frame {
	struct regs regs;
	u64 vector, error_code;
	u64 rip, cs, rflags, rsp, ss;
};

ASSERT_OFFSET(fault_frame, vector, FAULT_VECTOR);
ASSERT_OFFSET(fault_frame, rip, FAULT_RIP);
ASSERT_OFFSET(fault_frame, rflags, FAULT_RFLAGS);
ASSERT_OFFSET(fault_frame, rsp, FAULT_RSP);

void host_fault(struct fault_frame *frame);

#endif
