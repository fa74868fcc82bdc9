// SPDX-License-Identifier: MIT
/*
 * INIT and SIPI in guest mode: set the guest state that they leave (SDM 3A 9.1.4 table 9-1,
 * 9.4.4).
 */
#include "reset.h"

#include "../core/crash_report.h"
#include "vmx_cpu.h"

static void reset_segment(unsigned int index, u16 selector, u64 base, u32 rights)
{
	vmcs_write(GUEST_SELECTOR(index), selector);
	vmcs_write(GUEST_BASE(index), base);
	vmcs_write(GUEST_LIMIT(index), 0xffff);
	vmcs_write(GUEST_ACCESS_RIGHTS(index), rights);
}

static void reset_control_registers(const struct vcpu *vcpu)
{
	/* INIT keeps CD and NW; ET is always 1. */
	u64 cr0 = (vmcs_read(VMCS_GUEST_CR0) & (CR0_CD | CR0_NW)) | CR0_ET;

	vmcs_write(VMCS_CR0_SHADOW, cr0);
	vmcs_write(VMCS_GUEST_CR0, cr0 | vmx_of(vcpu)->cr0_mask);
	vmcs_write(VMCS_GUEST_CR3, 0);
	vmcs_write(VMCS_CR4_SHADOW, 0);
	vmcs_write(VMCS_GUEST_CR4, read_msr(MSR_VMX_CR4_FIXED0));
	vmcs_write(VMCS_GUEST_EFER, 0);
	vmcs_write(VMCS_ENTRY_CONTROLS, vmcs_read(VMCS_ENTRY_CONTROLS) & ~(u64)ENTRY_IA32E_GUEST);
}

/* VM entry refuses blocking by STI and MOV SS outside of the active state (SDM 3C 27.3.1.5). */
void vmx_wait_for_sipi(struct vcpu *vcpu)
{
	if (vcpu->cr0_always)
		die(vcpu, "INIT needs an unrestricted guest", vcpu->rip, 0);
	vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, 0);
	vmcs_write(VMCS_GUEST_ACTIVITY, ACTIVITY_WAIT_FOR_SIPI);
}

void vmx_reset(struct vcpu *vcpu)
{
	reset_control_registers(vcpu);
	/* CS is vmx_start()'s, which follows without an entry in between. */
	for (unsigned int i = 0; i < SEGMENTS; i++) {
		if (i != SEGMENT_CS)
			reset_segment(i, 0, 0,
				      i == SEGMENT_LDTR ? RIGHTS_LDT
				      : i == SEGMENT_TR ? RIGHTS_BUSY_TSS
							: RIGHTS_DATA);
	}
	vmcs_write(VMCS_GUEST_GDTR_BASE, 0);
	vmcs_write(VMCS_GUEST_GDTR_LIMIT, 0xffff);
	vmcs_write(VMCS_GUEST_IDTR_BASE, 0);
	vmcs_write(VMCS_GUEST_IDTR_LIMIT, 0xffff);
	vmcs_write(VMCS_GUEST_RSP, 0);
	vmcs_write(VMCS_GUEST_DR7, DR7_RESET);
	/* Neither is in the VMCS: the registers are the guest's in host mode too. */
	clear_breakpoints();
	write_dr6(DR6_RESET);
	write_cr2(0);
	vmcs_write(VMCS_GUEST_DEBUGCTL, 0);
	vmcs_write(VMCS_GUEST_PENDING_DEBUG, 0);
}

/* The vector is the page that the CPU starts in (SDM 3C table 28-1). */
void vmx_start(struct vcpu *vcpu)
{
	u64 vector = vmcs_read(VMCS_EXIT_QUALIFICATION) & 0xff;

	(void)vcpu;
	reset_segment(SEGMENT_CS, vector << 8, vector << 12, RIGHTS_CODE);
	vmcs_write(VMCS_GUEST_ACTIVITY, ACTIVITY_ACTIVE);
	/* In the wait-for-SIPI state Bochs reports blocking that its own VM entry refuses. */
	vmcs_write(VMCS_GUEST_INTERRUPTIBILITY, 0);
}
