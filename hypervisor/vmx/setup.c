// SPDX-License-Identifier: MIT
/* Enabling VMX, filling the VMCS, entering, and disabling VMX without having entered. */
#include "setup.h"

#include "../core/cpuid_bits.h"
#include "../core/features.h"
#include "../core/host.h"
#include "../core/memory.h"
#include "../core/msr.h"
#include "../core/safe_instructions.h"
#include "enter.h"
#include "entry_checks.h"
#include "ept.h"
#include "state.h"
#include "vmx_cpu.h"

#define GUEST_VPID 1

/*
 * Offsets in the MSR bitmap: read and write bitmaps of MSRs from 0 and from c0000000 (SDM 3C
 * 25.6.9).
 */
#define BITMAP_READ_LOW 0x000
#define BITMAP_READ_HIGH 0x400
#define BITMAP_WRITE_LOW 0x800
#define BITMAP_WRITE_HIGH 0xc00
#define BITMAP_MSRS 0x2000
#define BITMAP_HIGH_FIRST 0xc0000000u

/* Shared by all CPUs of a load; allocated with the first one. */
static u64 shared_ept_pointer, shared_msr_bitmap;

static void guard_msrs(u8 *bitmap, const struct msr_range *range, bool reads)
{
	for (u32 msr = range->first; msr <= range->last; msr++) {
		bool high = msr >= BITMAP_HIGH_FIRST;
		u32 index = high ? msr - BITMAP_HIGH_FIRST : msr;

		/* MSRs outside of the bitmaps' ranges always exit. */
		if (index >= BITMAP_MSRS)
			continue;
		if (reads)
			bitmap[(high ? BITMAP_READ_HIGH : BITMAP_READ_LOW) + index / 8] |=
				1 << index % 8;
		bitmap[(high ? BITMAP_WRITE_HIGH : BITMAP_WRITE_LOW) + index / 8] |= 1 << index % 8;
	}
}

static int allocate_shared(void)
{
	u8 *bitmap = memory_alloc(1);

	if (!bitmap)
		return -ENOMEM;
	for (unsigned int i = 0; i < guarded_msr_count; i++)
		guard_msrs(bitmap, &guarded_msrs[i], true);
	for (unsigned int i = 0; i < memory_type_msr_count; i++)
		guard_msrs(bitmap, &memory_type_msrs[i], false);
	shared_msr_bitmap = host_physical(bitmap);
	return vmx_build_ept(&shared_ept_pointer);
}

int vmx_allocate(struct vcpu *vcpu)
{
	struct vmx_cpu *vmx = memory_alloc(1);
	int error;

	if (!vmx)
		return -ENOMEM;
	if (!vcpu->cpu) {
		error = allocate_shared();
		if (error)
			return error;
	}
	vcpu->backend_data = vmx;
	vmx->ept_pointer = shared_ept_pointer;
	vmx->msr_bitmap = shared_msr_bitmap;
	/* Each is at most one page (SDM 3D A.1). */
	vmx->vmxon_region = memory_alloc(1);
	vmx->vmcs = memory_alloc(1);
	if (!vmx->vmxon_region || !vmx->vmcs)
		return -ENOMEM;
	vmx->vmcs_physical = host_physical(vmx->vmcs);
	vmx->msr_lists = memory_alloc(1);
	if (!vmx->msr_lists)
		return -ENOMEM;
	vmx->msr_lists_physical = host_physical(vmx->msr_lists);
	return 0;
}

/*
 * If firmware has not locked the MSR, enable VMX and lock it. VMXON requires it, and only a reset
 * unlocks the MSR (SDM 3C 24.7), so that it stays locked after unloading and after a refusal that
 * comes later: when all that can be examined has been, on all CPUs, and VMXON is all that is left.
 */
static int unlock_vmx(struct refusal *refusal)
{
	u64 value = read_msr(MSR_FEATURE_CONTROL);

	if (value & FEATURE_CONTROL_LOCKED)
		return 0;
	if (!write_msr_safe(MSR_FEATURE_CONTROL,
			    value | FEATURE_CONTROL_VMX | FEATURE_CONTROL_LOCKED))
		return refuse_with(refusal, -EPERM, "IA32_FEATURE_CONTROL cannot be set", value);
	return 0;
}

