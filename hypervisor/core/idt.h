/* SPDX-License-Identifier: MIT */
/* Veneer's IDT (SDM 3A 7.14.1), followed by a pointer to the CPU that uses it. */
#ifndef VENEER_IDT_H
#define VENEER_IDT_H

#include "x86.h"

#define IDT_ENTRIES 256

struct vcpu;

struct gate {
	u16 offset_low, selector;
	u8 ist, type;
	u16 offset_middle;
	u32 offset_high, reserved;
};

struct idt {
	struct gate gates[IDT_ENTRIES];
	struct vcpu *owner;
};

/*
 * The CPU that runs this, while its IDT is loaded. It does not depend on the stack, since an NMI
 * may use the OS' stack while Veneer's IDT is loaded.
 */
static inline struct vcpu *vcpu_of_idt(void)
{
	struct table_register idtr;

	read_idtr(&idtr);
	return ((const struct idt *)idtr.base)->owner;
}

#endif
