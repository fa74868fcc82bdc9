/* SPDX-License-Identifier: MIT */
#ifndef VENEER_CRASH_REPORT_H
#define VENEER_CRASH_REPORT_H

#include "vcpu.h"

/* Print a report (the reason, RIP, RSP and the last exits) and stop. vcpu may be NULL. */
__attribute__((noreturn)) void die(struct vcpu *vcpu, const char *why, u64 rip, u64 rsp);

#endif