/* Set the bits of CR0 and CR4 that VMX operation requires (SDM 3D A.7, A.8). */
static int fix_control_registers(struct vmx_cpu *vmx, struct refusal *refusal)
{
	u64 cr0 = read_cr0() | read_msr(MSR_VMX_CR0_FIXED0);
	u64 cr4 = read_cr4() | read_msr(MSR_VMX_CR4_FIXED0);

	vmx->old_cr0 = read_cr0();
	vmx->old_cr4 = read_cr4();
	if (cr0 & ~read_msr(MSR_VMX_CR0_FIXED1))
		return refuse_with(refusal, -ENODEV, "VMX does not allow a bit that is set in CR0",
				   cr0 & ~read_msr(MSR_VMX_CR0_FIXED1));
	if (cr4 & ~read_msr(MSR_VMX_CR4_FIXED1))
		return refuse_with(refusal, -ENODEV, "VMX does not allow a bit that is set in CR4",
				   cr4 & ~read_msr(MSR_VMX_CR4_FIXED1));
	write_cr0(cr0);
	write_cr4(cr4);
	return 0;
}

static void restore_control_registers(const struct vmx_cpu *vmx)
{
	write_cr4(vmx->old_cr4);
	write_cr0(vmx->old_cr0);
}

/* CPUID faulting (SDM 4 table 2-2, MSR_PLATFORM_INFO and MSR_MISC_FEATURES_ENABLES). */
static void find_cpuid_faulting(struct vcpu *vcpu)
{
	u64 value;

	if (!read_msr_safe(MSR_PLATFORM_INFO, &value) || !(value & PLATFORM_INFO_CPUID_FAULTING) ||
	    !read_msr_safe(MSR_MISC_FEATURES_ENABLES, &value))
		return;
	vcpu->cpuid_fault_msr = MSR_MISC_FEATURES_ENABLES;
	vcpu->cpuid_fault_bit = MISC_FEATURES_CPUID_FAULTING;
}

/* CPUID 1 EDX.DS[21] (SDM 3B 18.4.9): without a debug store there is no PEBS. */
static bool find_pebs(void)
{
	u64 value;

	return has_feature(1, 0, CPUID_EDX, CPUID_1_EDX_DS) &&
	       read_msr_safe(MSR_PEBS_ENABLE, &value);
}

int vmx_enable(struct vcpu *vcpu, struct refusal *refusal)
{
	struct vmx_cpu *vmx = vmx_of(vcpu);
	int error = fix_control_registers(vmx, refusal);
	u64 physical = host_physical(vmx->vmxon_region);
	u32 revision;

	if (error)
		return error;
	revision = read_msr(MSR_VMX_BASIC) & VMX_BASIC_REVISION;
	*(u32 *)vmx->vmxon_region = revision;
	*(u32 *)vmx->vmcs = revision;
	vmx->launched = false;
	vmx->has_debugctl = read_msr_safe(MSR_DEBUGCTL, &vmx->old_debugctl);
	/* Here, while Veneer's IDT catches faults. */
	vmx->has_pebs = find_pebs();
	find_cpuid_faulting(vcpu);
	error = unlock_vmx(refusal);
	if (!error && !vmxon_safe(&physical))
		error = refuse_with(refusal, -EIO, "VMXON failed", read_msr(MSR_FEATURE_CONTROL));
	if (error)
		restore_control_registers(vmx);
	return error;
}

void vmx_disable(struct vcpu *vcpu)
{
	struct vmx_cpu *vmx = vmx_of(vcpu);

	vmclear(vmx->vmcs_physical);
	vmx->vmcs_is_current = false;
	vmxoff();
	restore_control_registers(vmx);
}

/*
 * Host mode changes no MSRs but those that exits and entries switch. One must be off in it: with PEBS a counter that
 * overflows makes the processor write to the OS' debug store, which is not mapped in host mode (SDM 3B 18.4.9, 20.6.2.4).
 * BTS is off already: an exit clears IA32_DEBUGCTL (SDM 3C 28.5.1).
 */
static void fill_msr_lists(struct vmx_cpu *vmx)
{
	unsigned int count = vmx->has_pebs ? 1 : 0;
	struct msr_entry *guest = &vmx->msr_lists[0], *host = &vmx->msr_lists[1];

	if (vmx->has_pebs) {
		*guest = (struct msr_entry){ MSR_PEBS_ENABLE, 0, read_msr(MSR_PEBS_ENABLE) };
		*host = (struct msr_entry){ MSR_PEBS_ENABLE, 0, 0 };
		vmx_set(vmx, VMCS_EXIT_MSR_STORE, vmx->msr_lists_physical);
		vmx_set(vmx, VMCS_ENTRY_MSR_LOAD, vmx->msr_lists_physical);
		vmx_set(vmx, VMCS_EXIT_MSR_LOAD, vmx->msr_lists_physical + sizeof(*guest));
	}
	vmx_set(vmx, VMCS_EXIT_MSR_STORE_COUNT, count);
	vmx_set(vmx, VMCS_ENTRY_MSR_LOAD_COUNT, count);
	vmx_set(vmx, VMCS_EXIT_MSR_LOAD_COUNT, count);
}

