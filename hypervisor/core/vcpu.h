/* SPDX-License-Identifier: MIT */
/* One virtualised CPU: its registers at an exit, its host state, its counters and its trace. */
#ifndef VENEER_VCPU_H
#define VENEER_VCPU_H

#include "backend.h"
#include "offsets.h"
#include "x86.h"

/* In the order of their numbers in the instruction encoding. */
struct regs {
	u64 rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi;
	u64 r8, r9, r10, r11, r12, r13, r14, r15;
};

/*
 * The state of a CPU outside of its GPRs, captured when Veneer is loaded and restored when it is
 * unloaded.
 */
struct context {
	struct regs regs;
	u64 cr0, cr3, cr4, efer;
	u64 rip, rflags;
	u64 dr7;
	u64 fs_base, gs_base;
	struct table_register gdtr;
	u8 padding_gdtr[6];
	struct table_register idtr;
	u8 padding_idtr[6];
	u16 cs, ss, ds, es, fs, gs, ldtr, tr;
	/* SVM: interrupts are off globally until STGI (APM2 15.17). */
	u8 stgi;
};

enum exit_reason {
	EXIT_OTHER,
	EXIT_CPUID,
	EXIT_RDMSR,
	EXIT_WRMSR,
	EXIT_XSETBV,
	EXIT_INVD,
	EXIT_HYPERCALL,
	/* An instruction of VMX or SVM. */
	EXIT_NESTED,
	EXIT_GP_FAULT,
	EXIT_CR_ACCESS,
	EXIT_NMI,
	EXIT_NMI_WINDOW,
	EXIT_SHUTDOWN,
	EXIT_NESTED_PAGING,
	EXIT_TASK_SWITCH,
	EXIT_GETSEC,
	EXIT_INIT,
	EXIT_SIPI,
	EXIT_INVALID_STATE,
	EXIT_MACHINE_CHECK,
	/* RDMSR and WRMSRNS with the number of the MSR in the instruction. */
	EXIT_RDMSR_IMMEDIATE,
	EXIT_WRMSRNS_IMMEDIATE,
	/* Of a feature that is hidden, or newer than Veneer. */
	EXIT_UNKNOWN_INSTRUCTION,
	/* A write to the local APIC, where start-up IPIs must be seen by the CPU that sends them. */
	EXIT_APIC_WRITE,
	EXIT_REASONS
};

/* The last exits of a CPU; exit number n, counted from 1, is in entry n % TRACE_ENTRIES. */
#define TRACE_ENTRIES 64
struct trace_entry {
	u64 rip;
	/* The vendor's own number: SVM exit code, VMX basic exit reason. */
	u32 code;
	u32 eax, ecx;
	u32 reserved[3];
};

/*
 * Directly above the CPU's host stack: at an exit RSP points to it, so that registers are stored
 * relative to RSP. Assembly knows the offsets of the first members.
 */
struct vcpu {
	/* The guest's, during an exit. */
	struct regs regs;
	/* Operand of VMRUN, and its address in host mode; unused on VMX. */
	u64 vmcb_physical;
	struct vmcb *vmcb;
	u64 host_cr0, host_cr3, host_cr4;
	struct table_register host_gdtr;
	u8 padding_gdtr[6];
	struct table_register host_idtr;
	u8 padding_idtr[6];
	u16 host_ss;
	u8 padding_ss[6];
	/* The IDT for use while Veneer's TSS is not loaded. */
	struct table_register early_idtr;
	u8 padding_early[6];
	struct context context;

	/* The guest's at the exit. Changes go through struct backend. */
	u64 rip, rflags;
	/* RIP of the next instruction; 0 if the hardware does not report it (SVM without NRIPS). */
	u64 next_rip;

