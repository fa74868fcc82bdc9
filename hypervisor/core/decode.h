/* SPDX-License-Identifier: MIT */
/*
 * Decoding the guest's instruction where the hardware does not report its length (SVM without
 * NRIPS).
 */
#ifndef VENEER_DECODE_H
#define VENEER_DECODE_H

#include "vcpu.h"

struct instruction {
	/* Bytes, prefixes included. */
	unsigned int length;
	/* VMRUN, VMLOAD, VMSAVE, STGI, CLGI, SKINIT, INVLPGA. */
	bool is_svm;
};

/*
 * Decode the instruction at the guest's RIP; false if it is none that Veneer handles, or cannot be
 * read.
 */
bool decode_instruction(struct vcpu *vcpu, struct instruction *instruction);

#endif