static void fill_controls(struct vcpu *vcpu)
{
	struct vmx_cpu *vmx = vmx_of(vcpu);
	const struct vmx_controls *controls = &vmx->controls;

	vmx_set(vmx, VMCS_PIN_CONTROLS, controls->pin);
	vmx_set(vmx, VMCS_PRIMARY_CONTROLS, controls->primary);
	vmx_set(vmx, VMCS_SECONDARY_CONTROLS, controls->secondary);
	vmx_set(vmx, VMCS_EXIT_CONTROLS, controls->exit);
	vmx_set(vmx, VMCS_ENTRY_CONTROLS, controls->entry);
	vmx_set(vmx, VMCS_MSR_BITMAP, vmx->msr_bitmap);
	vmx_set(vmx, VMCS_EPT_POINTER, vmx->ept_pointer);
	if (controls->secondary & SECONDARY_VPID)
		vmx_set(vmx, VMCS_VPID, GUEST_VPID);
	if (controls->secondary & SECONDARY_XSAVES)
		vmx_set(vmx, VMCS_XSS_EXITING_BITMAP, 0);
	if (controls->secondary & SECONDARY_PCONFIG)
		vmx_set(vmx, VMCS_PCONFIG_EXITING_BITMAP, 0);
	/* No exceptions exit, and no page faults, whatever their error code (SDM 3C 25.6.3). */
	vmx_set(vmx, VMCS_EXCEPTION_BITMAP, 0);
	vmx_set(vmx, VMCS_PAGE_FAULT_MASK, 0);
	vmx_set(vmx, VMCS_PAGE_FAULT_MATCH, 0);
	vmx_set(vmx, VMCS_CR3_TARGET_COUNT, 0);
	vmx_set(vmx, VMCS_TSC_OFFSET, 0);
	fill_msr_lists(vmx);
	vmx_set(vmx, VMCS_ENTRY_EVENT, 0);
}

static int explain_failure(struct vcpu *vcpu, struct refusal *refusal, int result)
{
	u64 detail = result == VMX_FAILED ? vmcs_read(VMCS_INSTRUCTION_ERROR)
					  : vmcs_read(VMCS_EXIT_REASON);

	refuse_with(refusal, -EIO,
		    result == VMX_FAILED ? "VMLAUNCH failed; the value is the VM-instruction error"
					 : "VM entry failed; the value is the exit reason",
		    detail);
	vmx_find_broken_rules(vcpu, refusal->evidence, sizeof(refusal->evidence));
	return refusal->error;
}

int vmx_enter(struct vcpu *vcpu, struct refusal *refusal)
{
	struct vmx_cpu *vmx = vmx_of(vcpu);
	u64 physical = vmx->vmcs_physical;
	int result, error;

	error = vmx_find_controls(&vmx->controls, refusal);
	if (error)
		return error;
	if (!vmclear(physical) || !vmptrld(physical))
		return refuse_with(refusal, -EIO, "VMCLEAR or VMPTRLD failed", physical);
	vmx->vmcs_is_current = true;
	vmx->refused_entry_rip = (u64)vmx_entry_refused;
	vmx->refused_field = 0;
	vcpu->cr0_always = vmx->controls.secondary & SECONDARY_UNRESTRICTED_GUEST ? 0
										  : CR0_PE | CR0_PG;
	fill_controls(vcpu);
	vmx_fill_host_state(vcpu);
	vmx_fill_guest_state(vcpu);
	if (vmx->refused_field)
		return refuse_with(refusal, -EIO,
				   "VMWRITE failed; the value is the encoding of the field",
				   vmx->refused_field);
	/* Flush translations with the same tags that an earlier load may have left. */
	invept_all();
	if (vmx->controls.secondary & SECONDARY_VPID)
		invvpid_all();
	result = vmx_launch(vcpu);
	if (result != VMX_IN_GUEST_MODE)
		return explain_failure(vcpu, refusal, result);
	vmx->launched = true;
	return 0;
}
