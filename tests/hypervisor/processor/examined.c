// SPDX-License-Identifier: MIT
/*
 * What a processor must have, one thing taken from it at a time: each refusal has its error and the bits that are missing, and
 * what Veneer can do without is no reason for one.
 */
#include <string.h>

#include "core/backend.h"
#include "core/memory.h"
#include "fake_processor.h"
#include "svm/setup.h"
#include "vmx/capabilities.h"
#include "vmx/vmcs.h"

static struct vmx_controls controls;

static void accepts(int (*examine)(struct refusal *refusal))
{
	struct refusal refusal = { 0 };

	CHECK(!examine(&refusal) && !refusal.error && !refusal.reason);
	if (examine == vmx_examine)
		CHECK(!vmx_find_controls(&controls, &refusal));
}

static void refuses(int (*examine)(struct refusal *refusal), int error, u64 detail)
{
	struct refusal refusal = { 0 };

	CHECK(examine(&refusal) == error && refusal.error == error && refusal.reason);
	CHECK(refusal.detail == detail);
}

static void intel_refuses(int error, u64 detail)
{
	refuses(vmx_examine, error, detail);
	set_up_intel();
}

static void test_vmx_switches(void)
{
	set_up_intel();
	accepts(vmx_examine);
	set_cpuid(1, 0, 0, 0, 0, 1u << 7);
	intel_refuses(-ENODEV, 0);
	/* IA32_FEATURE_CONTROL: not locked; locked with VMX in SMX operation only (SDM 3C 24.7). */
	set_msr(MSR_FEATURE_CONTROL, 0);
	accepts(vmx_examine);
	set_msr(MSR_FEATURE_CONTROL, 1);
	intel_refuses(-EPERM, 1);
	set_msr(MSR_FEATURE_CONTROL, 1 | 2);
	intel_refuses(-EPERM, 3);
	fake_cr4 |= CR4_VMXE;
	intel_refuses(-EBUSY, CR4_PAE | CR4_OSXSAVE | CR4_VMXE);
	/* IA32_VMX_BASIC: structures below 4 GiB; uncached (SDM 3D A.1). */
	set_msr(MSR_VMX_BASIC, 6ull << 50 | 1ull << 48 | 1ull << 55);
	intel_refuses(-ENODEV, 6ull << 50 | 1ull << 48 | 1ull << 55);
	set_msr(MSR_VMX_BASIC, 1ull << 55);
	intel_refuses(-ENODEV, 1ull << 55);
}

struct control_word {
	u32 true_msr, msr;
	/* Needed; used if it is there; and 1 on every processor (SDM 3D A.2, A.3). */
	u32 needed, optional, default1;
	const u32 *value;
};

#define ALL 0xffffffffull

static const struct control_word words[] = {
	{ 0x48d, 0x481, 1u << 3 | 1u << 5, 0, 0x16, &controls.pin },
	{ 0x48e, 0x482, 1u << 28 | 1u << 31, 0, 0x04006172, &controls.primary },
	{ 0x48b, 0x48b, 1u << 1, 1u << 5 | 1u << 7, 0, &controls.secondary },
	{ 0x48f, 0x483, 1u << 2 | 1u << 9 | 0xfu << 18, 0, 0x00036dfb, &controls.exit },
	{ 0x490, 0x484, 1u << 2 | 1u << 9 | 3u << 14, 0, 0x000011fb, &controls.entry },
};

/* A processor whose control words are in the MSRs that all processors have, or in the newer ones. */
static void set_up(bool has_true)
{
	set_up_intel();
	if (has_true)
		return;
	set_msr(MSR_VMX_BASIC, 6ull << 50);
	for (unsigned int i = 0; i < COUNT_OF(words); i++) {
		/* What the newer one says must not be looked at. */
		if (words[i].msr != words[i].true_msr)
			set_msr(words[i].true_msr, 0);
		set_msr(words[i].msr, ALL << 32);
	}
}

static void test_control_word(const struct control_word *word, bool has_true)
{
	const u32 msr = has_true ? word->true_msr : word->msr;

	set_up(has_true);
	accepts(vmx_examine);
	CHECK(*word->value == (word->needed | word->optional));
	set_msr(msr, ALL << 32 | word->default1);
	accepts(vmx_examine);
	CHECK(*word->value == (word->needed | word->optional | word->default1));
	for (unsigned int i = 0; i < 32; i++) {
		const u32 bit = 1u << i;

		set_up(has_true);
		set_msr(msr, (ALL & ~bit) << 32);
		if (word->needed & bit) {
			/* EPT is named by the whole MSR. */
			refuses(vmx_examine, -ENODEV,
				word->value == &controls.secondary ? (ALL & ~bit) << 32 : bit);
		} else if (word->value == &controls.primary && bit == 1u << 22) {
			refuses(vmx_examine, -ENODEV, bit);
		} else {
			accepts(vmx_examine);
			CHECK(*word->value == (word->needed | (word->optional & ~bit)));
		}
		set_msr(msr, ALL << 32 | bit);
		if (bit & (word->needed | word->optional | word->default1))
			accepts(vmx_examine);
		else
			refuses(vmx_examine, -ENODEV, bit);
	}
}

