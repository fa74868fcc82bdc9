/* SPDX-License-Identifier: MIT */
#ifndef VENEER_LOCAL_APIC_H
#define VENEER_LOCAL_APIC_H

/* In host mode: the local APIC of this CPU as INIT leaves it. */
void reset_local_apic(void);

#endif
