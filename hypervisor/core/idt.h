/* SPDX-License-Identifier: MIT */
/* Veneer's IDT: the gates (SDM 3A 7.14.1), and behind them the CPU that it belongs to. */
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
 * The CPU that we are on, while one of its own IDTs is in place. Independent of the stack: an NMI may come on
 * the OS' stack while Veneer's IDT is in place.
 */
static inline struct vcpu *vcpu_of_idt(void)
{
	struct table_register idtr;

	read_idtr(&idtr);
	return ((const struct idt *)idtr.base)->owner;
}

#endif
