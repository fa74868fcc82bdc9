// SPDX-License-Identifier: MIT
/* #VMEXIT, translated for the core. */
#include "exit.h"

#include "../core/exit.h"
#include "../core/host.h"
#include "../core/start_cpus.h"
#include "setup.h"
#include "svm_cpu.h"

/* Marks exit codes for which translate() finds the reason. */
#define EXIT_TO_TRANSLATE EXIT_REASONS

static const u8 reasons[] = {
	[VMEXIT_EXCEPTION_GP] = EXIT_TO_TRANSLATE,
	[VMEXIT_CPUID] = EXIT_CPUID,
	[VMEXIT_INVD] = EXIT_INVD,
	[VMEXIT_INVLPGA] = EXIT_NESTED,
	[VMEXIT_MSR] = EXIT_TO_TRANSLATE,
	[VMEXIT_SHUTDOWN] = EXIT_SHUTDOWN,
	[VMEXIT_VMRUN] = EXIT_NESTED,
	[VMEXIT_VMMCALL] = EXIT_HYPERCALL,
	[VMEXIT_VMLOAD] = EXIT_NESTED,
	[VMEXIT_VMSAVE] = EXIT_NESTED,
	[VMEXIT_STGI] = EXIT_NESTED,
	[VMEXIT_CLGI] = EXIT_NESTED,
	[VMEXIT_SKINIT] = EXIT_NESTED,
	[VMEXIT_XSETBV] = EXIT_XSETBV,
};

static enum exit_reason translate(struct vcpu *vcpu, const struct vmcb *vmcb, u64 code)
{
	u32 event = vmcb->exit_int_info;

	switch (code) {
	case VMEXIT_EXCEPTION_GP:
		vcpu->fault_error = vmcb->exit_info1;
		vcpu->interrupted_event = event & EVENT_VALID ? event : 0;
		return EXIT_GP_FAULT;
	case VMEXIT_NPF:
		if (host_start_page() && vmcb->exit_info2 >> 12 == LOCAL_APIC_ADDRESS >> 12) {
			vcpu->apic_offset = vmcb->exit_info2 & (PAGE_BYTES - 1);
			return EXIT_APIC_WRITE;
		}
		return EXIT_NESTED_PAGING;
	default:
		break;
	}
	/* QEMU 7.2 keeps the code in 32 bits. */
	if ((u32)code != (u32)VMEXIT_INVALID)
		return EXIT_OTHER;
	if (!svm_of(vcpu)->launched)
		svm_return_from_refused_entry(vcpu);
	return EXIT_INVALID_STATE;
}

static rarely_called void handle_rare_exit(struct vcpu *vcpu, const struct vmcb *vmcb, u64 code)
{
	handle_exit(vcpu, translate(vcpu, vmcb, code), code, vcpu->rip);
}

/* Called by enter.S, which has saved all GPRs but RSP in struct vcpu, and loads them from there. */
void svm_handle_exit(struct vcpu *vcpu, struct vmcb *vmcb)
{
	u64 code = vmcb->exit_code, rip = vmcb->rip;
	size_t reason = EXIT_TO_TRANSLATE;

	vcpu->rip = rip;
	vcpu->rflags = vmcb->rflags;
	vcpu->next_rip = vmcb->next_rip;
	vmcb->tlb_control = 0;
	vmcb->event_injection = 0;
	if (likely_(code < COUNT_OF(reasons)))
		reason = reasons[code];
	if (unlikely_(reason == EXIT_TO_TRANSLATE)) {
		if (code != VMEXIT_MSR) {
			handle_rare_exit(vcpu, vmcb, code);
			return;
		}
		reason = vmcb->exit_info1 ? EXIT_WRMSR : EXIT_RDMSR;
	}
	handle_exit(vcpu, reason, code, rip);
}
