// SPDX-License-Identifier: MIT
/* VM exits, translated for the core. */
#include "exit.h"

#include "../core/crash_report.h"
#include "../core/exit.h"
#include "../core/machine_check.h"
#include "leave.h"
#include "unblock_nmis.h"
#include "vmx_cpu.h"

/* Exit qualification of a control-register access (SDM 3C table 28-3). */
#define CR_ACCESS_NUMBER 0xfu
#define CR_ACCESS_TYPE(qualification) ((qualification) >> 4 & 3)
#define CR_ACCESS_MOV_TO 0
#define CR_ACCESS_CLTS 2
#define CR_ACCESS_LMSW 3
#define CR_ACCESS_REGISTER(qualification) ((qualification) >> 8 & 15)
#define CR_ACCESS_LMSW_SOURCE(qualification) ((qualification) >> 16 & 15)

/* Marks exit reasons for which translate() finds the core's reason. */
#define EXIT_TO_TRANSLATE EXIT_REASONS

/* All others below REASON_RDMSRLIST are not enabled by Veneer's controls: EXIT_OTHER. */
static const u8 reasons[] = {
	[REASON_EXCEPTION_OR_NMI] = EXIT_TO_TRANSLATE,
	[REASON_TRIPLE_FAULT] = EXIT_SHUTDOWN,
	[REASON_INIT] = EXIT_INIT,
	[REASON_SIPI] = EXIT_SIPI,
	[REASON_NMI_WINDOW] = EXIT_TO_TRANSLATE,
	[REASON_TASK_SWITCH] = EXIT_TO_TRANSLATE,
	[REASON_CPUID] = EXIT_CPUID,
	[REASON_GETSEC] = EXIT_GETSEC,
	[REASON_INVD] = EXIT_INVD,
	[REASON_VMCALL] = EXIT_HYPERCALL,
	[REASON_VMCLEAR] = EXIT_NESTED,
	[REASON_VMLAUNCH] = EXIT_NESTED,
	[REASON_VMPTRLD] = EXIT_NESTED,
	[REASON_VMPTRST] = EXIT_NESTED,
	[REASON_VMREAD] = EXIT_NESTED,
	[REASON_VMRESUME] = EXIT_NESTED,
	[REASON_VMWRITE] = EXIT_NESTED,
	[REASON_VMXOFF] = EXIT_NESTED,
	[REASON_VMXON] = EXIT_NESTED,
	[REASON_CR_ACCESS] = EXIT_TO_TRANSLATE,
	[REASON_RDMSR] = EXIT_RDMSR,
	[REASON_WRMSR] = EXIT_WRMSR,
	[REASON_EPT_VIOLATION] = EXIT_NESTED_PAGING,
	[REASON_EPT_MISCONFIGURATION] = EXIT_NESTED_PAGING,
	[REASON_INVEPT] = EXIT_NESTED,
	[REASON_INVVPID] = EXIT_NESTED,
	[REASON_XSETBV] = EXIT_XSETBV,
	[REASON_SEAMCALL] = EXIT_NESTED,
	[REASON_TDCALL] = EXIT_NESTED,
	[REASON_RDMSRLIST] = EXIT_UNKNOWN_INSTRUCTION,
	[REASON_WRMSRLIST] = EXIT_UNKNOWN_INSTRUCTION,
};

/* Bits 6:3 of the VM-exit instruction information (SDM 3C 28.2.5): a register, of an immediate-form RDMSR or WRMSRNS. */
#define INFORMATION_REGISTER(information) ((information) >> 3 & 15)

static enum exit_reason translate_immediate_msr(struct vcpu *vcpu, enum exit_reason reason)
{
	vcpu->msr = vmcs_read(VMCS_EXIT_QUALIFICATION);
	vcpu->msr_operand = INFORMATION_REGISTER(vmcs_read(VMCS_INSTRUCTION_INFORMATION));
	vcpu->regs.rsp = vmcs_read(VMCS_GUEST_RSP);
	return reason;
}

/* A write to CR0 or CR4 that would change a bit of the guest/host masks (SDM 3C 26.1.3); others do not exit. */
static enum exit_reason translate_cr_access(struct vcpu *vcpu)
{
	u64 qualification = vmcs_read(VMCS_EXIT_QUALIFICATION);
	const u64 *registers = &vcpu->regs.rax;
	u64 cr0 = vcpu->backend->read[GUEST_CR0](vcpu);

