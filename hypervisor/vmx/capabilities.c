// SPDX-License-Identifier: MIT
/* What this CPU's VMX can do, and the controls that follow from it (SDM 3D appendix A). */
#include "capabilities.h"

#include "../core/context.h"
#include "../core/cpuid_bits.h"
#include "../core/features.h"
#include "mtrr.h"
#include "vmcs.h"

/*
 * Reserved bits that processors report as fixed to 1 ("default1", SDM 3D A.2), without a meaning
 * for Veneer.
 */
#define PIN_RESERVED 0x00000016u
#define PRIMARY_RESERVED 0x04006172u
#define EXIT_RESERVED 0x00036dfbu
#define ENTRY_RESERVED 0x000011fbu

/* Instructions that raise #UD in a guest unless a control enables them (SDM 3C 25.6.2, 26.3). */
static const struct {
	u32 leaf, subleaf;
	u8 output;
	u32 bit, control;
} gated_instructions[] = {
	{ 0x80000001, 0, CPUID_EDX, CPUID_80000001_EDX_RDTSCP, SECONDARY_RDTSCP },
	{ 7, 0, CPUID_ECX, CPUID_7_ECX_RDPID, SECONDARY_RDTSCP },
	{ 7, 0, CPUID_EBX, CPUID_7_EBX_INVPCID, SECONDARY_INVPCID },
	{ 0xd, 1, CPUID_EAX, CPUID_D_1_EAX_XSAVES, SECONDARY_XSAVES },
	{ 7, 0, CPUID_ECX, CPUID_7_ECX_WAITPKG, SECONDARY_USER_WAIT },
	{ 7, 0, CPUID_EDX, CPUID_7_EDX_PCONFIG, SECONDARY_PCONFIG },
};

static u32 find_gating_controls(void)
{
	u32 controls = 0;

	for (unsigned int i = 0; i < COUNT_OF(gated_instructions); i++) {
		if (has_feature(gated_instructions[i].leaf, gated_instructions[i].subleaf,
				gated_instructions[i].output, gated_instructions[i].bit))
			controls |= gated_instructions[i].control;
	}
	return controls;
}

/*
 * Low half of a capability MSR: bits that must be 1; high half: bits that may be 1 (SDM 3D A.3).
 * Refused if a bit must be 1 that is neither wanted nor reserved, since it would cause exits that
 * have no handler.
 */
static int fit(u32 msr, u32 required, u32 optional, u32 reserved, u32 *value,
	       struct refusal *refusal, const char *missing, const char *forced)
{
	u64 allowed = read_msr(msr);
	u32 must = allowed, may = allowed >> 32;

	*value = required | (optional & may) | must;
	if (required & ~may)
		return refuse_with(refusal, -ENODEV, missing, required & ~may);
	if (must & ~(required | optional | reserved))
		return refuse_with(refusal, -ENODEV, forced,
				   must & ~(required | optional | reserved));
	return 0;
}

static int fit_processor_controls(struct vmx_controls *controls, bool has_true,
				  struct refusal *refusal)
{
	int error;

	error = fit(has_true ? MSR_VMX_TRUE_PRIMARY : MSR_VMX_PRIMARY,
		    PRIMARY_MSR_BITMAPS | PRIMARY_SECONDARY_CONTROLS, 0, PRIMARY_RESERVED,
		    &controls->primary, refusal,
		    "VMX has no MSR bitmaps or no secondary controls (primary controls)",
		    "VMX insists on exits that Veneer does not want (primary controls)");
	if (error)
		return error;
	if (!(read_msr(has_true ? MSR_VMX_TRUE_PRIMARY : MSR_VMX_PRIMARY) >> 32 &
	      PRIMARY_NMI_WINDOW))
		return refuse_with(refusal, -ENODEV, "VMX has no NMI-window exiting",
				   PRIMARY_NMI_WINDOW);
	if (!(read_msr(MSR_VMX_SECONDARY) >> 32 & SECONDARY_EPT))
		return refuse_with(refusal, -ENODEV,
				   "VMX has no extended page tables (secondary controls, EPT)",
				   read_msr(MSR_VMX_SECONDARY));
	/*
	 * No tertiary controls: RDMSRLIST and WRMSRLIST, which they enable, are hidden in CPUID (core/cpuid.c).
	 */
	error = fit(MSR_VMX_SECONDARY, SECONDARY_EPT | find_gating_controls(),
		    SECONDARY_UNRESTRICTED_GUEST | SECONDARY_VPID, 0, &controls->secondary, refusal,
		    "VMX cannot enable an instruction that CPUID announces (secondary controls)",
		    "VMX insists on something that Veneer does not want (secondary controls)");
	return error;
}

