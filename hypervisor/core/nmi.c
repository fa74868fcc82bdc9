// SPDX-License-Identifier: MIT
/*
 * NMIs are for the guest. Where they exit (on VMX, since an NMI in host mode uses Veneer's IDT),
 * they are counted, and injected when the guest can take one.
 *
 * An NMI in host mode, or while VMX or SVM is being enabled or disabled, goes on blocking the next
 * one, since nothing executes IRET behind it: until the VM entry that follows (SDM 3C 27.7.1: with
 * virtual NMIs it unblocks them), or until the IRET of the OS' handler that replay_nmis() calls. So
 * an OS never gets an NMI inside of its NMI handler.
 */
#include "nmi.h"

#include "idt.h"
#include "vcpu.h"

/*
 * One being delivered and one pending, as in a processor (SDM 3A 6.7.1). While the guest handles an NMI, or one is
 * being injected, the first of the two is that one.
 */
static u32 most_pending(const struct vcpu *vcpu)
{
	const struct backend *backend = vcpu->backend;

	return backend->nmis_are_blocked && backend->nmis_are_blocked(vcpu) ? 1 : 2;
}

static void note_nmi(struct vcpu *vcpu)
{
	u32 pending = __atomic_load_n(&vcpu->pending_nmis, __ATOMIC_ACQUIRE);
	u32 most = most_pending(vcpu);

	do {
		if (pending >= most)
			break;
	} while (!__atomic_compare_exchange_n(&vcpu->pending_nmis, &pending, pending + 1, false,
					      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	if (vcpu->backend->request_nmi_window)
		vcpu->backend->request_nmi_window(vcpu, true);
}

/* An NMI in host mode: during an exit, or while VMX is being enabled or disabled. */
void note_nmi_in_host_mode(void)
{
	note_nmi(vcpu_of_idt());
}

/* An NMI came in guest mode (SDM 3C 26.2). */
void handle_nmi(struct vcpu *vcpu)
{
	note_nmi(vcpu);
}

/*
 * The guest can take an NMI: nothing blocks it (SDM 3C 26.2, "NMI-window exiting"). NMI-window
 * exiting is switched off before the count is read: an NMI in between switches it on again, and at
 * worst the next exit finds no NMI to inject.
 */
void handle_nmi_window(struct vcpu *vcpu)
{
	u32 pending;

	vcpu->backend->request_nmi_window(vcpu, false);
	pending = __atomic_load_n(&vcpu->pending_nmis, __ATOMIC_ACQUIRE);
	/* A machine check takes priority over an NMI (SDM 3A table 6-2). */
	if (__atomic_exchange_n(&vcpu->machine_check_pending, false, __ATOMIC_ACQ_REL)) {
		vcpu->backend->continue_at(vcpu, vcpu->rip);
		vcpu->backend->inject(vcpu, VECTOR_MC, 0);
		if (pending)
			vcpu->backend->request_nmi_window(vcpu, true);
		return;
	}
	if (!pending)
		return;
	pending = __atomic_sub_fetch(&vcpu->pending_nmis, 1, __ATOMIC_ACQ_REL);
	/*
	 * Some processors block NMIs after STI, where this exit cannot come; on the others the
	 * blocking by STI ends here.
	 */
	vcpu->backend->continue_at(vcpu, vcpu->rip);
	vcpu->backend->inject(vcpu, VECTOR_NMI, 0);
	if (pending)
		vcpu->backend->request_nmi_window(vcpu, true);
}

/*
 * Called outside of guest mode, with the OS' IDT, while the NMI that was counted blocks the next
 * one. The same for a machine check.
 */
void replay_nmis(struct vcpu *vcpu)
{
	if (__atomic_exchange_n(&vcpu->machine_check_pending, false, __ATOMIC_ACQ_REL))
		raise_machine_check();
	while (__atomic_load_n(&vcpu->pending_nmis, __ATOMIC_ACQUIRE)) {
		__atomic_sub_fetch(&vcpu->pending_nmis, 1, __ATOMIC_ACQ_REL);
		raise_nmi();
	}
}
