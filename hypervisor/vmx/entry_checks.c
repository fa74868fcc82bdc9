// SPDX-License-Identifier: MIT
/*
 * The processor does not say which rule a refused VM entry breaks. This applies the rules to the
 * current VMCS (SDM 3C 27.2, 27.3) and names the fields that break one, with their values.
 */
#include "entry_checks.h"

#include "../core/context.h"
#include "../core/text.h"
#include "vmx_cpu.h"

#define TYPE(rights) ((rights)&0xf)
#define RIGHTS_CODE_OR_DATA (1u << 4)
#define RIGHTS_DPL(rights) ((rights) >> 5 & 3)
#define RIGHTS_GRANULARITY (1u << 15)
#define RIGHTS_RESERVED 0xfffe0f00u
#define RFLAGS_RESERVED 0xffffffffffc08028ull
#define DEBUGCTL_RESERVED 0xffffffffffff003cull
#define EFER_KNOWN (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)
#define SELECTOR_RPL_OR_TI 7u
#define SELECTOR_TI 4u

struct checker {
	struct text text;
	bool is_ia32e, is_unrestricted;
	unsigned int address_bits;
};

static void expect(struct checker *checker, const char *name, u64 value, bool holds)
{
	if (!holds)
		text_add_field(&checker->text, name, value);
}

static bool is_canonical(u64 address)
{
	unsigned int shift = read_cr4() & CR4_LA57 ? 7 : 16;

	return (u64)((long long)(address << shift) >> shift) == address;
}

static void expect_canonical(struct checker *checker, const char *name, u64 field)
{
	u64 value = vmcs_read(field);

	expect(checker, name, value, is_canonical(value));
}

/* Fixed bits of CR0 and CR4 (SDM 3D A.7, A.8). */
static bool is_fixed(u64 value, u32 must_msr, u32 may_msr, u64 free)
{
	return !(read_msr(must_msr) & ~free & ~value) && !(value & ~read_msr(may_msr));
}

static bool is_pat(u64 pat)
{
	for (; pat; pat >>= 8) {
		u8 type = pat;

		if (type == 2 || type == 3 || type > 7)
			return false;
	}
	return true;
}

static bool is_physical(const struct checker *checker, u64 address)
{
	return !(address >> checker->address_bits);
}

/*
 * The controls were computed from what is allowed: check that they still are what was computed
 * (SDM 3C 27.2.1).
 */
static void check_controls(struct checker *checker, const struct vmx_cpu *vmx)
{
	u64 pin = vmcs_read(VMCS_PIN_CONTROLS), primary = vmcs_read(VMCS_PRIMARY_CONTROLS);
	u64 pointer = vmcs_read(VMCS_EPT_POINTER);

	expect(checker, "pin", pin, pin == vmx->controls.pin);
	/* An NMI, or a machine check, that came behind the refused entry has asked for the window. */
	expect(checker, "primary", primary,
	       (primary & ~PRIMARY_NMI_WINDOW) == vmx->controls.primary);
	expect(checker, "secondary", vmcs_read(VMCS_SECONDARY_CONTROLS),
	       vmcs_read(VMCS_SECONDARY_CONTROLS) == vmx->controls.secondary);
	expect(checker, "exit-controls", vmcs_read(VMCS_EXIT_CONTROLS),
	       vmcs_read(VMCS_EXIT_CONTROLS) == vmx->controls.exit);
	expect(checker, "entry-controls", vmcs_read(VMCS_ENTRY_CONTROLS),
	       vmcs_read(VMCS_ENTRY_CONTROLS) == vmx->controls.entry);
	expect(checker, "msr-bitmap", vmcs_read(VMCS_MSR_BITMAP),
	       !(vmcs_read(VMCS_MSR_BITMAP) & (PAGE_BYTES - 1)) &&
		       is_physical(checker, vmcs_read(VMCS_MSR_BITMAP)));
	/* Write-back, four levels, and a page (SDM 3C 25.6.11). */
	expect(checker, "ept-pointer", pointer,
	       (pointer & (PAGE_BYTES - 1)) == 0x1e && is_physical(checker, pointer));
	if (vmx->controls.secondary & SECONDARY_VPID)
		expect(checker, "vpid", vmcs_read(VMCS_VPID), vmcs_read(VMCS_VPID));
	expect(checker, "entry-event", vmcs_read(VMCS_ENTRY_EVENT),
	       !(vmcs_read(VMCS_ENTRY_EVENT) & EVENT_VALID));
}

