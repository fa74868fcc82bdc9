/* SPDX-License-Identifier: MIT */
#ifndef VENEER_NMI_H
#define VENEER_NMI_H

#include "vcpu.h"

void handle_nmi(struct vcpu *vcpu);
void handle_nmi_window(struct vcpu *vcpu);

/* An NMI came through Veneer's own IDT: in the middle of an exit, or while VMX is taken or given back. */
void note_nmi_in_host_mode(void);

/* Outside of guest mode and of an exit, under the OS' IDT: raise what was noted and could not be injected. */
void replay_nmis(struct vcpu *vcpu);

#endif
