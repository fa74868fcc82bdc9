// SPDX-License-Identifier: MIT
/* Filling the VMCS: guest state from this CPU, and Veneer's host state (SDM 3C 25.4, 25.5). */
#include "state.h"

#include "../core/context.h"
#include "../core/cpuid_bits.h"
#include "enter.h"
#include "vmx_cpu.h"

/*
 * Bits 8-11 of a VMCB's attributes are bits 12-15 here; code and data segments must have the
 * accessed bit set (SDM 3C 25.4.1).
 */
static u32 access_rights(const struct segment *segment)
{
	u32 attributes = segment->attributes;
	bool is_system = !(attributes & 0x10);

	if (!(attributes & RIGHTS_PRESENT))
		return RIGHTS_UNUSABLE;
	return (attributes & 0xff) | (attributes & 0xf00) << 4 | (is_system ? 0 : 1);
}

static void set_segment(struct vmx_cpu *vmx, unsigned int index, const struct segment *segment)
{
	vmx_set(vmx, GUEST_SELECTOR(index), segment->selector);
	vmx_set(vmx, GUEST_LIMIT(index), segment->limit);
	vmx_set(vmx, GUEST_ACCESS_RIGHTS(index), access_rights(segment));
	vmx_set(vmx, GUEST_BASE(index), segment->base);
}

static void fill_segments(const struct vcpu *vcpu)
{
	struct vmx_cpu *vmx = vmx_of(vcpu);
	const struct context *context = &vcpu->context;
	const u16 selectors[SEGMENTS] = {
		[SEGMENT_ES] = context->es,	[SEGMENT_CS] = context->cs,
		[SEGMENT_SS] = context->ss,	[SEGMENT_DS] = context->ds,
		[SEGMENT_FS] = context->fs,	[SEGMENT_GS] = context->gs,
		[SEGMENT_LDTR] = context->ldtr, [SEGMENT_TR] = context->tr,
	};

	for (unsigned int i = 0; i < SEGMENTS; i++) {
		struct segment segment = read_segment(context, selectors[i]);

		if (i == SEGMENT_FS)
			segment.base = context->fs_base;
		if (i == SEGMENT_GS)
			segment.base = context->gs_base;
		/*
		 * VM entry requires a usable, busy TSS in TR; before the first LTR TR is as after
		 * reset (SDM 3A table 9-1).
		 */
		if (i == SEGMENT_TR && !(segment.attributes & RIGHTS_PRESENT))
			segment =
				(struct segment){ .limit = 0xffff, .attributes = RIGHTS_BUSY_TSS };
		/* What TR holds is busy, even if the OS has marked its descriptor as available since. */
		if (i == SEGMENT_TR)
			segment.attributes |= RIGHTS_BUSY;
		set_segment(vmx, i, &segment);
	}
}

static void fill_control_registers(const struct vcpu *vcpu)
{
	struct vmx_cpu *vmx = vmx_of(vcpu);
	const struct context *context = &vcpu->context;
	u64 cr0_fixed = read_msr(MSR_VMX_CR0_FIXED0);
	u64 cr4_fixed = read_msr(MSR_VMX_CR4_FIXED0);
	u64 cr4_mask = cr4_fixed | CR4_VMXE;
	u32 a, b, c, d;

	/* With an unrestricted guest PE and PG are free (SDM 3C 27.3.1.1). */
	if (!vcpu->cr0_always)
		cr0_fixed &= ~(CR0_PE | CR0_PG);
	vmx_set(vmx, VMCS_GUEST_CR0, context->cr0 | cr0_fixed);
	vmx->cr0_mask = cr0_fixed;
	vmx_set(vmx, VMCS_CR0_MASK, cr0_fixed);
	vmx_set(vmx, VMCS_CR0_SHADOW, context->cr0);

	/* SMX is hidden together with VMX, unless the OS uses it already. */
	cpuid(1, 0, &a, &b, &c, &d);
	if (c & CPUID_1_ECX_SMX && !(context->cr4 & CR4_SMXE))
		cr4_mask |= CR4_SMXE;
	vmx_set(vmx, VMCS_GUEST_CR4, context->cr4 | cr4_fixed);
	vmx->cr4_mask = cr4_mask;
	vmx_set(vmx, VMCS_CR4_MASK, cr4_mask);
	vmx_set(vmx, VMCS_CR4_SHADOW, context->cr4);
	vmx_set(vmx, VMCS_GUEST_CR3, context->cr3);
}