	const struct backend *backend;
	void *backend_data;
	unsigned int cpu;
	bool in_guest_mode;
	/*
	 * EXITINTINFO or IDT-vectoring information: the event during whose delivery the exit came (0: none).
	 * inject_exception() clears it.
	 */
	u32 interrupted_event;
	/* Error code of an intercepted exception; selector of a task switch. */
	u32 fault_error;
	/* NMIs not yet injected; also incremented by the NMI handler of host mode. */
	u32 pending_nmis;
	/* #MC not yet injected, see machine_check.c. */
	bool machine_check_pending;
	/* The value that an exiting write to CR0 or CR4 would leave, and which of the two. */
	u64 cr_value;
	u8 cr_number;
	/* The number of the register (struct regs) of an immediate-form RDMSR or WRMSRNS, and the MSR. */
	u8 msr_operand;
	u32 msr;
	/* Bits of CR0 that the guest cannot clear (no unrestricted guest: PE and PG). */
	u64 cr0_always;
	/*
	 * The MSR and its bit with which the OS can make CPUID fault outside of CPL 0; 0: this
	 * processor has none.
	 */
	u32 cpuid_fault_msr;
	u64 cpuid_fault_bit;
	/* EFER as it is in host mode. */
	u64 host_efer;

	u64 exits;
	u64 counts[EXIT_REASONS];
	struct trace_entry trace[TRACE_ENTRIES];

	/* Host descriptor tables and stack, see host_state.c. */
	u64 host_cs;
	u16 host_tr;
	u64 host_tss_base;
	struct descriptor_tables *tables;

	/* Number of its local APIC, where CPUs are started anew. */
	u32 apic_id;
	/* Offset into the local APIC's page of an exiting write. */
	u32 apic_offset;
	/* The page in which the OS has last told this CPU to start (start_cpus.c). */
	u8 start_vector;
};

/*
 * The host stack: [stack_bottom, vcpu), with a guard page below it that is not mapped in host
 * mode.
 */
#define STACK_PAGES 4
static inline u64 stack_bottom(const struct vcpu *vcpu)
{
	return (u64)vcpu - STACK_PAGES * PAGE_BYTES;
}

#define ASSERT_OFFSET(type, member, offset) \
	_Static_assert(offsetof(struct type, member) == (offset), #type "." #member)
ASSERT_OFFSET(vcpu, vmcb_physical, VCPU_VMCB_PHYSICAL);
ASSERT_OFFSET(vcpu, vmcb, VCPU_VMCB);
ASSERT_OFFSET(vcpu, host_cr0, VCPU_HOST_CR0);
ASSERT_OFFSET(vcpu, host_cr3, VCPU_HOST_CR3);
ASSERT_OFFSET(vcpu, host_cr4, VCPU_HOST_CR4);
ASSERT_OFFSET(vcpu, host_gdtr, VCPU_HOST_GDTR);
ASSERT_OFFSET(vcpu, host_idtr, VCPU_HOST_IDTR);
ASSERT_OFFSET(vcpu, host_ss, VCPU_HOST_SS);
ASSERT_OFFSET(vcpu, early_idtr, VCPU_EARLY_IDTR);
ASSERT_OFFSET(vcpu, context, VCPU_CONTEXT);
ASSERT_OFFSET(context, cr0, CONTEXT_CR0);
ASSERT_OFFSET(context, cr3, CONTEXT_CR3);
ASSERT_OFFSET(context, cr4, CONTEXT_CR4);
ASSERT_OFFSET(context, efer, CONTEXT_EFER);
ASSERT_OFFSET(context, rip, CONTEXT_RIP);
ASSERT_OFFSET(context, rflags, CONTEXT_RFLAGS);
ASSERT_OFFSET(context, dr7, CONTEXT_DR7);
ASSERT_OFFSET(context, fs_base, CONTEXT_FS_BASE);
ASSERT_OFFSET(context, gs_base, CONTEXT_GS_BASE);
ASSERT_OFFSET(context, gdtr, CONTEXT_GDTR);
ASSERT_OFFSET(context, idtr, CONTEXT_IDTR);
ASSERT_OFFSET(context, cs, CONTEXT_CS);
ASSERT_OFFSET(context, ss, CONTEXT_SS);
ASSERT_OFFSET(context, ds, CONTEXT_DS);
ASSERT_OFFSET(context, es, CONTEXT_ES);
ASSERT_OFFSET(context, fs, CONTEXT_FS);
ASSERT_OFFSET(context, gs, CONTEXT_GS);
ASSERT_OFFSET(context, ldtr, CONTEXT_LDTR);
ASSERT_OFFSET(context, tr, CONTEXT_TR);
ASSERT_OFFSET(context, stgi, CONTEXT_STGI);

#endif