/* SDM 3C 27.2.2 to 27.2.4. */
static void check_host(struct checker *checker)
{
	static const struct {
		u16 field, forbidden;
		const char *name;
	} selectors[] = {
		{ HOST_CS_SELECTOR, SELECTOR_RPL_OR_TI, "host-cs" },
		{ HOST_SS_SELECTOR, SELECTOR_RPL_OR_TI, "host-ss" },
		{ HOST_TR_SELECTOR, SELECTOR_RPL_OR_TI, "host-tr" },
	};
	u64 cr0 = vmcs_read(VMCS_HOST_CR0), cr4 = vmcs_read(VMCS_HOST_CR4);
	u64 efer = vmcs_read(VMCS_HOST_EFER);

	expect(checker, "host-cr0", cr0, is_fixed(cr0, MSR_VMX_CR0_FIXED0, MSR_VMX_CR0_FIXED1, 0));
	expect(checker, "host-cr4", cr4,
	       is_fixed(cr4, MSR_VMX_CR4_FIXED0, MSR_VMX_CR4_FIXED1, 0) && cr4 & CR4_PAE);
	expect(checker, "host-cr3", vmcs_read(VMCS_HOST_CR3),
	       is_physical(checker, vmcs_read(VMCS_HOST_CR3)));
	expect(checker, "host-efer", efer,
	       !(efer & ~EFER_KNOWN) && efer & EFER_LMA && efer & EFER_LME);
	expect(checker, "host-pat", vmcs_read(VMCS_HOST_PAT), is_pat(vmcs_read(VMCS_HOST_PAT)));
	for (unsigned int i = 0; i < COUNT_OF(selectors); i++) {
		u64 selector = vmcs_read(selectors[i].field);

		expect(checker, selectors[i].name, selector,
		       selector && !(selector & selectors[i].forbidden));
	}
	expect_canonical(checker, "host-fs-base", VMCS_HOST_FS_BASE);
	expect_canonical(checker, "host-gs-base", VMCS_HOST_GS_BASE);
	expect_canonical(checker, "host-tr-base", VMCS_HOST_TR_BASE);
	expect_canonical(checker, "host-gdtr-base", VMCS_HOST_GDTR_BASE);
	expect_canonical(checker, "host-idtr-base", VMCS_HOST_IDTR_BASE);
	expect_canonical(checker, "host-rip", VMCS_HOST_RIP);
}

/* SDM 3C 27.3.1.1. */
static void check_control_registers(struct checker *checker)
{
	u64 cr0 = vmcs_read(VMCS_GUEST_CR0), cr4 = vmcs_read(VMCS_GUEST_CR4);
	u64 efer = vmcs_read(VMCS_GUEST_EFER), debugctl = vmcs_read(VMCS_GUEST_DEBUGCTL);
	u64 free = checker->is_unrestricted ? CR0_PE | CR0_PG : 0;
	bool paging = cr0 & CR0_PG;

	expect(checker, "cr0", cr0,
	       is_fixed(cr0, MSR_VMX_CR0_FIXED0, MSR_VMX_CR0_FIXED1, free) &&
		       (!paging || cr0 & CR0_PE));
	expect(checker, "cr4", cr4,
	       is_fixed(cr4, MSR_VMX_CR4_FIXED0, MSR_VMX_CR4_FIXED1, 0) &&
		       (checker->is_ia32e ? cr4 & CR4_PAE && paging : !(cr4 & CR4_PCIDE)));
	expect(checker, "cr3", vmcs_read(VMCS_GUEST_CR3),
	       is_physical(checker, vmcs_read(VMCS_GUEST_CR3)));
	expect(checker, "efer", efer,
	       !(efer & ~EFER_KNOWN) && !!(efer & EFER_LMA) == checker->is_ia32e &&
		       (!paging || !(efer & EFER_LMA) == !(efer & EFER_LME)));
	expect(checker, "pat", vmcs_read(VMCS_GUEST_PAT), is_pat(vmcs_read(VMCS_GUEST_PAT)));
	expect(checker, "debugctl", debugctl, !(debugctl & DEBUGCTL_RESERVED));
	expect(checker, "dr7", vmcs_read(VMCS_GUEST_DR7), !(vmcs_read(VMCS_GUEST_DR7) >> 32));
	expect_canonical(checker, "sysenter-esp", VMCS_GUEST_SYSENTER_ESP);
	expect_canonical(checker, "sysenter-eip", VMCS_GUEST_SYSENTER_EIP);
}

static bool is_good_type(const struct checker *checker, unsigned int index, u32 rights)
{
	bool code_or_data = rights & RIGHTS_CODE_OR_DATA;
	u32 type = TYPE(rights);

	switch (index) {
	case SEGMENT_CS:
		return code_or_data &&
		       ((type & 9) == 9 || (type == 3 && checker->is_unrestricted)) &&
		       !(checker->is_ia32e && rights & RIGHTS_LONG && rights & RIGHTS_DEFAULT_32);
	case SEGMENT_SS:
		return code_or_data && (type == 3 || type == 7);
	case SEGMENT_LDTR:
		return !code_or_data && type == 2;
	case SEGMENT_TR:
		return !code_or_data && (type == 11 || (type == 3 && !checker->is_ia32e));
	default:
		/* Accessed, and readable if it is code. */
		return code_or_data && type & 1 && (type & 10) != 8;
	}
}

