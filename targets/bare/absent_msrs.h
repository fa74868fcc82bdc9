/* SPDX-License-Identifier: MIT */
#ifndef BARE_ABSENT_MSRS_H
#define BARE_ABSENT_MSRS_H

#include "../agent/probe.h"

/*
 * Take a #GP of the subject's own RDMSR or WRMSR for an MSR that every processor on which a hypervisor can be loaded
 * has, and that this emulated machine lacks: it reads as 0, and a 0 can be written. False if it is something else.
 */
bool absent_msr_takes(struct probe_frame *frame);

#endif
