// SPDX-License-Identifier: MIT
/* struct backend: the guest as the core sees it, through the VMCB. */
#include "../core/completion.h"
#include "../core/hypercall.h"
#include "../core/safe_instructions.h"
#include "../core/text.h"
#include "exit.h"
#include "setup.h"
#include "svm_cpu.h"

static u64 read_cr0_of_guest(const struct vcpu *vcpu)
{
	return vcpu->vmcb->cr0;
}

static u64 read_cr3_of_guest(const struct vcpu *vcpu)
{
	return vcpu->vmcb->cr3;
}

static u64 read_cr4_of_guest(const struct vcpu *vcpu)
{
	return vcpu->vmcb->cr4;
}

/* VMRUN requires SVME (APM2 15.5.1), but SVM is hidden from the guest. */
static u64 read_efer(const struct vcpu *vcpu)
{
	return vcpu->vmcb->efer & ~EFER_SVME;
}

static u64 read_cpl(const struct vcpu *vcpu)
{
	return vcpu->vmcb->cpl;
}

static u64 read_cs_base(const struct vcpu *vcpu)
{
	return vcpu->vmcb->cs.base;
}

static u64 read_cs_limit(const struct vcpu *vcpu)
{
	return vcpu->vmcb->cs.limit;
}

static u64 read_dr7_of_guest(const struct vcpu *vcpu)
{
	return vcpu->vmcb->dr7;
}

static u64 read_code_bits(const struct vcpu *vcpu)
{
	const struct vmcb *vmcb = vcpu->vmcb;

	if (vmcb->efer & EFER_LMA && vmcb->cs.attributes & CS_LONG)
		return 64;
	return vmcb->cs.attributes & CS_DEFAULT_32 ? 32 : 16;
}

/* Writes to CR0 do not exit; the core asks for it on VMX only. */
static void write_cr0_of_guest(struct vcpu *vcpu, u64 value)
{
	vcpu->vmcb->cr0 = value;
}

/*
 * VMRUN requires SVME (APM2 15.5.1). On the bare machine a change of NXE takes effect on translations
 * that are cached already; VMRUN keeps them unless it is told to flush (APM2 15.16). EFER is written
 * so rarely that a comparison is not worth it.
 */
static void write_efer(struct vcpu *vcpu, u64 value)
{
	vcpu->vmcb->tlb_control = VMCB_TLB_FLUSH_ALL;
	vcpu->vmcb->efer = value | EFER_SVME;
}

static void write_rflags(struct vcpu *vcpu, u64 value)
{
	vcpu->vmcb->rflags = value;
}

static void continue_at(struct vcpu *vcpu, u64 rip)
{
	struct vmcb *vmcb = vcpu->vmcb;

	vmcb->rip = rip;
	vmcb->interrupt_shadow = 0;
}

static void inject(struct vcpu *vcpu, enum vector vector, u32 error_code)
{
	u64 event = EVENT_VALID | EVENT_EXCEPTION | vector;

	if (pushes_error_code(vcpu, vector))
		event |= EVENT_ERROR_CODE | (u64)error_code << 32;
	vcpu->vmcb->event_injection = event;
}

static void single_step(struct vcpu *vcpu, u64 breakpoints)
{
	struct vmcb *vmcb = vcpu->vmcb;
	u64 debugctl;

	/*
	 * With BTF set only branches trap (APM2 13.2.2). Without LBR virtualization DEBUGCTL is
	 * the guest's; Bochs 2.7 has no DEBUGCTL.
	 */
	if (read_msr_safe(MSR_DEBUGCTL, &debugctl) && debugctl & DEBUGCTL_BTF)
		return;
	/*
	 * An injected #DB changes neither DR6 nor DR7 (APM2 15.20), whereas the processor's updates
	 * DR6 and clears DR7.GD (APM2 13.1.1.3, 13.1.1.4).
	 */
	vmcb->dr6 = (vmcb->dr6 & ~(u64)DR6_BREAKPOINTS) | DR6_BS | breakpoints;
	vmcb->dr7 &= ~(u64)DR7_GD;
	inject(vcpu, VECTOR_DB, 0);
}

static void describe_exit(struct vcpu *vcpu, char *line, size_t size)
{
	const struct vmcb *vmcb = vcpu->vmcb;
	struct text text = { .buffer = line, .size = size };

	text_add_field(&text, "exitcode", vmcb->exit_code);
	text_add_field(&text, "info1", vmcb->exit_info1);
	text_add_field(&text, "info2", vmcb->exit_info2);
	text_add_field(&text, "intinfo", vmcb->exit_int_info);
	text_add_field(&text, "guest-rsp", vmcb->rsp);
	text_add_field(&text, "guest-cr3", vmcb->cr3);
}

const struct backend svm_backend = {
	.name = "svm",
	.is_svm = true,
	.vendors = {
		/* AuthenticAMD, HygonGenuine */
		{ 0x68747541, 0x69746e65, 0x444d4163 },
		{ 0x6f677948, 0x6e65476e, 0x656e6975 },
	},
	.hypercall = hypercall_svm,
	.hypercall_address = hypercall_svm_address,
	.examine = svm_examine,
	.allocate = svm_allocate,
	.enable = svm_enable,
	.disable = svm_disable,
	.enter = svm_enter,
	.leave = svm_leave,
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
	.describe_exit = describe_exit,
};
