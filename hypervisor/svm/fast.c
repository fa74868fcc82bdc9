// SPDX-License-Identifier: MIT
/* The exit that happens most, CPUID of a leaf that no policy concerns, in as few instructions as it takes. */
#include "../core/fast_path.h"
#include "svm.h"

/* Apart, so that the short way does not keep a register for what it returns. */
static bool __attribute__((noinline, cold)) not_plain(void)
{
	return false;
}

static inline bool answer(struct vcpu *vcpu, struct vmcb *vmcb, u64 next_rip, u64 leaf, u32 subleaf)
{
	record_exit(vcpu, EXIT_CPUID, VMEXIT_CPUID, vmcb->rip, leaf, subleaf);
	vmcb->rip = next_rip;
	vmcb->interrupt_shadow = 0;
	vmcb->event_injection = 0;
	/* In 64-bit mode CPUID clears the upper halves (SDM 2A CPUID). */
	asm volatile("cpuid"
		     : "=a"(vmcb->rax), "=b"(vcpu->regs.rbx), "=c"(vcpu->regs.rcx),
		       "=d"(vcpu->regs.rdx)
		     : "a"((u32)leaf), "c"(subleaf));
	return true;
}

bool svm_handle_plain_cpuid(struct vcpu *vcpu, struct vmcb *vmcb, u64 rdx, u32 subleaf)
{
	u64 leaf = vmcb->rax;

	(void)rdx;
	if (unlikely_(vmcb->exit_code != VMEXIT_CPUID))
		return not_plain();
	if (unlikely_(!is_plain_leaf(leaf)))
		return not_plain();
	if (unlikely_(vmcb->rflags & (RFLAGS_TF | RFLAGS_RF)))
		return not_plain();
	if (vcpu->has_next_rip)
		return answer(vcpu, vmcb, vmcb->next_rip, leaf, subleaf);
	if (unlikely_(!is_unprefixed_cpuid(vcpu, vmcb->rip, vmcb->cr3) ||
		      !(vmcb->cs.attributes & CS_LONG)))
		return not_plain();
	return answer(vcpu, vmcb, vmcb->rip + 2, leaf, subleaf);
}
