/* SPDX-License-Identifier: MIT */
#ifndef VENEER_LOCAL_APIC_H
#define VENEER_LOCAL_APIC_H

#include "types.h"

/*
 * In host mode: have the local APIC of this CPU take no interrupt but NMI, INIT and SIPI, by one write; and bring it into
 * the state that INIT leaves.
 */
void disable_local_apic(void);
void reset_local_apic(void);
/* Number of this CPU's local APIC (CPUID leaf 0bh, or leaf 1). */
u32 this_apic_id(void);

#endif
