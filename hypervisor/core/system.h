/* SPDX-License-Identifier: MIT */
/* Exits of single system instructions, #GP in front of SVM's, task switches, INIT and SIPI. */
#ifndef VENEER_SYSTEM_H
#define VENEER_SYSTEM_H

#include "vcpu.h"

void handle_xsetbv(struct vcpu *vcpu);
void handle_invd(struct vcpu *vcpu);
void handle_hidden_instruction(struct vcpu *vcpu);
void handle_gp_fault(struct vcpu *vcpu);
void handle_task_switch(struct vcpu *vcpu);
void handle_init(struct vcpu *vcpu);
void handle_sipi(struct vcpu *vcpu);

#endif
