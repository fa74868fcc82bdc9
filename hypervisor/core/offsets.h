/* SPDX-License-Identifier: MIT */
/* Offsets that assembly needs; vcpu.h asserts those that do not say otherwise. */
#ifndef VENEER_OFFSETS_H
#define VENEER_OFFSETS_H

/* struct vcpu; its registers come first, in the order of struct regs */
#define VCPU_VMCB_PHYSICAL 0x80
#define VCPU_VMCB 0x88
#define VCPU_HOST_CR0 0x90
#define VCPU_HOST_CR3 0x98
#define VCPU_HOST_CR4 0xa0
#define VCPU_HOST_GDTR 0xa8
#define VCPU_HOST_IDTR 0xb8
#define VCPU_HOST_SS 0xc8
#define VCPU_EARLY_IDTR 0xd0
#define VCPU_CONTEXT 0xe0

/* struct fault_frame, which fault.h asserts */
#define FAULT_VECTOR 0x80
#define FAULT_RIP 0x90
#define FAULT_RFLAGS 0xa0
#define FAULT_RSP 0xa8

/* struct context, from its own start */
#define CONTEXT_REGS 0x00
#define CONTEXT_CR0 0x80
#define CONTEXT_CR3 0x88
#define CONTEXT_CR4 0x90
#define CONTEXT_EFER 0x98
#define CONTEXT_RIP 0xa0
#define CONTEXT_RFLAGS 0xa8
#define CONTEXT_DR7 0xb0
#define CONTEXT_FS_BASE 0xb8
#define CONTEXT_GS_BASE 0xc0
#define CONTEXT_GDTR 0xc8
#define CONTEXT_IDTR 0xd8
#define CONTEXT_CS 0xe8
#define CONTEXT_SS 0xea
#define CONTEXT_DS 0xec
#define CONTEXT_ES 0xee
#define CONTEXT_FS 0xf0
#define CONTEXT_GS 0xf2
#define CONTEXT_LDTR 0xf4
#define CONTEXT_TR 0xf6
#define CONTEXT_STGI 0xf8

#endif
