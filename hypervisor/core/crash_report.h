/* SPDX-License-Identifier: MIT */
#ifndef VENEER_CRASH_REPORT_H
#define VENEER_CRASH_REPORT_H

#include "vcpu.h"

/* Give up: report why, where, and what the last exits were. vcpu may be NULL. */
__attribute__((noreturn)) void die(struct vcpu *vcpu, const char *why, u64 rip, u64 rsp);

#endif
