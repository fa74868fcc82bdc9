// SPDX-License-Identifier: MIT
/*
 * A first VM entry, or VMRUN, that the processor refuses: what is loaded when it returns, and what the refusal says. A CPU
 * may have been in guest mode before, as one that goes offline and online.
 */
#include <string.h>

#include "core/lifecycle.h"
#include "core/nmi.h"
#include "fake_processor.h"
#include "svm/enter.h"
#include "svm/exit.h"
#include "svm/svm_cpu.h"
#include "vmx/enter.h"
#include "vmx/exit.h"
#include "vmx/vmx_cpu.h"

#define LAUNCH_RSP 0x7000
#define OLD_SAVE_AREA 0x3000

static u32 entry_reason;

/* Guest state is saved nowhere, and host state is loaded (SDM 3C 27.8). */
static int refuse_vm_entry(struct vcpu *vcpu)
{
	fake_vmcs[VMCS_EXIT_REASON] = entry_reason;
	fake_vmcs[VMCS_GUEST_RSP] = LAUNCH_RSP;
	fake_vmcs[VMCS_GUEST_RFLAGS] = 0;
	fake_cr0 = fake_vmcs[VMCS_HOST_CR0];
	fake_cr4 = fake_vmcs[VMCS_HOST_CR4];
	set_msr(MSR_PAT, fake_vmcs[VMCS_HOST_PAT] ^ 0x0700000000000000);
	set_msr(MSR_SYSENTER_CS, 0);
	set_msr(MSR_SYSENTER_ESP, 0);
	set_msr(MSR_SYSENTER_EIP, 0);
	set_msr(MSR_DEBUGCTL, 0);
	CHECK(leaves(vcpu, vmx_handle_exit));
	return VMX_ENTRY_REFUSED;
}

static int fail_vmlaunch(struct vcpu *vcpu)
{
	(void)vcpu;
	fake_vmcs[VMCS_INSTRUCTION_ERROR] = 7;
	fake_vmcs[VMCS_ENTRY_EVENT] = EVENT_VALID;
	return VMX_FAILED;
}

static void exit_svm(struct vcpu *vcpu)
{
	svm_handle_exit(vcpu, vcpu->vmcb);
}

static u64 vmrun_code;

static int refuse_vmrun(struct vcpu *vcpu)
{
	vcpu->vmcb->exit_code = vmrun_code;
	CHECK(leaves(vcpu, exit_svm));
	return 1;
}

static void expect_refused(struct vcpu *vcpu, const char *reason, u64 detail, const char *evidence)
{
	struct refusal refusal = { 0 };

	CHECK(vcpu->backend->enter(vcpu, &refusal) == -EIO && refusal.error == -EIO);
	CHECK(!strcmp(refusal.reason, reason) && refusal.detail == detail);
	CHECK(!strcmp(refusal.evidence, evidence));
}

/* What the OS had is back, and the next entry succeeds, as a second load's does. */
static void expect_disabled_on_intel(struct vcpu *vcpu, u64 cr0, u64 cr4)
{
	struct refusal refusal = { 0 };

	fake_cr0 = vcpu->context.cr0;
	fake_cr4 = vcpu->context.cr4;
	fake_vmxoffs = 0;
	vcpu->backend->disable(vcpu);
	CHECK(fake_vmxoffs == 1 && !vmx_of(vcpu)->vmcs_is_current);
	CHECK(fake_cr0 == cr0 && fake_cr4 == cr4);
	fake_launch = NULL;
	CHECK(!vcpu->backend->enable(vcpu, &refusal) && !vcpu->backend->enter(vcpu, &refusal));
	CHECK(vmx_of(vcpu)->launched);
	leave(vcpu);
	CHECK(fake_vmxoffs == 2 && !vmx_of(vcpu)->vmcs_is_current);
}

static struct vcpu *enable_intel(bool was_in_guest_mode)
{
	struct refusal refusal = { 0 };
	struct vcpu *vcpu;

	set_up_intel();
	fake_cr0 &= ~(u64)CR0_NE;
	set_msr(MSR_SYSENTER_CS, 0x10);
	set_msr(MSR_SYSENTER_ESP, 0x8000);
	set_msr(MSR_SYSENTER_EIP, 0x9000);
	set_msr(MSR_DEBUGCTL, 1);
	vcpu = allocate_intel();
	if (was_in_guest_mode) {
		CHECK(!vcpu->backend->enable(vcpu, &refusal) &&
		      !vcpu->backend->enter(vcpu, &refusal));
		leave(vcpu);
		fake_cr0 = vcpu->context.cr0;
		fake_cr4 = vcpu->context.cr4;
	}
	CHECK(!vcpu->backend->enable(vcpu, &refusal));
	return vcpu;
}

/* One that came during the VM entry is raised for the OS, with its banks as they are. */
static void expect_machine_checks(struct vcpu *vcpu, unsigned int count)
{
	CHECK(vcpu->machine_check_pending == count && !fake_machine_checks);
	replay_nmis(vcpu);
	CHECK(fake_machine_checks == count);
	fake_machine_checks = 0;
}

