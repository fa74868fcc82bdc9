// SPDX-License-Identifier: MIT
/* The exit that happens most, CPUID of a leaf that no policy concerns, in as few instructions as it takes. */
#include "../core/fast_path.h"
#include "vmx.h"

/* CPUID exits unconditionally (SDM 3C 26.1.2). */
bool vmx_handle_plain_cpuid(struct vcpu *vcpu)
{
	struct regs *regs = &vcpu->regs;
	u32 leaf = regs->rax, subleaf = regs->rcx;
	u64 rip, next;

	if (unlikely_(vmcs_read(VMCS_EXIT_REASON) != REASON_CPUID))
		return false;
	if (unlikely_(!is_plain_leaf(leaf)))
		return false;
	if (unlikely_(vmcs_read(VMCS_GUEST_RFLAGS) & (RFLAGS_TF | RFLAGS_RF)))
		return false;
	if (unlikely_(vmcs_read(VMCS_GUEST_INTERRUPTIBILITY) &
		      (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)))
		return false;
	rip = vmcs_read(VMCS_GUEST_RIP);
	next = rip + vmcs_read(VMCS_INSTRUCTION_LENGTH);
	/* Outside of 64-bit code it wraps there: complete_instruction(). */
	if (unlikely_((rip ^ next) >> 32))
		return false;
	vmcs_write(VMCS_GUEST_RIP, next);
	record_exit(vcpu, EXIT_CPUID, REASON_CPUID, rip, leaf, subleaf);
	/* In 64-bit mode CPUID clears the upper halves (SDM 2A CPUID). */
	asm volatile("cpuid"
		     : "=a"(regs->rax), "=b"(regs->rbx), "=c"(regs->rcx), "=d"(regs->rdx)
		     : "a"(leaf), "c"(subleaf));
	return true;
}
