// SPDX-License-Identifier: MIT
/* Features that CPUID announces, and what the guest gets of them. */
#include "fake_processor.h"
#include "svm/exit.h"
#include "vmx/vmx_cpu.h"

#define RIP 0x1000

/* An exit of 64-bit code at a privilege level, which is single-stepped if the VMCB has TF. */
static void exit_svm(struct vcpu *vcpu, u64 code, u64 information, u8 cpl)
{
	struct vmcb *vmcb = vcpu->vmcb;

	vmcb->exit_code = code;
	vmcb->exit_info1 = information;
	vmcb->exit_int_info = 0;
	vmcb->rip = RIP;
	vmcb->next_rip = RIP + 2;
	vmcb->rflags = RFLAGS_ALWAYS | (vmcb->rflags & RFLAGS_TF);
	vmcb->cpl = cpl;
	svm_handle_exit(vcpu, vmcb);
}

static bool faults_on_svm(const struct vcpu *vcpu)
{
	return vcpu->vmcb->rip == RIP &&
	       vcpu->vmcb->event_injection ==
		       (EVENT_VALID | EVENT_EXCEPTION | EVENT_ERROR_CODE | VECTOR_GP);
}

/* INVLPGB and TLBSYNC need a bit of the VMCB, which is reserved without them. */
static void test_invlpgb(void)
{
	struct vcpu *vcpu;

	set_up_amd();
	vcpu = enter_amd();
	CHECK(!(vcpu->vmcb->nested_control & VMCB_INVLPGB));
	forget_vcpu();
	set_up_amd();
	set_cpuid(0x80000008, 0, 48, 1u << 3, 0, 0);
	vcpu = enter_amd();
	CHECK(vcpu->vmcb->nested_control & VMCB_INVLPGB);
	forget_vcpu();
}

static void test_cpuid_faulting_on_svm(void)
{
	struct vcpu *vcpu;

	set_up_amd();
	set_cpuid(0x80000021, 0, 1u << 17, 0, 0, 0);
	set_msr(MSR_HWCR, 0);
	vcpu = enter_amd();
	exit_svm(vcpu, VMEXIT_CPUID, 0, 3);
	CHECK(vcpu->vmcb->rip == RIP + 2 && !vcpu->vmcb->event_injection);
	set_msr(MSR_HWCR, 1ull << 35);
	exit_svm(vcpu, VMEXIT_CPUID, 0, 0);
	CHECK(vcpu->vmcb->rip == RIP + 2 && !vcpu->vmcb->event_injection);
	exit_svm(vcpu, VMEXIT_CPUID, 0, 3);
	CHECK(faults_on_svm(vcpu));
	forget_vcpu();
}

static void test_cpuid_faulting_on_vmx(void)
{
	const u32 event = EVENT_VALID | EVENT_TYPE_EXCEPTION | EVENT_ERROR_CODE | VECTOR_GP;
	struct vcpu *vcpu;

	set_up_intel();
	set_msr(MSR_PLATFORM_INFO, 1ull << 31);
	set_msr(MSR_MISC_FEATURES_ENABLES, 0);
	vcpu = enter_intel();
	for (unsigned int enabled = 0; enabled < 2; enabled++) {
		for (u32 cpl = 0; cpl <= 3; cpl += 3) {
			set_msr(MSR_MISC_FEATURES_ENABLES, enabled);
			fake_vmcs[GUEST_ACCESS_RIGHTS(SEGMENT_SS)] = 0x93 | cpl << 5;
			exit_by(vcpu, REASON_CPUID, 0, 0, 2);
			CHECK(fake_vmcs[VMCS_ENTRY_EVENT] == (enabled && cpl ? event : 0));
			CHECK(fake_vmcs[VMCS_GUEST_RIP] == (enabled && cpl ? RIP : RIP + 2));
		}
	}
	forget_vcpu();
}

/* AESKLE of leaf 19h is the guest's, and host CR4 is as before. */
static void test_key_locker(void)
{
	struct vcpu *vcpu;

	set_up_intel();
	set_cpuid(0x19, 0, 0, 4, 0, 0);
	vcpu = enter_intel();
	for (unsigned int enabled = 0; enabled < 2; enabled++) {
		u64 host_cr4 = fake_cr4;

		fake_vmcs[VMCS_GUEST_CR4] = CR4_PAE | (enabled ? CR4_KL : 0);
		vcpu->regs = (struct regs){ .rax = 0x19 };
		exit_by(vcpu, REASON_CPUID, 0, 0, 2);
		CHECK(vcpu->regs.rbx == (enabled ? 5 : 4) && fake_cr4 == host_cr4);
	}
	forget_vcpu();
}

/* SVM: host mode takes NX whatever the OS did at load, and a change of EFER flushes what VMRUN would keep. */
static void test_nx(void)
{
	const u64 efer = EFER_LME | EFER_LMA | EFER_SCE;
	struct vcpu *vcpu;

	set_up_amd();
	set_msr(MSR_EFER, efer);
	vcpu = enter_amd();
	CHECK(get_msr(MSR_EFER) & EFER_NXE && !(vcpu->vmcb->efer & EFER_NXE));
	exit_svm(vcpu, VMEXIT_CPUID, 0, 0);
	CHECK(!vcpu->vmcb->tlb_control);
	vcpu->regs = (struct regs){ .rax = efer | EFER_NXE, .rcx = MSR_EFER };
	exit_svm(vcpu, VMEXIT_MSR, 1, 0);
	CHECK(vcpu->vmcb->efer & EFER_NXE && vcpu->vmcb->tlb_control == VMCB_TLB_FLUSH_ALL);
	leave(vcpu);
	CHECK(vcpu->context.efer == (efer | EFER_NXE));
	forget_vcpu();
}

/* There are no error codes in real mode (SDM 2A "Real-Address Mode Exceptions", APM2 8.2). */
static void test_real_mode(void)
{
	struct vcpu *vcpu;

	set_up_amd();
	vcpu = enter_amd();
	vcpu->vmcb->cr0 = CR0_ET;
	vcpu->vmcb->efer = EFER_SVME;
	vcpu->vmcb->cs.attributes = 0x9b;
	exit_svm(vcpu, VMEXIT_EXCEPTION_GP, 0, 0);
	CHECK(vcpu->vmcb->event_injection == (EVENT_VALID | EVENT_EXCEPTION | VECTOR_GP));
	forget_vcpu();
}

/* A trap of a single step ends the shadow of STI in which its instruction was: an interrupt comes in front of the handler. */
static void test_step_in_shadow(void)
{
	struct vcpu *vcpu;

	set_up_amd();
	vcpu = enter_amd();
	vcpu->vmcb->interrupt_shadow = 1;
	vcpu->vmcb->rflags |= RFLAGS_TF;
	exit_svm(vcpu, VMEXIT_CPUID, 0, 0);
	CHECK(vcpu->vmcb->event_injection == (EVENT_VALID | EVENT_EXCEPTION | VECTOR_DB));
	CHECK(!vcpu->vmcb->interrupt_shadow);
	forget_vcpu();
}

void test_features(void)
{
	test_step_in_shadow();
	test_real_mode();
	test_invlpgb();
	test_cpuid_faulting_on_svm();
	test_cpuid_faulting_on_vmx();
	test_key_locker();
	test_nx();
}
