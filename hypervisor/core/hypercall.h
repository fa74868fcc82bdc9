/* SPDX-License-Identifier: MIT */
/* Control hypercalls, for the code that loaded Veneer only. */
#ifndef VENEER_HYPERCALL_H
#define VENEER_HYPERCALL_H

#include "vcpu.h"

enum hypercall {
	/* Returns the number of the CPU in RAX, which proves that the CPU is in guest mode. */
	HYPERCALL_PROVE = 0x56656e01,
	/* Unload Veneer from this CPU; the guest continues without it. Returns 0 in RAX. */
	HYPERCALL_UNLOAD,
	/* Returns in RAX, RDX and RCX how many exits of this CPU had reason RDI and the two behind it. */
	HYPERCALL_COUNT,
	/*
	 * Returns a trace entry; RDI is its age in exits, 0 for the newest. RAX: RIP; RDX: code,
	 * EAX; RCX: ECX.
	 */
	HYPERCALL_TRACE,
};

void handle_hypercall(struct vcpu *vcpu);

/* hypercall_stubs.S: the stubs, and the addresses of their VMMCALL and VMCALL. */
extern const char hypercall_svm_address[], hypercall_vmx_address[];
u64 hypercall_svm(u64 operation, u64 argument, u64 more[2]);
u64 hypercall_vmx(u64 operation, u64 argument, u64 more[2]);

#endif
