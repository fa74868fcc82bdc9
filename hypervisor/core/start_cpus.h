/* SPDX-License-Identifier: MIT */
/* CPUs that the OS starts anew, on processors on which INIT and start-up IPIs do not exit (SVM). */
#ifndef VENEER_START_CPUS_H
#define VENEER_START_CPUS_H

#include "vcpu.h"

/* Where the local APIC is after a reset (SDM 3A 11.4.1, APM2 16.3.1); no OS moves it. */
#define LOCAL_APIC_ADDRESS 0xfee00000ull

/* On each CPU, before it enters guest mode. */
void remember_apic_id(struct vcpu *vcpu);
/* The CPU with this number of its local APIC, or NULL. Called in host mode. */
struct vcpu *vcpu_of_apic_id(u32 id);

void handle_apic_write(struct vcpu *vcpu);
/* The value with which a write to the interrupt command register in x2APIC mode, an MSR, is to be executed. */
u64 redirect_x2apic_command(u64 command);

#endif