	vcpu->regs.rsp = vmcs_read(VMCS_GUEST_RSP);
	vcpu->cr_number = qualification & CR_ACCESS_NUMBER;
	switch (CR_ACCESS_TYPE(qualification)) {
	case CR_ACCESS_MOV_TO:
		vcpu->cr_value = registers[CR_ACCESS_REGISTER(qualification)];
		if (vcpu->backend->read[GUEST_CODE_BITS](vcpu) != 64)
			vcpu->cr_value = (u32)vcpu->cr_value;
		break;
	case CR_ACCESS_CLTS:
		vcpu->cr_value = cr0 & ~CR0_TS;
		break;
	case CR_ACCESS_LMSW:
		/* PE, MP, EM and TS; PE cannot be cleared (SDM 2A LMSW). */
		vcpu->cr_value = (cr0 & ~(u64)(CR0_MP | CR0_EM | CR0_TS)) |
				 CR_ACCESS_LMSW_SOURCE(qualification);
		break;
	default:
		return EXIT_OTHER;
	}
	return vcpu->cr_number == 0 || vcpu->cr_number == 4 ? EXIT_CR_ACCESS : EXIT_OTHER;
}

static enum exit_reason translate(struct vcpu *vcpu, u32 code)
{
	u32 event, basic = REASON_BASIC(code);

	if (code & REASON_ENTRY_FAILURE) {
		bool machine_check = code == (REASON_ENTRY_FAILURE | REASON_MACHINE_CHECK);

		if (!vmx_of(vcpu)->launched) {
			/* The OS gets it when VMX is off again (core/nmi.c). */
			if (machine_check)
				handle_machine_check(vcpu);
			vmx_return_from_failed_entry(vcpu);
		}
		return machine_check ? EXIT_MACHINE_CHECK : EXIT_INVALID_STATE;
	}
	/* An exit in an SGX enclave has bit 27 set; interruptibility keeps that it was there. */
	if (basic < COUNT_OF(reasons) && reasons[basic] != EXIT_TO_TRANSLATE)
		return reasons[basic];
	switch (basic) {
	case REASON_EXCEPTION_OR_NMI:
		/* The exception bitmap is 0, so it is an NMI; check it all the same. */
		if ((vmcs_read(VMCS_EXIT_EVENT) & EVENT_TYPE) != EVENT_TYPE_NMI)
			return EXIT_OTHER;
		vmx_unblock_nmis();
		return EXIT_NMI;
	case REASON_NMI_WINDOW:
		/* It follows an NMI in host mode. */
		vmx_unblock_nmis();
		return EXIT_NMI_WINDOW;
	case REASON_CR_ACCESS:
		return translate_cr_access(vcpu);
	case REASON_TASK_SWITCH:
		/*
		 * The only exit with a handler that can interrupt the delivery of an event (SDM 3C
		 * 28.2.4).
		 */
		event = vmcs_read(VMCS_VECTORING_EVENT);
		vcpu->interrupted_event = event & EVENT_VALID ? event : 0;
		/* The selector of the new TSS (SDM 3C table 28-2). */
		vcpu->fault_error = vmcs_read(VMCS_EXIT_QUALIFICATION) & 0xfffc;
		return EXIT_TASK_SWITCH;
	case REASON_RDMSR_IMMEDIATE:
		return translate_immediate_msr(vcpu, EXIT_RDMSR_IMMEDIATE);
	case REASON_WRMSRNS_IMMEDIATE:
		return translate_immediate_msr(vcpu, EXIT_WRMSRNS_IMMEDIATE);
	default:
		/*
		 * Newer than Veneer. Exits that come of anything but an instruction have a control
		 * that enables them, and vmx_find_controls() sets none that it does not know.
		 */
		return EXIT_UNKNOWN_INSTRUCTION;
	}
}

static rarely_called void handle_exit_to_translate(struct vcpu *vcpu, u32 code)
{
	enum exit_reason reason = translate(vcpu, code);

	handle_exit(vcpu, reason, code, vcpu->rip);
	/* The only instruction with a handler that writes RSP. */
	if (reason == EXIT_RDMSR_IMMEDIATE)
		vmcs_write(VMCS_GUEST_RSP, vcpu->regs.rsp);
}

/* Called by enter.S, which has saved all GPRs but RSP in struct vcpu, and loads them from there. */
void vmx_handle_exit(struct vcpu *vcpu)
{
	u64 code = vmcs_read(VMCS_EXIT_REASON);
	u64 rip = vmcs_read(VMCS_GUEST_RIP);

	vcpu->rip = rip;
	vmcs_read_into(VMCS_GUEST_RFLAGS, &vcpu->rflags);
	/*
	 * Defined for exits caused by instructions (SDM 3C 28.2.5); the handlers of other exits do
	 * not use it.
	 */
	vcpu->next_rip = rip + vmcs_read(VMCS_INSTRUCTION_LENGTH);
	if (unlikely_(code >= COUNT_OF(reasons) || reasons[code] == EXIT_TO_TRANSLATE))
		handle_exit_to_translate(vcpu, code);
	else
		handle_exit(vcpu, reasons[code], code, rip);
}

void vmx_resume_failed(struct vcpu *vcpu)
{
	die(vcpu, "VMRESUME failed", vcpu->rip, 0);
}