void vmx_fill_guest_state(const struct vcpu *vcpu)
{
	struct vmx_cpu *vmx = vmx_of(vcpu);
	const struct context *context = &vcpu->context;

	fill_control_registers(vcpu);
	fill_segments(vcpu);
	vmx_set(vmx, VMCS_GUEST_GDTR_BASE, context->gdtr.base);
	vmx_set(vmx, VMCS_GUEST_GDTR_LIMIT, context->gdtr.limit);
	vmx_set(vmx, VMCS_GUEST_IDTR_BASE, context->idtr.base);
	vmx_set(vmx, VMCS_GUEST_IDTR_LIMIT, context->idtr.limit);
	vmx_set(vmx, VMCS_GUEST_RFLAGS, context->rflags);
	vmx_set(vmx, VMCS_GUEST_DR7, context->dr7);
	vmx_set(vmx, VMCS_GUEST_DEBUGCTL, vmx->old_debugctl);
	vmx_set(vmx, VMCS_GUEST_PAT, read_msr(MSR_PAT));
	vmx_set(vmx, VMCS_GUEST_EFER, context->efer);
	vmx_set(vmx, VMCS_GUEST_SYSENTER_CS, read_msr(MSR_SYSENTER_CS));
	vmx_set(vmx, VMCS_GUEST_SYSENTER_ESP, read_msr(MSR_SYSENTER_ESP));
	vmx_set(vmx, VMCS_GUEST_SYSENTER_EIP, read_msr(MSR_SYSENTER_EIP));
	vmx_set(vmx, VMCS_GUEST_INTERRUPTIBILITY, 0);
	vmx_set(vmx, VMCS_GUEST_ACTIVITY, ACTIVITY_ACTIVE);
	vmx_set(vmx, VMCS_GUEST_PENDING_DEBUG, 0);
	/* No shadow VMCS (SDM 3C 25.4.2). */
	vmx_set(vmx, VMCS_LINK_POINTER, ~0ull);
}

void vmx_fill_host_state(struct vcpu *vcpu)
{
	struct vmx_cpu *vmx = vmx_of(vcpu);
	u32 a, b, c, d;
	u64 efer = vcpu->context.efer;

	/*
	 * resume_context() still runs with host EFER when it uses the guest's page tables, whose
	 * entries may have NX set: allow NX even if the guest has it off.
	 */
	cpuid(0x80000001, 0, &a, &b, &c, &d);
	if (d & CPUID_80000001_EDX_NX)
		efer |= EFER_NXE;
	vmx_set(vmx, VMCS_HOST_CR0, vcpu->host_cr0 | read_msr(MSR_VMX_CR0_FIXED0));
	vmx_set(vmx, VMCS_HOST_CR3, vcpu->host_cr3);
	vmx_set(vmx, VMCS_HOST_CR4, vcpu->host_cr4 | read_msr(MSR_VMX_CR4_FIXED0));
	vcpu->host_efer = efer;
	vmx_set(vmx, VMCS_HOST_EFER, efer);
	vmx_set(vmx, VMCS_HOST_PAT, read_msr(MSR_PAT));
	vmx_set(vmx, HOST_CS_SELECTOR, vcpu->host_cs);
	vmx_set(vmx, HOST_SS_SELECTOR, vcpu->host_ss);
	vmx_set(vmx, HOST_DS_SELECTOR, 0);
	vmx_set(vmx, HOST_ES_SELECTOR, 0);
	vmx_set(vmx, HOST_FS_SELECTOR, 0);
	vmx_set(vmx, HOST_GS_SELECTOR, 0);
	vmx_set(vmx, HOST_TR_SELECTOR, vcpu->host_tr);
	vmx_set(vmx, VMCS_HOST_FS_BASE, 0);
	vmx_set(vmx, VMCS_HOST_GS_BASE, 0);
	vmx_set(vmx, VMCS_HOST_TR_BASE, vcpu->host_tss_base);
	vmx_set(vmx, VMCS_HOST_GDTR_BASE, vcpu->host_gdtr.base);
	vmx_set(vmx, VMCS_HOST_IDTR_BASE, vcpu->host_idtr.base);
	vmx_set(vmx, VMCS_HOST_SYSENTER_CS, 0);
	vmx_set(vmx, VMCS_HOST_SYSENTER_ESP, 0);
	vmx_set(vmx, VMCS_HOST_SYSENTER_EIP, 0);
	vmx_set(vmx, VMCS_HOST_RSP, (u64)vcpu);
	vmx_set(vmx, VMCS_HOST_RIP, (u64)vmx_exited);
}
