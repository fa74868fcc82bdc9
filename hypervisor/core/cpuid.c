// SPDX-License-Identifier: MIT
#include "policy.h"

#define LEAF1_ECX_VMX BIT_ULL_AT(5)
#define LEAF1_ECX_SMX BIT_ULL_AT(6)
#define LEAF1_ECX_OSXSAVE BIT_ULL_AT(27)
#define LEAF1_ECX_HYPERVISOR BIT_ULL_AT(31)
#define LEAF7_ECX_OSPKE BIT_ULL_AT(4)
#define LEAF80000001_ECX_SVM BIT_ULL_AT(2)
#define LEAF80000001_ECX_SKINIT BIT_ULL_AT(12)

#define HYPERVISOR_LEAF_MAX 0x40000001u

static void set(struct regs *regs, u32 a, u32 b, u32 c, u32 d)
{
	regs->rax = a;
	regs->rbx = b;
	regs->rcx = c;
	regs->rdx = d;
}

/* 0x40000000 to 0x400000ff are left to hypervisors (SDM 2A CPUID, APM3 E.3.13). */
static void answer_hypervisor_leaf(struct regs *regs, u32 leaf)
{
	const u32 *signature = (const u32 *)SIGNATURE;

	if (leaf == 0x40000000)
		set(regs, HYPERVISOR_LEAF_MAX, signature[0], signature[1], signature[2]);
	else if (leaf == 0x40000001)
		set(regs, VENEER_VERSION, 0, 0, 0);
	else
		set(regs, 0, 0, 0, 0);
}

/* Bits that mirror the guest's CR4, or tell of virtualization while it is hidden. */
static void adjust_feature_leaf(struct vcpu *vcpu, u32 leaf, u32 subleaf)
{
	struct regs *regs = &vcpu->regs;
	u64 cr4 = vcpu->backend->read(vcpu, GUEST_CR4);

	if (leaf == 1) {
		regs->rcx &= ~(LEAF1_ECX_VMX | LEAF1_ECX_SMX | LEAF1_ECX_OSXSAVE);
		regs->rcx |= LEAF1_ECX_HYPERVISOR;
		if (cr4 & CR4_OSXSAVE)
			regs->rcx |= LEAF1_ECX_OSXSAVE;
	} else if (leaf == 7 && subleaf == 0) {
		regs->rcx &= ~LEAF7_ECX_OSPKE;
		if (cr4 & CR4_PKE)
			regs->rcx |= LEAF7_ECX_OSPKE;
	} else if (leaf == 0x80000001) {
		regs->rcx &= ~(LEAF80000001_ECX_SVM | LEAF80000001_ECX_SKINIT);
	} else if (leaf == 0x8000000a) {
		/* Reserved where SVM does not exist (APM3 E.4.9). */
		set(regs, 0, 0, 0, 0);
	}
}

/* CPUID exits unconditionally on VMX (SDM 3C 26.1.2) and by intercept on SVM (APM2 15.9). */
bool handle_cpuid(struct vcpu *vcpu)
{
	struct regs *regs = &vcpu->regs;
	u32 leaf = regs->rax, subleaf = regs->rcx;
	u32 a, b, c, d;

	if (unlikely_(leaf >> 8 == 0x400000)) {
		answer_hypervisor_leaf(regs, leaf);
	} else {
		cpuid(leaf, subleaf, &a, &b, &c, &d);
		set(regs, a, b, c, d);
		/* 80000001 and 8000000a, and a few neighbours that adjust_feature_leaf() leaves alone. */
		if (unlikely_(leaf == 1 || leaf == 7 || (leaf & ~0xbu) == 0x80000000))
			adjust_feature_leaf(vcpu, leaf, subleaf);
	}
	complete_instruction(vcpu);
	return false;
}