/* Instructions that a guest has only with a control, which must be there if CPUID has the instruction. */
static void test_gated_instructions(void)
{
	static const struct {
		u32 leaf, subleaf, b, c, d, a, control;
	} gated[] = {
		{ 0x80000001, 0, 0, 0, 1u << 20 | 1u << 26 | 1u << 27, 0, 1u << 3 }, /* RDTSCP */
		{ 7, 0, 0, 1u << 22, 0, 1, 1u << 3 },				     /* RDPID */
		{ 7, 0, 1u << 10, 0, 0, 1, 1u << 12 },				     /* INVPCID */
		{ 0xd, 1, 0, 0, 0, 1u << 3, 1u << 20 },				     /* XSAVES */
		{ 7, 0, 0, 1u << 5, 0, 1, 1u << 26 },				     /* WAITPKG */
		{ 7, 0, 0, 0, 1u << 18, 1, 1u << 27 },				     /* PCONFIG */
	};

	for (unsigned int i = 0; i < COUNT_OF(gated); i++) {
		set_up_intel();
		set_cpuid(gated[i].leaf, gated[i].subleaf, gated[i].a, gated[i].b, gated[i].c,
			  gated[i].d);
		accepts(vmx_examine);
		CHECK(controls.secondary == (1u << 1 | 1u << 5 | 1u << 7 | gated[i].control));
		set_msr(MSR_VMX_SECONDARY, (ALL & ~gated[i].control) << 32);
		intel_refuses(-ENODEV, gated[i].control);
	}
}

/* IA32_VMX_EPT_VPID_CAP (SDM 3D A.10). */
static void test_ept(void)
{
	const u64 needed = 1u << 6 | 1u << 14 | 1u << 16 | 1u << 20 | 1u << 26;

	for (unsigned int i = 0; i < 64; i++) {
		set_up_intel();
		set_msr(MSR_VMX_EPT_VPID_CAP, ~(1ull << i));
		if (needed & 1ull << i) {
			intel_refuses(-ENODEV, 1ull << i);
		} else {
			accepts(vmx_examine);
			CHECK(!(controls.secondary & 1u << 5) == (i == 32 || i == 42));
		}
	}
	/* 512 pages of 2 MiB for each GiB: up to 40 bits. */
	set_up_intel();
	set_msr(MSR_VMX_EPT_VPID_CAP, ~(1ull << 17));
	set_cpuid(0x80000008, 0, 40, 0, 0, 0);
	accepts(vmx_examine);
	set_cpuid(0x80000008, 0, 41, 0, 0, 0);
	refuses(vmx_examine, -ENODEV, 41);
	set_msr(MSR_VMX_EPT_VPID_CAP, ~0ull);
	accepts(vmx_examine);
}

static void test_svm(void)
{
	struct refusal refusal = { 0 };
	struct vcpu *vcpu;

	set_up_amd();
	accepts(svm_examine);
	set_cpuid(0x80000000, 0, 0x8000000a, 0, 0, 0);
	accepts(svm_examine);
	set_cpuid(0x80000000, 0, 0x80000009, 0, 0, 0);
	refuses(svm_examine, -ENODEV, 0x80000009);
	set_up_amd();
	set_cpuid(0x80000001, 0, 0, 0, ~(1u << 2), 1u << 20 | 1u << 26);
	refuses(svm_examine, -ENODEV, ~(1u << 2));
	set_up_amd();
	set_cpuid(0x8000000a, 0, 1, 8, 0, ~1u);
	refuses(svm_examine, -ENODEV, ~1u);
	set_up_amd();
	set_cpuid(0x80000001, 0, 0, 0, 1u << 2, 1u << 20);
	refuses(svm_examine, -ENODEV, 48);
	set_cpuid(0x80000008, 0, 40, 0, 0, 0);
	accepts(svm_examine);
	set_cpuid(0x80000008, 0, 41, 0, 0, 0);
	refuses(svm_examine, -ENODEV, 41);

	/* On each CPU: VM_CR.SVMDIS; a hypervisor that is there already (APM2 15.4). A processor may lack VM_CR. */
	set_up_amd();
	set_msr(MSR_VM_CR, 1u << 4 | 1u << 3);
	vcpu = allocate_amd();
	CHECK(vcpu->backend->enable(vcpu, &refusal) == -EPERM && refusal.detail == 0x18);
	CHECK(!(get_msr(MSR_EFER) & EFER_SVME));
	set_msr(MSR_VM_CR, 1u << 3);
	set_msr(MSR_EFER, get_msr(MSR_EFER) | EFER_SVME);
	CHECK(vcpu->backend->enable(vcpu, &refusal) == -EBUSY);
	CHECK(refusal.detail == get_msr(MSR_EFER) && !get_msr(MSR_VM_HSAVE_PA));
	set_msr(MSR_EFER, get_msr(MSR_EFER) & ~EFER_SVME);
	CHECK(!vcpu->backend->enable(vcpu, &refusal));
	forget_vcpu();
}

/* Memory that runs out at every single allocation of a backend. */
static void test_memory(const struct backend *backend)
{
	int needed;

	for (needed = 0;; needed++) {
		struct vcpu vcpu = { .backend = backend };
		int error;

		fake_allocations_left = needed;
		fake_allocations_refused = 0;
		error = backend->allocate(&vcpu);
		fake_allocations_left = -1;
		memory_free_all();
		CHECK(error == (fake_allocations_refused ? -ENOMEM : 0));
		if (!error)
			break;
	}
	CHECK(needed > 4);
}

void test_examined(void)
{
	set_up_intel();
	test_memory(&vmx_backend);
	set_up_amd();
	test_memory(&svm_backend);
	test_vmx_switches();
	for (unsigned int i = 0; i < COUNT_OF(words); i++) {
		test_control_word(&words[i], true);
		test_control_word(&words[i], false);
	}
	test_gated_instructions();
	test_ept();
	test_svm();
}
