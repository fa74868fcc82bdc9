/* SPDX-License-Identifier: MIT */
/* Modes and places for probes (agent/place.h) on the bare machine. */
#ifndef BARE_MODES_H
#define BARE_MODES_H

/*
 * In modes other than long mode a probe's slot is below 1 MiB, where real mode reaches it, and its linear
 * addresses are physical ones, so that the probe may switch paging: 16 slots of 32 KiB, in memory that the boot
 * sector used for staging.
 */
#define MODES_SLOTS 0x10000
#define MODES_CPUS 16

/* Dynamic descriptors in a CPU's GDT: of a probe's code, of its struct mode_block, and of real mode's data. */
#define MODES_CODE 0x50
#define MODES_BLOCK 0x58
#define MODES_REAL_DATA 0x60

/* Offsets into struct mode_block for modes_entry.S; modes.c asserts them. */
#define MODE_GPR 0x00
#define MODE_EIP 0x20
#define MODE_CS 0x24
#define MODE_EFLAGS 0x28
#define MODE_CR0 0x2c
#define MODE_CR3 0x30
#define MODE_CR4 0x34
#define MODE_IDTR 0x38
#define MODE_IS_REAL 0x40
#define MODE_LONG_CR0 0x44
#define MODE_LONG_CR3 0x48
#define MODE_LONG_CR4 0x4c
#define MODE_LONG_IDTR 0x50
#define MODE_LONG_GDTR 0x60
#define MODE_SELF 0x70
#define MODE_CONTEXT 0x74
#define MODE_END_GPR 0x78
#define MODE_END_VECTOR 0x98
#define MODE_END_ERROR 0x9c
#define MODE_END_EIP 0xa0
#define MODE_END_CS 0xa4
#define MODE_END_EFLAGS 0xa8
#define MODE_END_SS 0xac
#define MODE_NMIS 0xb0
/* The stack on which exceptions of CPL 3 are taken; 0 for a probe at CPL 0. */
#define MODE_KERNEL_STACK 0xb4
#define MODE_SIZE 0xb8

/* In the slot of a probe in real mode, in the page behind its code area that other modes do not map. */
#define REAL_IVT 0x2000
#define REAL_CODE 0x2400
#define REAL_BLOCK 0x2f00

#define EFLAGS_VM 0x20000

#define MODE_STUB_SIZE 16
#define REAL_STUB_SIZE 6

#ifndef __ASSEMBLER__

#include "cpu.h"

/* Let a CPU's probes use them. Boot CPU only, once per CPU. */
void modes_init(struct cpu *cpu);

#endif
#endif
