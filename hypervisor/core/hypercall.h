/* SPDX-License-Identifier: MIT */
/* Control of a loaded Veneer, from the code that loaded it and from nowhere else. */
#ifndef VENEER_HYPERCALL_H
#define VENEER_HYPERCALL_H

#include "vcpu.h"

enum hypercall {
	/* RAX: the number of the CPU that is in guest mode. The proof that it is. */
	HYPERCALL_PROVE = 0x56656e01,
	/* The guest goes on without Veneer. RAX: 0. */
	HYPERCALL_UNLOAD,
	/* RAX: how often reason RDI was the reason of an exit of this CPU. */
	HYPERCALL_COUNT,
	/* RDI: how many exits back, 0 is the newest. RAX: RIP; RDX: code, EAX; RCX: ECX. */
	HYPERCALL_TRACE,
};

void handle_hypercall(struct vcpu *vcpu);

/* hypercall_stubs.S: the stubs, and their only instruction that exits. */
extern const char hypercall_svm_address[], hypercall_vmx_address[];
u64 hypercall_svm(u64 operation, u64 argument, u64 more[2]);
u64 hypercall_vmx(u64 operation, u64 argument, u64 more[2]);

#endif
