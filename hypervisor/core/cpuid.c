// SPDX-License-Identifier: MIT
#include "cpuid.h"

#include "completion.h"
#include "cpuid_bits.h"
#include "version.h"

#define HYPERVISOR_LEAF_MAX 0x40000001u

static void set(struct vcpu *vcpu, u64 a, u64 b, u64 c, u64 d)
{
	vcpu->regs.rax = a;
	vcpu->regs.rbx = b;
	vcpu->regs.rcx = c;
	vcpu->regs.rdx = d;
}

/* What the processor says, for the guest's EAX and ECX. */
static inline void ask_processor(const struct vcpu *vcpu, u64 *a, u64 *b, u64 *c, u64 *d)
{
	cpuid_wide(vcpu->regs.rax, vcpu->regs.rcx, a, b, c, d);
}

static out_of_line void answer_as_processor(struct vcpu *vcpu)
{
	u64 a, b, c, d;

	ask_processor(vcpu, &a, &b, &c, &d);
	set(vcpu, a, b, c, d);
	complete_instruction(vcpu);
}

/* VMX and SMX are hidden, a hypervisor is announced, OSXSAVE mirrors the guest's CR4. */
static void answer_leaf_1(struct vcpu *vcpu)
{
	u64 cr4 = vcpu->backend->read[GUEST_CR4](vcpu);
	u64 a, b, c, d;

	ask_processor(vcpu, &a, &b, &c, &d);
	c &= ~(CPUID_1_ECX_VMX | CPUID_1_ECX_SMX | CPUID_1_ECX_OSXSAVE);
	c |= CPUID_1_ECX_HYPERVISOR;
	if (cr4 & CR4_OSXSAVE)
		c |= CPUID_1_ECX_OSXSAVE;
	set(vcpu, a, b, c, d);
	complete_instruction(vcpu);
}

/*
 * In subleaf 0 OSPKE mirrors the guest's CR4. In subleaf 1 RDMSRLIST and WRMSRLIST are hidden: they
 * access memory, and of the MSRs in their list some are guarded; no control enables them.
 */
static void answer_leaf_7(struct vcpu *vcpu)
{
	bool is_subleaf_0 = !(u32)vcpu->regs.rcx;
	u64 cr4 = vcpu->backend->read[GUEST_CR4](vcpu);
	u64 a, b, c, d;

	ask_processor(vcpu, &a, &b, &c, &d);
	if (is_subleaf_0) {
		c &= ~CPUID_7_ECX_OSPKE;
		if (cr4 & CR4_PKE)
			c |= CPUID_7_ECX_OSPKE;
	} else if ((u32)vcpu->regs.rcx == 1) {
		a &= ~CPUID_7_1_EAX_MSRLIST;
	}
	set(vcpu, a, b, c, d);
	complete_instruction(vcpu);
}

/*
 * AESKLE mirrors the guest's CR4.KL, together with what firmware has activated, which only the
 * processor knows: ask it with the guest's CR4.KL (SDM 2A CPUID, leaf 19H). A guest that has the bit
 * set shows that the processor has it.
 */
static void answer_leaf_19(struct vcpu *vcpu)
{
	u64 guest_cr4 = vcpu->backend->read[GUEST_CR4](vcpu), host_cr4 = read_cr4();
	u64 a, b, c, d;

	if (guest_cr4 & CR4_KL)
		write_cr4(host_cr4 | CR4_KL);
	ask_processor(vcpu, &a, &b, &c, &d);
	if (guest_cr4 & CR4_KL)
		write_cr4(host_cr4);
	set(vcpu, a, b, c, d);
	complete_instruction(vcpu);
}

/*
 * SVM is hidden, and SKINIT with it. Intel's processors have SYSCALL in 64-bit mode only, and say so
 * (SDM 2A CPUID, table 3-8); host mode is always in it.
 */
static void answer_leaf_80000001(struct vcpu *vcpu)
{
	const struct backend *backend = vcpu->backend;
	bool has_syscall = backend->is_svm || backend->read[GUEST_CODE_BITS](vcpu) == 64;
	u64 a, b, c, d;

	ask_processor(vcpu, &a, &b, &c, &d);
	c &= ~(CPUID_80000001_ECX_SVM | CPUID_80000001_ECX_SKINIT);
	if (!has_syscall)
		d &= ~CPUID_80000001_EDX_SYSCALL;
	set(vcpu, a, b, c, d);
	complete_instruction(vcpu);
}

/* Reserved where SVM does not exist (APM3 E.4.9); on Intel a leaf behind the last one, with an answer of its own. */
static void answer_leaf_8000000a(struct vcpu *vcpu)
{
	if (!vcpu->backend->is_svm) {
		answer_as_processor(vcpu);
		return;
	}
	set(vcpu, 0, 0, 0, 0);
	complete_instruction(vcpu);
}

/* Basic leaf n is at 2n, extended leaf 80000000 + n at 2n + 1: the number of the leaf, rotated left by one. */
#define LEAF_INDEX(leaf) ((u32)(leaf) << 1 | (u32)(leaf) >> 31)
#define INDEXED_LEAVES 64

/* The leaves of which the guest is told something else than what the processor says. */
static void (*const answers[INDEXED_LEAVES])(struct vcpu *vcpu) = {
	[LEAF_INDEX(1)] = answer_leaf_1,
	[LEAF_INDEX(7)] = answer_leaf_7,
	[LEAF_INDEX(0x19)] = answer_leaf_19,
	[LEAF_INDEX(0x80000001)] = answer_leaf_80000001,
	[LEAF_INDEX(0x8000000a)] = answer_leaf_8000000a,
};

/* 0x40000000 to 0x400000ff are left to hypervisors (SDM 2A CPUID, APM3 E.3.13). */
static out_of_line void answer_leaf_without_index(struct vcpu *vcpu)
{
	const u32 *signature = (const u32 *)VENEER_SIGNATURE;
	u32 leaf = vcpu->regs.rax;

	if (leaf >> 8 != 0x400000) {
		answer_as_processor(vcpu);
		return;
	}
	if (leaf == 0x40000000)
		set(vcpu, HYPERVISOR_LEAF_MAX, signature[0], signature[1], signature[2]);
	else if (leaf == 0x40000001)
		set(vcpu, VENEER_VERSION, 0, 0, 0);
	else
		set(vcpu, 0, 0, 0, 0);
	complete_instruction(vcpu);
}

static inline void answer(struct vcpu *vcpu)
{
	u32 index = LEAF_INDEX(vcpu->regs.rax);

	if (index >= INDEXED_LEAVES)
		answer_leaf_without_index(vcpu);
	else if (answers[index])
		answers[index](vcpu);
	else
		answer_as_processor(vcpu);
}

/*
 * The processor has CPUID faulting. With it on, CPUID raises #GP(0) outside of CPL 0; the exit comes
 * before the fault on VMX. The MSR is not switched, so that host mode, at CPL 0, reads the guest's.
 */
static rarely_called void answer_unless_faulting(struct vcpu *vcpu)
{
	if (vcpu->backend->read[GUEST_CPL](vcpu) &&
	    read_msr(vcpu->cpuid_fault_msr) & vcpu->cpuid_fault_bit)
		inject_exception(vcpu, VECTOR_GP, 0);
	else
		answer(vcpu);
}

/* CPUID exits unconditionally on VMX (SDM 3C 26.1.2) and by intercept on SVM (APM2 15.9). */
void handle_cpuid(struct vcpu *vcpu)
{
	if (unlikely_(vcpu->cpuid_fault_msr))
		answer_unless_faulting(vcpu);
	else
		answer(vcpu);
}
