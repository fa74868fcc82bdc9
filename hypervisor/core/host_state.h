/* SPDX-License-Identifier: MIT */
/*
 * The descriptor tables and the stack of a CPU in host mode. They are
 * Veneer's own: nothing of the operating system's is used in an exit.
 */
#ifndef VENEER_HOST_STATE_H
#define VENEER_HOST_STATE_H

#include "vcpu.h"

/* Allocate a CPU's descriptor tables (setup step 1). */
int allocate_host_state(struct vcpu *vcpu);

/*
 * Fill them on the CPU itself, before the hardware is touched: the code and
 * stack segments keep the selectors that the OS has at the moment, so that
 * Veneer's IDT also works while the OS' GDT is still in place.
 */
void prepare_host_state(struct vcpu *vcpu, u64 host_cr3);

/* For a host mode that has no TSS of its own (SVM): no entry of the IDT switches stacks. */
void use_idt_without_stack_switch(struct vcpu *vcpu);

/* While Veneer enables the hardware, its own IDT catches what faults. */
void catch_faults(struct vcpu *vcpu, struct table_register *saved);
void stop_catching_faults(const struct table_register *saved);

#endif
