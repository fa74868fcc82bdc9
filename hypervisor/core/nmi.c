// SPDX-License-Identifier: MIT
/*
 * NMIs belong to the guest. Where they exit (VMX: while Veneer is in host mode they would
 * hit its own IDT), they are noted, and delivered when the guest can take one.
 */
#include "nmi.h"

#include "idt.h"
#include "vcpu.h"

/* One that is being delivered and one behind it: what a processor keeps as well (SDM 3A 6.7.1). */
#define MOST_PENDING 2

static void note_nmi(struct vcpu *vcpu)
{
	u32 pending = __atomic_load_n(&vcpu->pending_nmis, __ATOMIC_ACQUIRE);

	do {
		if (pending == MOST_PENDING)
			break;
	} while (!__atomic_compare_exchange_n(&vcpu->pending_nmis, &pending, pending + 1, false,
					      __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	if (vcpu->backend->request_nmi_window)
		vcpu->backend->request_nmi_window(vcpu, true);
}

/* An NMI came through Veneer's own IDT: in the middle of an exit, or while VMX is taken or given back. */
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
 * The guest can take an NMI: nothing blocks it (SDM 3C 26.2, "NMI-window
 * exiting"). The window is closed before the count is read: an NMI in between
 * opens it again, and at worst the next exit finds nothing to do.
 */
void handle_nmi_window(struct vcpu *vcpu)
{
	u32 pending;

	vcpu->backend->request_nmi_window(vcpu, false);
	pending = __atomic_load_n(&vcpu->pending_nmis, __ATOMIC_ACQUIRE);
	if (!pending)
		return;
	pending = __atomic_sub_fetch(&vcpu->pending_nmis, 1, __ATOMIC_ACQ_REL);
	/* On a processor whose STI shadow blocks NMIs the window would not be open; on the others it ends here. */
	vcpu->backend->continue_at(vcpu, vcpu->rip);
	vcpu->backend->inject(vcpu, VECTOR_NMI, 0);
	if (pending)
		vcpu->backend->request_nmi_window(vcpu, true);
}

/* Outside of guest mode and of an exit, under the OS' IDT: what was noted and could not be injected. */
void replay_nmis(struct vcpu *vcpu)
{
	while (__atomic_load_n(&vcpu->pending_nmis, __ATOMIC_ACQUIRE)) {
		__atomic_sub_fetch(&vcpu->pending_nmis, 1, __ATOMIC_ACQ_REL);
		raise_nmi();
	}
}
