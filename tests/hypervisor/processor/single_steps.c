// SPDX-License-Identifier: MIT
/* IA32_DEBUGCTL, and TF behind an exit on processors that have it: with BTF only branches trap (SDM 3B 18.4.3, APM2 13.2.2). */
#include "fake_processor.h"
#include "svm/exit.h"
#include "svm/vmcb.h"
#include "vmx/exit.h"
#include "vmx/vmcs.h"

#define RIP 0x1000
#define DEBUGCTL_LBR BIT_ULL_AT(0)

static const struct {
	u64 debugctl;
	bool traps;
} cases[] = {
	{ 0, true },
	{ DEBUGCTL_LBR, true },
	{ DEBUGCTL_BTF, false },
	{ DEBUGCTL_BTF | DEBUGCTL_LBR, false },
};

/* An exit has saved the guest's IA32_DEBUGCTL, and cleared the MSR (SDM 3C 28.3.1, 28.5.1). */
static void test_vmx(void)
{
	for (unsigned int i = 0; i < COUNT_OF(cases); i++) {
		struct vcpu *vcpu;

		set_up_intel();
		vcpu = enter_intel();
		fake_vmcs[VMCS_GUEST_DEBUGCTL] = cases[i].debugctl;
		fake_vmcs[VMCS_EXIT_REASON] = REASON_CPUID;
		fake_vmcs[VMCS_INSTRUCTION_LENGTH] = 2;
		fake_vmcs[VMCS_GUEST_RIP] = RIP;
		fake_vmcs[VMCS_GUEST_RFLAGS] = RFLAGS_ALWAYS | RFLAGS_TF;
		vmx_handle_exit(vcpu);
		CHECK(fake_vmcs[VMCS_GUEST_RIP] == RIP + 2);
		CHECK(fake_vmcs[VMCS_GUEST_PENDING_DEBUG] == (cases[i].traps ? DR6_BS : 0));
		CHECK(!fake_vmcs[VMCS_ENTRY_EVENT]);
		forget_vcpu();
	}
}

/* The MSR is the guest's in host mode too. */
static void test_svm(void)
{
	for (unsigned int i = 0; i < COUNT_OF(cases); i++) {
		u32 trap = EVENT_VALID | EVENT_EXCEPTION | VECTOR_DB;
		struct vmcb *vmcb;
		struct vcpu *vcpu;

		set_up_amd();
		vcpu = enter_amd();
		set_msr(MSR_DEBUGCTL, cases[i].debugctl);
		vmcb = vcpu->vmcb;
		vmcb->exit_code = VMEXIT_CPUID;
		vmcb->rip = RIP;
		vmcb->next_rip = RIP + 2;
		vmcb->rflags = RFLAGS_ALWAYS | RFLAGS_TF;
		svm_handle_exit(vcpu, vmcb);
		CHECK(vmcb->rip == RIP + 2);
		CHECK(vmcb->event_injection == (cases[i].traps ? trap : 0));
		CHECK(!!(vmcb->dr6 & DR6_BS) == cases[i].traps);
		forget_vcpu();
	}
}

/* The MSR of the OS becomes the guest's, and what the guest has last becomes the OS'. */
static void test_loading(void)
{
	struct vcpu *vcpu;

	set_up_intel();
	set_msr(MSR_DEBUGCTL, DEBUGCTL_LBR);
	vcpu = enter_intel();
	CHECK(fake_vmcs[VMCS_GUEST_DEBUGCTL] == DEBUGCTL_LBR);
	set_msr(MSR_DEBUGCTL, 0);
	fake_vmcs[VMCS_GUEST_DEBUGCTL] = DEBUGCTL_BTF;
	leave(vcpu);
	CHECK(get_msr(MSR_DEBUGCTL) == DEBUGCTL_BTF);
	forget_vcpu();
}

void test_single_steps(void)
{
	test_loading();
	test_vmx();
	test_svm();
}