static void test_refused_vm_entry(bool was_in_guest_mode)
{
	const u32 reasons[] = { REASON_ENTRY_FAILURE | 33, REASON_ENTRY_FAILURE | 34,
				REASON_ENTRY_FAILURE | REASON_MACHINE_CHECK };

	for (unsigned int i = 0; i < COUNT_OF(reasons); i++) {
		struct vcpu *vcpu = enable_intel(was_in_guest_mode);
		u64 cr0 = vcpu->context.cr0, cr4 = vcpu->context.cr4, pat = get_msr(MSR_PAT);

		set_msr(MSR_MCG_STATUS, 5);
		entry_reason = reasons[i];
		fake_launch = refuse_vm_entry;
		expect_refused(vcpu, "VM entry failed; the value is the exit reason", reasons[i],
			       " rflags=0");
		CHECK(vcpu->context.rip == (u64)vmx_entry_refused);
		CHECK(vcpu->context.regs.rsp == LAUNCH_RSP && !vcpu->context.stgi);
		/* Still in VMX operation, in which these bits are fixed. */
		CHECK(vcpu->context.cr0 == (cr0 | CR0_NE) && vcpu->context.cr4 == (cr4 | CR4_VMXE));
		CHECK(get_msr(MSR_PAT) == pat && get_msr(MSR_SYSENTER_CS) == 0x10);
		CHECK(get_msr(MSR_SYSENTER_ESP) == 0x8000 && get_msr(MSR_SYSENTER_EIP) == 0x9000);
		CHECK(get_msr(MSR_DEBUGCTL) == 1 && !vmx_of(vcpu)->launched);
		expect_machine_checks(vcpu, i == 2);
		expect_disabled_on_intel(vcpu, cr0, cr4);
		forget_vcpu();
	}
}

static void test_failed_vmlaunch(void)
{
	struct vcpu *vcpu = enable_intel(false);
	u64 cr0 = vcpu->context.cr0, cr4 = vcpu->context.cr4;

	fake_launch = fail_vmlaunch;
	expect_refused(vcpu, "VMLAUNCH failed; the value is the VM-instruction error", 7,
		       " entry-event=80000000");
	CHECK(!vmx_of(vcpu)->launched);
	expect_disabled_on_intel(vcpu, cr0, cr4);
	forget_vcpu();
}

/* A field that the processor lacks is named, whether its value is 0 or not. */
static void test_missing_field(void)
{
	const u64 fields[] = { VMCS_EPT_POINTER, VMCS_EXCEPTION_BITMAP, VMCS_HOST_RIP,
			       VMCS_LINK_POINTER };

	for (unsigned int i = 0; i < COUNT_OF(fields); i++) {
		struct vcpu *vcpu = enable_intel(false);
		u64 cr0 = vcpu->context.cr0, cr4 = vcpu->context.cr4;

		fake_missing_field = fields[i];
		expect_refused(vcpu, "VMWRITE failed; the value is the encoding of the field",
			       fields[i], "");
		fake_missing_field = NO_FIELD;
		expect_disabled_on_intel(vcpu, cr0, cr4);
		forget_vcpu();
	}
}

static void test_refused_vmcs(void)
{
	struct vcpu *vcpu;
	u64 cr0, cr4;

	for (unsigned int i = 0; i < 2; i++) {
		vcpu = enable_intel(false);
		cr0 = vcpu->context.cr0;
		cr4 = vcpu->context.cr4;
		fake_vmclear_fails = !i;
		fake_vmptrld_fails = i;
		expect_refused(vcpu, "VMCLEAR or VMPTRLD failed", vmx_of(vcpu)->vmcs_physical, "");
		fake_vmclear_fails = fake_vmptrld_fails = false;
		expect_disabled_on_intel(vcpu, cr0, cr4);
		forget_vcpu();
	}
}

static void test_refused_vmrun(bool was_in_guest_mode, u64 code)
{
	struct refusal refusal = { 0 };
	struct vcpu *vcpu;
	u64 efer;

	set_up_amd();
	set_msr(MSR_VM_HSAVE_PA, OLD_SAVE_AREA);
	efer = get_msr(MSR_EFER);
	vcpu = allocate_amd();
	if (was_in_guest_mode) {
		CHECK(!vcpu->backend->enable(vcpu, &refusal) &&
		      !vcpu->backend->enter(vcpu, &refusal));
		leave(vcpu);
		set_msr(MSR_EFER, vcpu->context.efer);
		CHECK(get_msr(MSR_EFER) == efer && get_msr(MSR_VM_HSAVE_PA) == OLD_SAVE_AREA);
	}
	CHECK(!vcpu->backend->enable(vcpu, &refusal));
	vcpu->context.stgi = 0;
	vcpu->context.efer = efer;
	fake_launch = refuse_vmrun;
	vmrun_code = code;
	expect_refused(vcpu, "VMRUN was refused; the value is the exit code", code, "");
	CHECK(vcpu->context.rip == (u64)svm_entry_refused && vcpu->context.stgi);
	CHECK(vcpu->context.efer == (efer | EFER_SVME) && !svm_of(vcpu)->launched);
	set_msr(MSR_EFER, vcpu->context.efer);
	vcpu->backend->disable(vcpu);
	CHECK(get_msr(MSR_EFER) == efer && get_msr(MSR_VM_HSAVE_PA) == OLD_SAVE_AREA);
	fake_launch = NULL;
	CHECK(!vcpu->backend->enable(vcpu, &refusal) && !vcpu->backend->enter(vcpu, &refusal));
	CHECK(svm_of(vcpu)->launched);
	forget_vcpu();
}

void test_refused_entries(void)
{
	for (unsigned int before = 0; before < 2; before++) {
		test_refused_vm_entry(before);
		test_refused_vmrun(before, VMEXIT_INVALID);
		/* QEMU 7.2 keeps the exit code in 32 bits. */
		test_refused_vmrun(before, 0xffffffff);
	}
	test_failed_vmlaunch();
	test_missing_field();
	test_refused_vmcs();
}