/* SDM 3C 27.3.1.2, outside of virtual-8086 mode. */
static void check_segment(struct checker *checker, unsigned int index, const char *name)
{
	u32 rights = vmcs_read(GUEST_ACCESS_RIGHTS(index)), limit = vmcs_read(GUEST_LIMIT(index));
	u64 base = vmcs_read(GUEST_BASE(index)), selector = vmcs_read(GUEST_SELECTOR(index));
	bool needed = index == SEGMENT_CS || index == SEGMENT_TR;
	bool wide = index >= SEGMENT_FS;
	bool good;

	if (rights & RIGHTS_UNUSABLE) {
		expect(checker, name, rights, !needed);
		return;
	}
	good = is_good_type(checker, index, rights) && rights & RIGHTS_PRESENT &&
	       !(rights & RIGHTS_RESERVED);
	/*
	 * With page granularity the low 12 bits of the limit are 1; without it the limit is below
	 * 1 MiB.
	 */
	good = good && ((limit & 0xfff) == 0xfff || !(rights & RIGHTS_GRANULARITY)) &&
	       (!(limit >> 20) || rights & RIGHTS_GRANULARITY);
	good = good && (wide ? is_canonical(base) : !(base >> 32));
	if (index == SEGMENT_TR || index == SEGMENT_LDTR)
		good = good && !(selector & SELECTOR_TI);
	if (index == SEGMENT_SS && !checker->is_unrestricted)
		good = good && (selector & 3) == RIGHTS_DPL(rights);
	expect(checker, name, rights, good);
}

static void check_segments(struct checker *checker)
{
	static const char *const names[SEGMENTS] = {
		[SEGMENT_ES] = "es",	 [SEGMENT_CS] = "cs", [SEGMENT_SS] = "ss",
		[SEGMENT_DS] = "ds",	 [SEGMENT_FS] = "fs", [SEGMENT_GS] = "gs",
		[SEGMENT_LDTR] = "ldtr", [SEGMENT_TR] = "tr",
	};

	for (unsigned int i = 0; i < SEGMENTS; i++)
		check_segment(checker, i, names[i]);
	expect_canonical(checker, "gdtr-base", VMCS_GUEST_GDTR_BASE);
	expect_canonical(checker, "idtr-base", VMCS_GUEST_IDTR_BASE);
	expect(checker, "gdtr-limit", vmcs_read(VMCS_GUEST_GDTR_LIMIT),
	       !(vmcs_read(VMCS_GUEST_GDTR_LIMIT) >> 16));
	expect(checker, "idtr-limit", vmcs_read(VMCS_GUEST_IDTR_LIMIT),
	       !(vmcs_read(VMCS_GUEST_IDTR_LIMIT) >> 16));
}

/* SDM 3C 27.3.1.4, 27.3.1.5. */
static void check_rest(struct checker *checker)
{
	u64 rip = vmcs_read(VMCS_GUEST_RIP), rflags = vmcs_read(VMCS_GUEST_RFLAGS);
	u32 blocked = vmcs_read(VMCS_GUEST_INTERRUPTIBILITY);
	bool is_64_bit = checker->is_ia32e &&
			 vmcs_read(GUEST_ACCESS_RIGHTS(SEGMENT_CS)) & RIGHTS_LONG;

	expect(checker, "rip", rip, is_64_bit ? is_canonical(rip) : !(rip >> 32));
	expect(checker, "rflags", rflags,
	       !(rflags & RFLAGS_RESERVED) && rflags & RFLAGS_ALWAYS &&
		       !(rflags & RFLAGS_VM && checker->is_ia32e));
	expect(checker, "interruptibility", blocked,
	       !(blocked & ~(BLOCKED_BY_STI | BLOCKED_BY_MOV_SS | BLOCKED_BY_NMI)) &&
		       !(blocked & BLOCKED_BY_STI &&
			 (blocked & BLOCKED_BY_MOV_SS || !(rflags & RFLAGS_IF))));
	expect(checker, "activity", vmcs_read(VMCS_GUEST_ACTIVITY),
	       vmcs_read(VMCS_GUEST_ACTIVITY) <= ACTIVITY_WAIT_FOR_SIPI);
	expect(checker, "link-pointer", vmcs_read(VMCS_LINK_POINTER),
	       vmcs_read(VMCS_LINK_POINTER) == ~0ull);
}

void vmx_find_broken_rules(const struct vcpu *vcpu, char *buffer, size_t size)
{
	const struct vmx_cpu *vmx = vmx_of(vcpu);
	struct checker checker = {
		.text = { .buffer = buffer, .size = size },
		.is_ia32e = vmcs_read(VMCS_ENTRY_CONTROLS) & ENTRY_IA32E_GUEST,
		.is_unrestricted = vmx->controls.secondary & SECONDARY_UNRESTRICTED_GUEST,
		.address_bits = physical_address_bits(),
	};

	text_add(&checker.text, "");
	check_controls(&checker, vmx);
	check_host(&checker);
	check_control_registers(&checker);
	check_segments(&checker);
	check_rest(&checker);
}
