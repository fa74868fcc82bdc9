/* SPDX-License-Identifier: MIT */
/* Reading the guest's code, where the hardware does not say how long an instruction was. */
#ifndef VENEER_DECODE_H
#define VENEER_DECODE_H

#include "vcpu.h"

struct instruction {
	/* Bytes, prefixes included. */
	unsigned int length;
	/* VMRUN, VMLOAD, VMSAVE, STGI, CLGI, SKINIT, INVLPGA. */
	bool is_svm;
};

/* Decode the instruction at the guest's RIP, of those that Veneer handles; false if it is another one or cannot be read. */
bool decode_instruction(struct vcpu *vcpu, struct instruction *instruction);

#endif
