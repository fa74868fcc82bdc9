/* SPDX-License-Identifier: MIT */
/* What the guest is told: one place for the decisions that both vendors share. */
#ifndef VENEER_POLICY_H
#define VENEER_POLICY_H

#include "vcpu.h"

/* Handlers of exits, by reason. */
void handle_cpuid(struct vcpu *vcpu);
void handle_rdmsr(struct vcpu *vcpu);
void handle_wrmsr(struct vcpu *vcpu);
void handle_xsetbv(struct vcpu *vcpu);
void handle_invd(struct vcpu *vcpu);
void handle_hypercall(struct vcpu *vcpu);
void handle_hidden_instruction(struct vcpu *vcpu);
void handle_gp_fault(struct vcpu *vcpu);
void handle_cr_access(struct vcpu *vcpu);
void handle_nmi(struct vcpu *vcpu);
void handle_nmi_window(struct vcpu *vcpu);
void handle_task_switch(struct vcpu *vcpu);
void handle_init(struct vcpu *vcpu);
void handle_sipi(struct vcpu *vcpu);

/* nmi.c: NMIs that hit Veneer itself, and those that are left when this CPU is not in guest mode (any more). */
void note_nmi_in_host_mode(void);
void replay_nmis(struct vcpu *vcpu);

/* Inject an exception, combined with the event that the exit interrupted (SDM 3A 6.15, APM2 8.2.9). */
void inject_exception(struct vcpu *vcpu, enum vector vector, u32 error_code);

/*
 * MSRs that tell of virtualization and therefore always exit. Both
 * backends fill their bitmaps from this table; [first, last].
 */
struct msr_range {
	u32 first, last;
};
extern const struct msr_range guarded_msrs[];
extern const unsigned int guarded_msr_count;

#define SIGNATURE "VeneerVeneer"
#define VENEER_VERSION 0x000100

#endif
