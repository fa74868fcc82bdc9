// SPDX-License-Identifier: MIT
/* Processors on which Veneer can be loaded, and one of their CPUs that it has entered. */
#include "core/backend.h"
#include "core/host_state.h"
#include "core/memory.h"
#include "fake_processor.h"

static struct vcpu *allocated;

/* A CPU in 64-bit kernel code, for which all is allocated, as load_on_this_cpu() finds it. */
static struct vcpu *allocate(const struct backend *backend)
{
	static const u64 gdt[] = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff };
	struct vcpu *vcpu = calloc(1, sizeof(*vcpu));

	CHECK(vcpu);
	vcpu->backend = backend;
	CHECK(!allocate_host_state(vcpu) && !backend->allocate(vcpu));
	vcpu->context = (struct context){
		.cr0 = fake_cr0,
		.cr3 = 0x1000,
		.cr4 = fake_cr4,
		.efer = get_msr(MSR_EFER),
		.rflags = RFLAGS_ALWAYS,
		.dr7 = DR7_RESET,
		.gdtr = { .limit = sizeof(gdt) - 1, .base = (u64)gdt },
		.cs = 8,
		.ss = 16,
	};
	prepare_host_state(vcpu, 0x1000);
	allocated = vcpu;
	return vcpu;
}

static struct vcpu *enter(const struct backend *backend)
{
	struct refusal refusal = { 0 };
	struct vcpu *vcpu = allocate(backend);

	CHECK(!backend->enable(vcpu, &refusal));
	CHECK(!backend->enter(vcpu, &refusal));
	vcpu->in_guest_mode = true;
	return vcpu;
}

void forget_vcpu(void)
{
	free(allocated);
	memory_free_all();
}

/* A control word of VMX: none is forced, all are allowed. */
#define ANY (0xffffffffull << 32)

void set_up_intel(void)
{
	forget_processor();
	set_cpuid(0, 0, 0x1f, 0, 0, 0);
	set_cpuid(1, 0, 0, 0, 1u << 5, 1u << 7);
	set_cpuid(7, 0, 1, 0, 0, 0);
	set_cpuid(0x80000000, 0, 0x80000008, 0, 0, 0);
	set_cpuid(0x80000001, 0, 0, 0, 0, 1u << 20 | 1u << 26);
	set_cpuid(0x80000008, 0, 39, 0, 0, 0);
	set_msr(MSR_FEATURE_CONTROL, FEATURE_CONTROL_LOCKED | FEATURE_CONTROL_VMX);
	set_msr(MSR_VMX_BASIC, 6ull << 50 | VMX_BASIC_TRUE_CONTROLS);
	set_msr(MSR_VMX_SECONDARY, ANY);
	set_msr(MSR_VMX_TRUE_PIN, ANY);
	set_msr(MSR_VMX_TRUE_PRIMARY, ANY);
	set_msr(MSR_VMX_TRUE_EXIT, ANY);
	set_msr(MSR_VMX_TRUE_ENTRY, ANY);
	set_msr(MSR_VMX_EPT_VPID_CAP, ~0ull);
	set_msr(MSR_VMX_CR0_FIXED0, CR0_PG | CR0_PE | CR0_NE);
	set_msr(MSR_VMX_CR0_FIXED1, 0xffffffff);
	set_msr(MSR_VMX_CR4_FIXED0, CR4_VMXE);
	set_msr(MSR_VMX_CR4_FIXED1, 0xffffffff);
	set_msr(MSR_EFER, EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE);
	set_msr(MSR_PAT, 0x0007040600070406);
	set_msr(MSR_SYSENTER_CS, 0);
	set_msr(MSR_SYSENTER_ESP, 0);
	set_msr(MSR_SYSENTER_EIP, 0);
	set_msr(MSR_DEBUGCTL, 0);
}

void set_up_amd(void)
{
	forget_processor();
	set_cpuid(0, 0, 0x10, 0, 0, 0);
	set_cpuid(1, 0, 0, 0, 0, 1u << 7);
	set_cpuid(7, 0, 0, 0, 0, 0);
	set_cpuid(0x80000000, 0, 0x80000021, 0, 0, 0);
	set_cpuid(0x80000001, 0, 0, 0, 1u << 2, 1u << 20 | 1u << 26);
	set_cpuid(0x80000008, 0, 48, 0, 0, 0);
	set_cpuid(0x8000000a, 0, 1, 8, 0, 1);
	set_msr(MSR_VM_CR, 0);
	set_msr(MSR_FS_BASE, 0);
	set_msr(MSR_GS_BASE, 0);
	set_msr(MSR_VM_HSAVE_PA, 0);
	set_msr(MSR_EFER, EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE);
	set_msr(MSR_PAT, 0x0007040600070406);
	set_msr(MSR_DEBUGCTL, 0);
}

struct vcpu *allocate_intel(void)
{
	return allocate(&vmx_backend);
}

struct vcpu *allocate_amd(void)
{
	return allocate(&svm_backend);
}

struct vcpu *enter_intel(void)
{
	return enter(&vmx_backend);
}

struct vcpu *enter_amd(void)
{
	return enter(&svm_backend);
}
