// SPDX-License-Identifier: MIT
/* struct backend: the guest as the core sees it, through the VMCS. */
#include "../core/completion.h"
#include "../core/hypercall.h"
#include "../core/text.h"
#include "capabilities.h"
#include "entry_checks.h"
#include "ept.h"
#include "leave.h"
#include "reset.h"
#include "setup.h"
#include "vmx_cpu.h"

/*
 * What the guest reads from CR0 or CR4: the bits of the mask from the read shadow, the others from
 * the register (SDM 3C 25.6.6).
 */
static u64 read_shadowed(u64 field, u64 shadow_field, u64 mask)
{
	u64 value = vmcs_read(field);

	return value ^ ((value ^ vmcs_read(shadow_field)) & mask);
}

static u64 read_cr0_of_guest(const struct vcpu *vcpu)
{
	return read_shadowed(VMCS_GUEST_CR0, VMCS_CR0_SHADOW, vmx_of(vcpu)->cr0_mask);
}

static u64 read_cr3_of_guest(const struct vcpu *vcpu)
{
	(void)vcpu;
	return vmcs_read(VMCS_GUEST_CR3);
}

static u64 read_cr4_of_guest(const struct vcpu *vcpu)
{
	return read_shadowed(VMCS_GUEST_CR4, VMCS_CR4_SHADOW, vmx_of(vcpu)->cr4_mask);
}

static u64 read_efer(const struct vcpu *vcpu)
{
	(void)vcpu;
	return vmcs_read(VMCS_GUEST_EFER);
}

/* DPL of SS, whether it is usable or not (SDM 3C 25.4.1). */
static u64 read_cpl(const struct vcpu *vcpu)
{
	(void)vcpu;
	return vmcs_read(GUEST_ACCESS_RIGHTS(SEGMENT_SS)) >> 5 & 3;
}

static u64 read_cs_base(const struct vcpu *vcpu)
{
	(void)vcpu;
	return vmcs_read(GUEST_BASE(SEGMENT_CS));
}

static u64 read_cs_limit(const struct vcpu *vcpu)
{
	(void)vcpu;
	return vmcs_read(GUEST_LIMIT(SEGMENT_CS));
}

static u64 read_dr7_of_guest(const struct vcpu *vcpu)
{
	(void)vcpu;
	return vmcs_read(VMCS_GUEST_DR7);
}

static u64 read_code_bits(const struct vcpu *vcpu)
{
	u32 rights = vmcs_read(GUEST_ACCESS_RIGHTS(SEGMENT_CS));

	(void)vcpu;
	if (rights & RIGHTS_LONG && vmcs_read(VMCS_GUEST_EFER) & EFER_LMA)
		return 64;
	return rights & RIGHTS_DEFAULT_32 ? 32 : 16;
}

/* Sets the bits of the mask; the guest writes the others without an exit. */
static void write_cr0_of_guest(struct vcpu *vcpu, u64 value)
{
	(void)vcpu;
	vmcs_write(VMCS_CR0_SHADOW, value);
}

static void write_efer(struct vcpu *vcpu, u64 value)
{
	(void)vcpu;
	vmcs_write(VMCS_GUEST_EFER, value);
}

static void write_rflags(struct vcpu *vcpu, u64 value)
{
	(void)vcpu;
	vmcs_write(VMCS_GUEST_RFLAGS, value);
}

static void continue_at(struct vcpu *vcpu, u64 rip)
{
	u64 state = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY);

	(void)vcpu;
	vmcs_write(VMCS_GUEST_RIP, rip);
	if (unlikely_(state & (BLOCKED_BY_STI | BLOCKED_BY_MOV_SS)))
		vmcs_write(VMCS_GUEST_INTERRUPTIBILITY,
			   state & ~(u64)(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS));
}

/* SDM 3C 25.8.3, 27.2.1.3. */
static void inject(struct vcpu *vcpu, enum vector vector, u32 error_code)
{
	u32 event = EVENT_VALID | vector;

	event |= vector == VECTOR_NMI ? EVENT_TYPE_NMI : EVENT_TYPE_EXCEPTION;
	if (pushes_error_code(vcpu, vector)) {
		event |= EVENT_ERROR_CODE;
		vmcs_write(VMCS_ENTRY_ERROR_CODE, error_code);
	}
	vmcs_write(VMCS_ENTRY_EVENT, event);
}

