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

/* A store of 32 bits. */
struct store {
	unsigned int length;
	u32 value;
};

/*
 * Decode a MOV of 32 bits to memory at the guest's RIP, of a register or an immediate; false if it is something else, or
 * cannot be read. Whoever asks knows where it stores to.
 */
bool decode_store(struct vcpu *vcpu, struct store *store);

/*
 * Decode the instruction at the guest's RIP; false if it is none that Veneer handles, or cannot be
 * read.
 */
bool decode_instruction(struct vcpu *vcpu, struct instruction *instruction);

#endif