static int check_ept(struct vmx_controls *controls, struct refusal *refusal)
{
	const u64 needed = EPT_CAP_FOUR_LEVELS | EPT_CAP_WRITE_BACK | EPT_CAP_2_MIB_PAGES |
			   EPT_CAP_INVEPT_ALL;
	u64 found = read_msr(MSR_VMX_EPT_VPID_CAP);

	if (needed & ~found)
		return refuse_with(
			refusal, -ENODEV,
			"EPT lacks 4 levels, WB, 2-MiB pages or INVEPT of all contexts (IA32_VMX_EPT_VPID_CAP)",
			needed & ~found);
	/* No VPID without all-context INVVPID. */
	if (VPID_CAP_INVVPID_ALL & ~found)
		controls->secondary &= ~SECONDARY_VPID;
	return 0;
}

int vmx_find_controls(struct vmx_controls *controls, struct refusal *refusal)
{
	bool has_true = read_msr(MSR_VMX_BASIC) & VMX_BASIC_TRUE_CONTROLS;
	int error;

	*controls = (struct vmx_controls){ 0 };
	error = fit(has_true ? MSR_VMX_TRUE_PIN : MSR_VMX_PIN, PIN_NMI_EXITING | PIN_VIRTUAL_NMIS,
		    0, PIN_RESERVED, &controls->pin, refusal,
		    "VMX has no NMI exiting or no virtual NMIs (pin-based controls)",
		    "VMX insists on exits that Veneer does not want (pin-based controls)");
	if (!error)
		error = fit_processor_controls(controls, has_true, refusal);
	if (!error)
		error = fit(
			has_true ? MSR_VMX_TRUE_EXIT : MSR_VMX_EXIT,
			EXIT_SAVE_DEBUG | EXIT_HOST_64_BIT | EXIT_SAVE_PAT | EXIT_LOAD_PAT |
				EXIT_SAVE_EFER | EXIT_LOAD_EFER,
			0, EXIT_RESERVED, &controls->exit, refusal,
			"VM exits cannot switch DR7, PAT or EFER (VM-exit controls)",
			"VMX insists on something that Veneer does not want (VM-exit controls)");
	if (!error)
		error = fit(
			has_true ? MSR_VMX_TRUE_ENTRY : MSR_VMX_ENTRY,
			ENTRY_LOAD_DEBUG | ENTRY_IA32E_GUEST | ENTRY_LOAD_PAT | ENTRY_LOAD_EFER, 0,
			ENTRY_RESERVED, &controls->entry, refusal,
			"VM entries cannot switch DR7, PAT or EFER (VM-entry controls)",
			"VMX insists on something that Veneer does not want (VM-entry controls)");
	return error ? error : check_ept(controls, refusal);
}

/*
 * "Unrestricted guest" is used where it exists. Without it the guest must keep paging on, as every
 * OS does under which Veneer is loaded: clearing CR0.PG or PE is #GP (vcpu->cr0_always), and INIT
 * ends in a crash report.
 */
int vmx_examine(struct refusal *refusal)
{
	struct vmx_controls controls;
	u64 basic, feature_control;
	int error;

	if (!has_feature(1, 0, CPUID_ECX, CPUID_1_ECX_VMX))
		return refuse_with(refusal, -ENODEV, "the processor has no VMX (CPUID 1 ECX.VMX)",
				   0);
	/* The MSRs exist wherever VMX does (SDM 4 table 2-2). */
	feature_control = read_msr(MSR_FEATURE_CONTROL);
	if (feature_control & FEATURE_CONTROL_LOCKED && !(feature_control & FEATURE_CONTROL_VMX))
		return refuse_with(
			refusal, -EPERM,
			"firmware has switched VMX off and locked the switch (IA32_FEATURE_CONTROL)",
			feature_control);
	if (read_cr4() & CR4_VMXE)
		return refuse_with(refusal, -EBUSY,
				   "VMX is in use by another hypervisor (CR4.VMXE)", read_cr4());
	basic = read_msr(MSR_VMX_BASIC);
	if (basic & VMX_BASIC_ADDRESSES_32_BIT || VMX_BASIC_MEMORY_TYPE(basic) != MEMORY_TYPE_WB)
		return refuse_with(
			refusal, -ENODEV,
			"VMX wants its structures below 4 GiB or uncached (IA32_VMX_BASIC)", basic);
	error = vmx_find_controls(&controls, refusal);
	if (error)
		return error;
	if (physical_address_bits() > 40 && !(read_msr(MSR_VMX_EPT_VPID_CAP) & EPT_CAP_1_GIB_PAGES))
		return refuse_with(
			refusal, -ENODEV,
			"more than 40 address bits, but no 1-GiB pages in EPT to map them with",
			physical_address_bits());
	return 0;
}
