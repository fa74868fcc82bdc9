/* SPDX-License-Identifier: MIT */
/* Instructions that may fault in host mode: false when they did, with #GP or #UD. */
#ifndef VENEER_SAFE_INSTRUCTIONS_H
#define VENEER_SAFE_INSTRUCTIONS_H

#include "types.h"

bool read_msr_safe(u32 msr, u64 *value);
bool write_msr_safe(u32 msr, u64 value);
bool xsetbv_safe(u32 index, u64 value);
/* VMXON with the physical address of its region, which must be in memory; false as well when it failed without a fault. */
bool vmxon_safe(const u64 *physical);

/* The instructions that may fault, and where each of the functions returns false: for the fault handler. */
extern const char read_msr_safe_insn[], write_msr_safe_insn[], xsetbv_safe_insn[],
	vmxon_safe_insn[], fault_return_false[];

#endif
