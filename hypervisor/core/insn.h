/* SPDX-License-Identifier: MIT */
/* Reading the guest's code, where the hardware does not say how long an instruction was. */
#ifndef VENEER_INSN_H
#define VENEER_INSN_H

#include "vcpu.h"

struct instruction {
	/* Bytes, prefixes included. */
	unsigned int length;
	/* VMRUN, VMLOAD, VMSAVE, STGI, CLGI, SKINIT, INVLPGA. */
	bool is_svm;
};

/* Decode the instruction at the guest's RIP, of those that Veneer handles; false if it is another one or cannot be read. */
bool decode_instruction(struct vcpu *vcpu, struct instruction *instruction);

/* Host pointer to the byte at a guest-linear address, through the guest's own page tables; NULL: not present. */
const u8 *guest_byte(struct vcpu *vcpu, u64 linear);

#endif
