// SPDX-License-Identifier: MIT
/* struct backend: the guest as the core sees it, through the VMCS. */
#include "../core/hypercall.h"
#include "vmx.h"

/* What the guest reads from a control register: its own bits, and the shadow of ours (SDM 3C 25.6.6). */
static u64 read_shadowed(u64 field, u64 mask_field, u64 shadow_field)
{
	u64 mask = vmcs_read(mask_field);

	return (vmcs_read(field) & ~mask) | (vmcs_read(shadow_field) & mask);
}

u64 vmx_read(struct vcpu *vcpu, enum guest_field field)
{
	u32 rights;

	(void)vcpu;
	switch (field) {
	case GUEST_CR0:
		return read_shadowed(VMCS_GUEST_CR0, VMCS_CR0_MASK, VMCS_CR0_SHADOW);
	case GUEST_CR3:
		return vmcs_read(VMCS_GUEST_CR3);
	case GUEST_CR4:
		return read_shadowed(VMCS_GUEST_CR4, VMCS_CR4_MASK, VMCS_CR4_SHADOW);
	case GUEST_EFER:
		return vmcs_read(VMCS_GUEST_EFER);
	case GUEST_CPL:
		/* DPL of SS, whether it is usable or not (SDM 3C 25.4.1). */
		return vmcs_read(GUEST_ACCESS_RIGHTS(SEGMENT_SS)) >> 5 & 3;
	case GUEST_CS_BASE:
		return vmcs_read(GUEST_BASE(SEGMENT_CS));
	case GUEST_CODE_BITS:
		rights = vmcs_read(GUEST_ACCESS_RIGHTS(SEGMENT_CS));
		if (rights & RIGHTS_LONG && vmcs_read(VMCS_GUEST_EFER) & EFER_LMA)
			return 64;
		return rights & RIGHTS_DEFAULT_32 ? 32 : 16;
	}
	return 0;
}

void vmx_write(struct vcpu *vcpu, enum guest_field field, u64 value)
{
	(void)vcpu;
	if (field == GUEST_EFER)
		vmcs_write(VMCS_GUEST_EFER, value);
	/* Of CR0 only the bits that the guest does not have for itself: the others it writes without an exit. */
	if (field == GUEST_CR0)
		vmcs_write(VMCS_CR0_SHADOW, value);
}

unsigned int vmx_instruction_length(struct vcpu *vcpu)
{
	(void)vcpu;
	return vmcs_read(VMCS_INSTRUCTION_LENGTH);
}

/* SDM 3C 25.8.3, 27.2.1.3. */
void vmx_inject(struct vcpu *vcpu, enum vector vector, u32 error_code)
{
	u32 event = EVENT_VALID | vector;

	(void)vcpu;
	event |= vector == VECTOR_NMI ? EVENT_TYPE_NMI : EVENT_TYPE_EXCEPTION;
	/* There are no error codes in real mode. */
	if ((vector == VECTOR_DF || (vector >= VECTOR_TS && vector <= VECTOR_PF)) &&
	    vmcs_read(VMCS_GUEST_CR0) & CR0_PE) {
		event |= EVENT_ERROR_CODE;
		vmcs_write(VMCS_ENTRY_ERROR_CODE, error_code);
	}
	vmcs_write(VMCS_ENTRY_EVENT, event);
}

void vmx_end_shadow(struct vcpu *vcpu)
{
	u64 state = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY);

	(void)vcpu;
	if (unlikely_(state & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)))
		vmcs_write(VMCS_GUEST_INTERRUPTIBILITY,
			   state & ~(u64)(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS));
}

/* With BTF only branches trap (SDM 3B 18.4.3). The entry delivers what is pending, DR6 included (SDM 3C 27.7.3). */
void vmx_single_step(struct vcpu *vcpu)
{
	vmx_end_shadow(vcpu);
	if (!(vmcs_read(VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF))
		vmcs_write(VMCS_GUEST_PENDING_DEBUG, vmcs_read(VMCS_GUEST_PENDING_DEBUG) | DR6_BS);
}

/* Called by the NMI handler of host mode as well, at any point of an exit: it depends on nothing that could be half done. */
void vmx_request_nmi_window(struct vcpu *vcpu, bool wanted)
{
	const struct vmx_cpu *vmx = vmx_of(vcpu);

	if (vmx->vmcs_is_current)
		vmcs_write(VMCS_PRIMARY_CONTROLS,
			   vmx->controls.primary | (wanted ? PRIMARY_NMI_WINDOW : 0));
}

const struct backend vmx_backend = {
	.name = "vmx",
	.vendors = {
		/* GenuineIntel, CentaurHauls,   Shanghai   */
		{ 0x756e6547, 0x49656e69, 0x6c65746e },
		{ 0x746e6543, 0x48727561, 0x736c7561 },
		{ 0x68532020, 0x68676e61, 0x20206961 },
	},
	.hypercall = hypercall_vmx,
	.hypercall_address = hypercall_vmx_address,
	.examine = vmx_examine,
	.allocate = vmx_allocate,
	.enable = vmx_enable,
	.disable = vmx_disable,
	.enter = vmx_enter,
	.leave = vmx_leave,
	.read = vmx_read,
	.write = vmx_write,
	.instruction_length = vmx_instruction_length,
	.inject = vmx_inject,
	.end_shadow = vmx_end_shadow,
	.single_step = vmx_single_step,
	.request_nmi_window = vmx_request_nmi_window,
	.reset = vmx_reset,
	.start = vmx_start,
	.describe_exit = vmx_describe_exit,
};
