// SPDX-License-Identifier: MIT
/*
 * Exits of writes to CR0 and CR4, which happen only if a bit of the guest/host mask would change.
 */
#include "control_register.h"

#include "completion.h"

/*
 * The checks that MOV to CR0 makes (SDM 2B "MOV-Move to/from Control Registers", SDM 3A 2.5,
 * 4.10.1, 9.8.5).
 */
static bool is_legal_cr0(struct vcpu *vcpu, u64 value)
{
	const struct backend *backend = vcpu->backend;
	u64 old = backend->read[GUEST_CR0](vcpu), cr4 = backend->read[GUEST_CR4](vcpu);
	bool is_64_bit_code = backend->read[GUEST_CODE_BITS](vcpu) == 64;

	if (value >> 32 || ~value & vcpu->cr0_always)
		return false;
	if (value & CR0_PG && !(value & CR0_PE))
		return false;
	if (value & CR0_NW && !(value & CR0_CD))
		return false;
	if (!(value & CR0_WP) && cr4 & CR4_CET)
		return false;
	if (!(value & CR0_PG))
		return !(old & CR0_PG) || !(is_64_bit_code || cr4 & CR4_PCIDE);
	if (old & CR0_PG || !(backend->read[GUEST_EFER](vcpu) & EFER_LME))
		return true;
	/* Paging is off: this is no 64-bit code. */
	return cr4 & CR4_PAE;
}

/*
 * SDM 3C 26.1.3. In CR4 only VMXE (and SMXE) are masked; without VMX they are reserved: #GP. In
 * CR0 VMX insists on NE, which the guest may clear: its value goes into the read shadow, and the
 * guest executes the instruction again, which then changes the other bits without an exit.
 */
void handle_cr_access(struct vcpu *vcpu)
{
	if (vcpu->cr_number == 0 && is_legal_cr0(vcpu, vcpu->cr_value))
		vcpu->backend->write_cr0(vcpu, vcpu->cr_value);
	else
		inject_exception(vcpu, VECTOR_GP, 0);
}
