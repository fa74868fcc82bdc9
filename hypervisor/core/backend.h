/* SPDX-License-Identifier: MIT */
/*
 * What a backend (svm/, vmx/) provides to the core. It translates between the core's interface and
 * its control structures; all decisions are the core's.
 */
#ifndef VENEER_BACKEND_H
#define VENEER_BACKEND_H

#include "refusal.h"
#include "x86.h"

struct vcpu;

#define DESCRIPTION_BYTES 256

/* Guest state that the core reads, by field. */
enum guest_field {
	GUEST_CR0,
	GUEST_CR3,
	GUEST_CR4,
	GUEST_EFER,
	GUEST_CPL,
	GUEST_CS_BASE,
	/* In bytes, whatever the granularity. */
	GUEST_CS_LIMIT,
	GUEST_DR7,
	/* 64, 32 or 16: the default operand size of the code segment. */
	GUEST_CODE_BITS,
	GUEST_FIELDS
};

struct backend {
	const char *name;
	/* Which of the two extensions is hidden from the guest: SVM; else VMX. */
	bool is_svm;
	/* EBX, EDX, ECX of CPUID leaf 0 of the processors that it is for; a zero ends the list. */
	u32 vendors[4][3];
	/*
	 * The stub that executes VMCALL or VMMCALL, and the address of that instruction:
	 * hypercalls from any other address are refused.
	 */
	u64 (*hypercall)(u64 operation, u64 argument, u64 more[2]);
	const char *hypercall_address;

	/* Can this CPU be virtualised at all? Reads CPUID and MSRs, changes nothing. Called on each CPU before enable(). */
	int (*examine)(struct refusal *refusal);

	/* Setup step 1, on the loading CPU, for every vcpu: allocate and fill what does not depend on the CPU. */
	int (*allocate)(struct vcpu *vcpu);

	/*
	 * Setup step 2, on each CPU: enable VMX or SVM, or refuse and leave the CPU as it was, except
	 * that VMX may have been locked.
	 */
	int (*enable)(struct vcpu *vcpu, struct refusal *refusal);
	void (*disable)(struct vcpu *vcpu);

	/* Setup step 3, on each CPU: fill guest state and controls and enter; returns in guest mode, 0 or refusal->error. */
	int (*enter)(struct vcpu *vcpu, struct refusal *refusal);

	/*
	 * Tear-down, on each CPU, in host mode: complete vcpu->context with the current guest
	 * state, disable VMX or SVM, and continue as the guest.
	 */
	__attribute__((noreturn)) void (*leave)(struct vcpu *vcpu);

	u64 (*read[GUEST_FIELDS])(const struct vcpu *vcpu);
	void (*write_cr0)(struct vcpu *vcpu, u64 value);
	void (*write_efer)(struct vcpu *vcpu, u64 value);
	void (*write_rflags)(struct vcpu *vcpu, u64 value);

	/* The next VM entry starts at this RIP, without blocking by STI or MOV SS. */
	void (*continue_at)(struct vcpu *vcpu, u64 rip);

	/* The next entry delivers this exception; error_code is ignored for vectors without one. */
	void (*inject)(struct vcpu *vcpu, enum vector vector, u32 error_code);

	/*
	 * A single-step trap is due before the next instruction: #DB with BS in DR6, and with
	 * these of the bits 3:0.
	 */
	void (*single_step)(struct vcpu *vcpu, u64 breakpoints);

	/*
	 * NMI-window exiting on or off: an exit as soon as the guest can take the pending NMI.
	 * NULL: NMIs do not exit.
	 */
	void (*request_nmi_window)(struct vcpu *vcpu, bool wanted);
	/* Whether the guest handles an NMI, or is about to. NULL: NMIs do not exit. */
	bool (*nmis_are_blocked)(const struct vcpu *vcpu);

	/*
	 * The guest has changed the MTRRs of this CPU. NULL: they apply to the guest as to host mode, and
	 * writes to them do not exit (APM2 15.25.8).
	 */
	void (*change_memory_types)(struct vcpu *vcpu);

	/*
	 * Have the guest wait for a SIPI from the next entry on; set its state outside of struct vcpu to what INIT
	 * leaves; and let it run in the page of the SIPI that has exited. NULL: INIT and SIPI do not exit.
	 */
	void (*wait_for_sipi)(struct vcpu *vcpu);
	void (*reset)(struct vcpu *vcpu);
	void (*start)(struct vcpu *vcpu);

	/*
	 * The exit information of the last exit, for the crash report: up to DESCRIPTION_BYTES with the zero, where all
	 * fields of either vendor fit with 16 digits each.
	 */
	void (*describe_exit)(struct vcpu *vcpu, char *line, size_t size);
};

extern const struct backend svm_backend;
extern const struct backend vmx_backend;

#endif