/*
 * With BTF set only branches trap (SDM 3B 18.4.3). VM entry delivers the pending debug exception,
 * sets DR6 and clears DR7.GD (SDM 3C 27.7.3).
 */
static void single_step(struct vcpu *vcpu, u64 breakpoints)
{
	u64 pending = DR6_BS | breakpoints;

	(void)vcpu;
	if (vmcs_read(VMCS_GUEST_DEBUGCTL) & DEBUGCTL_BTF)
		return;
	if (breakpoints)
		pending |= PENDING_ENABLED_BREAKPOINT;
	vmcs_write(VMCS_GUEST_PENDING_DEBUG, vmcs_read(VMCS_GUEST_PENDING_DEBUG) | pending);
}

/*
 * Also called by the NMI handler of host mode at any point of an exit, so it only uses state that
 * is never half written.
 */
static void request_nmi_window(struct vcpu *vcpu, bool wanted)
{
	const struct vmx_cpu *vmx = vmx_of(vcpu);

	if (vmx->vmcs_is_current)
		vmcs_write(VMCS_PRIMARY_CONTROLS,
			   vmx->controls.primary | (wanted ? PRIMARY_NMI_WINDOW : 0));
}

/* Called where request_nmi_window() is. */
static bool nmis_are_blocked(const struct vcpu *vcpu)
{
	u32 event;

	if (!vmx_of(vcpu)->vmcs_is_current)
		return false;
	event = vmcs_read(VMCS_ENTRY_EVENT);
	if (event & EVENT_VALID && (event & EVENT_TYPE) == EVENT_TYPE_NMI)
		return true;
	return vmcs_read(VMCS_GUEST_INTERRUPTIBILITY) & BLOCKED_BY_NMI;
}

static void describe_exit(struct vcpu *vcpu, char *line, size_t size)
{
	struct text text = { .buffer = line, .size = size };

	if (!vmx_of(vcpu)->vmcs_is_current) {
		text_add(&text, " (no VMCS)");
		return;
	}
	/* After a refused entry print all broken rules instead of the exit information. */
	if (vmcs_read(VMCS_EXIT_REASON) & REASON_ENTRY_FAILURE) {
		vmx_find_broken_rules(vcpu, line, size);
		return;
	}
	text_add_field(&text, "reason", vmcs_read(VMCS_EXIT_REASON));
	text_add_field(&text, "qualification", vmcs_read(VMCS_EXIT_QUALIFICATION));
	text_add_field(&text, "event", vmcs_read(VMCS_EXIT_EVENT));
	text_add_field(&text, "vectoring", vmcs_read(VMCS_VECTORING_EVENT));
	text_add_field(&text, "error", vmcs_read(VMCS_INSTRUCTION_ERROR));
	text_add_field(&text, "physical", vmcs_read(VMCS_GUEST_PHYSICAL_ADDRESS));
	text_add_field(&text, "guest-rsp", vmcs_read(VMCS_GUEST_RSP));
	text_add_field(&text, "guest-cr3", vmcs_read(VMCS_GUEST_CR3));
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
	.read = {
		[GUEST_CR0] = read_cr0_of_guest,
		[GUEST_CR3] = read_cr3_of_guest,
		[GUEST_CR4] = read_cr4_of_guest,
		[GUEST_EFER] = read_efer,
		[GUEST_CPL] = read_cpl,
		[GUEST_CS_BASE] = read_cs_base,
		[GUEST_CS_LIMIT] = read_cs_limit,
		[GUEST_DR7] = read_dr7_of_guest,
		[GUEST_CODE_BITS] = read_code_bits,
	},
	.write_cr0 = write_cr0_of_guest,
	.write_efer = write_efer,
	.write_rflags = write_rflags,
	.continue_at = continue_at,
	.inject = inject,
	.single_step = single_step,
	.request_nmi_window = request_nmi_window,
	.nmis_are_blocked = nmis_are_blocked,
	.change_memory_types = vmx_change_memory_types,
	.wait_for_sipi = vmx_wait_for_sipi,
	.reset = vmx_reset,
	.start = vmx_start,
	.describe_exit = describe_exit,
};
