// SPDX-License-Identifier: MIT
/*
 * The banks that describe a machine check are the guest's as well as ours, and its handler knows what to do with
 * them. It is called when the guest can next be interrupted. MCIP in IA32_MCG_STATUS stays set until then: another
 * machine check shuts the processor down, as on the bare machine (SDM 3B 16.3.1.2).
 */
#include "machine_check.h"

#include "crash_report.h"
#include "idt.h"
#include "safe_instructions.h"

u64 machine_check_status(void)
{
	u64 status;

	return read_msr_safe(MSR_MCG_STATUS, &status) ? status : 0;
}

/*
 * SVM holds machine checks back while GIF is 0, as it is in host mode (APM2 15.17), and has no window exit to deliver
 * one: if one comes all the same, it is reported.
 */
bool note_machine_check(struct vcpu *vcpu)
{
	if (!(machine_check_status() & MCG_STATUS_RIPV))
		return false;
	if (vcpu->in_guest_mode && !vcpu->backend->request_nmi_window)
		return false;
	vcpu->machine_check_pending = true;
	if (vcpu->backend->request_nmi_window)
		vcpu->backend->request_nmi_window(vcpu, true);
	return true;
}

bool note_machine_check_in_host_mode(void)
{
	return note_machine_check(vcpu_of_idt());
}

void handle_machine_check(struct vcpu *vcpu)
{
	if (!note_machine_check(vcpu))
		die(vcpu, "machine check during a VM entry", vcpu->rip, 0);
}
