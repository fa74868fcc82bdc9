/* SPDX-License-Identifier: MIT */
#ifndef VENEER_NMI_H
#define VENEER_NMI_H

#include "vcpu.h"

void handle_nmi(struct vcpu *vcpu);
void handle_nmi_window(struct vcpu *vcpu);

/*
 * Count an NMI that came in host mode: during an exit, or while VMX is being enabled or disabled.
 */
void note_nmi_in_host_mode(void);

/* Called outside of guest mode, with the OS' IDT: deliver the NMI, and the machine check, that was noted and not injected. */
void replay_nmis(struct vcpu *vcpu);

#endif
