/* SPDX-License-Identifier: MIT */
/* GDT, IDT, TSS and stack of a CPU in host mode. An exit uses nothing of the operating system. */
#ifndef VENEER_HOST_STATE_H
#define VENEER_HOST_STATE_H

#include "vcpu.h"

/* Allocate a CPU's descriptor tables (setup step 1). */
int allocate_host_state(struct vcpu *vcpu);

/*
 * Has Veneer's GDT a place for a code or stack segment of this selector, and behind it for what else it needs? Not for one
 * of the LDT.
 */
bool has_place_in_host_gdt(u16 selector);

/*
 * Fill them on the CPU itself, before VMX or SVM is enabled. Code and stack segment have the
 * selectors that the OS uses at the moment, so that Veneer's IDT works with the OS' GDT too;
 * has_place_in_host_gdt() of both.
 */
void prepare_host_state(struct vcpu *vcpu, u64 host_cr3);

/* For SVM, whose host mode keeps the guest's TSS: no entry of the IDT switches stacks. */
void use_idt_without_stack_switch(struct vcpu *vcpu);

/* Load Veneer's IDT while VMX or SVM is being enabled, and the OS' again. */
void catch_faults(struct vcpu *vcpu, struct table_register *saved);
void stop_catching_faults(const struct table_register *saved);

#endif
