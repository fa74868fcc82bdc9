// SPDX-License-Identifier: MIT
/*
 * Which rules a VMCS breaks, as a refusal names them: each rule by values on both sides of its border, in 64-bit mode and in
 * real mode, for guests that are unrestricted and for those that are not (SDM 3C 27.2, 27.3).
 */
#include <string.h>

#include "fake_processor.h"
#include "vmx/entry_checks.h"
#include "vmx/vmx_cpu.h"

/* Of set_up_intel(). */
#define ADDRESS_BITS 39
#define HIGHEST_LOW 0x00007fffffffffffull
#define LOWEST_HIGH 0xffff800000000000ull
#define CODE_64 (RIGHTS_CODE | RIGHTS_LONG)

static struct vcpu *vcpu;
static u64 legal[COUNT_OF(fake_vmcs)];

/* The VMCS breaks exactly these rules, each with the value of its field; then it is legal again. */
static void expect(const char *evidence)
{
	char buffer[160];

	vmx_find_broken_rules(vcpu, buffer, sizeof(buffer));
	if (strcmp(buffer, evidence)) {
		fprintf(stderr, "expected: '%s', but: '%s'\n", evidence, buffer);
		exit(1);
	}
	memcpy(fake_vmcs, legal, sizeof(legal));
}

static void breaks(const char *name, u64 field, u64 value)
{
	char evidence[160];

	snprintf(evidence, sizeof(evidence), " %s=%llx", name, value);
	fake_vmcs[field] = value;
	expect(evidence);
}

static void keeps(u64 field, u64 value)
{
	fake_vmcs[field] = value;
	expect("");
}

static void set_legal(u64 field, u64 value)
{
	fake_vmcs[field] = legal[field] = value;
}

/* Controls are what vmx_find_controls() has found. */
static void control(u64 field, u32 *found, u32 bit, bool on)
{
	*found = on ? *found | bit : *found & ~bit;
	set_legal(field, *found);
}

static void set_unrestricted(bool on)
{
	control(VMCS_SECONDARY_CONTROLS, &vmx_of(vcpu)->controls.secondary,
		SECONDARY_UNRESTRICTED_GUEST, on);
}

static void check_controls(void)
{
	static const struct {
		u64 field;
		const char *name;
	} controls[] = {
		{ VMCS_PIN_CONTROLS, "pin" },
		{ VMCS_PRIMARY_CONTROLS, "primary" },
		{ VMCS_SECONDARY_CONTROLS, "secondary" },
		{ VMCS_EXIT_CONTROLS, "exit-controls" },
		{ VMCS_ENTRY_CONTROLS, "entry-controls" },
	};
	struct vmx_cpu *vmx = vmx_of(vcpu);

	for (unsigned int i = 0; i < COUNT_OF(controls); i++)
		breaks(controls[i].name, controls[i].field, legal[controls[i].field] ^ 1u << 30);
	keeps(VMCS_PRIMARY_CONTROLS, legal[VMCS_PRIMARY_CONTROLS] | PRIMARY_NMI_WINDOW);
	breaks("msr-bitmap", VMCS_MSR_BITMAP, 0x1800);
	breaks("msr-bitmap", VMCS_MSR_BITMAP, 0x1001);
	breaks("msr-bitmap", VMCS_MSR_BITMAP, 1ull << ADDRESS_BITS);
	keeps(VMCS_MSR_BITMAP, 1ull << (ADDRESS_BITS - 1));
	breaks("ept-pointer", VMCS_EPT_POINTER, 0x101c);
	breaks("ept-pointer", VMCS_EPT_POINTER, 0x1026);
	breaks("ept-pointer", VMCS_EPT_POINTER, 0x181e);
	breaks("ept-pointer", VMCS_EPT_POINTER, 1ull << ADDRESS_BITS | 0x1e);
	keeps(VMCS_EPT_POINTER, 1ull << (ADDRESS_BITS - 1) | 0x1e);
	breaks("vpid", VMCS_VPID, 0);
	control(VMCS_SECONDARY_CONTROLS, &vmx->controls.secondary, SECONDARY_VPID, false);
	keeps(VMCS_VPID, 0);
	control(VMCS_SECONDARY_CONTROLS, &vmx->controls.secondary, SECONDARY_VPID, true);
	breaks("entry-event", VMCS_ENTRY_EVENT, EVENT_VALID);
	keeps(VMCS_ENTRY_EVENT, ~EVENT_VALID);
}

static void check_canonical(const char *name, u64 field)
{
	keeps(field, HIGHEST_LOW);
	breaks(name, field, HIGHEST_LOW + 1);
	breaks(name, field, LOWEST_HIGH - 1);
	keeps(field, LOWEST_HIGH);
	keeps(field, ~0ull);
	fake_cr4 |= CR4_LA57;
	keeps(field, HIGHEST_LOW + 1);
	keeps(field, 0x00ffffffffffffff);
	breaks(name, field, 0x0100000000000000);
	keeps(field, 0xff00000000000000);
	fake_cr4 &= ~CR4_LA57;
}

static void check_pat(const char *name, u64 field)
{
	for (unsigned int shift = 0; shift < 64; shift += 8) {
		for (u64 type = 0; type < 256; type++) {
			u64 pat = 0x0606060606060606 & ~(0xffull << shift);

			pat |= type << shift;
			if (type == 2 || type == 3 || type > 7)
				breaks(name, field, pat);
			else
				keeps(field, pat);
		}
	}
}

static void check_fixed(const char *name, u64 field, u64 needed)
{
	for (u64 bit = 1; bit; bit <<= 1) {
		if (needed & bit)
			breaks(name, field, legal[field] & ~bit);
		else if (bit >> 32)
			breaks(name, field, legal[field] | bit);
	}
}

static void check_efer(const char *name, u64 field)
{
	const u64 known = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;

	for (u64 bit = 1; bit; bit <<= 1) {
		u64 value = legal[field] ^ bit;

		if (!(bit & known) || bit == EFER_LMA || bit == EFER_LME)
			breaks(name, field, value);
		else
			keeps(field, value);
	}
}

static void check_host(void)
{
	static const struct {
		u64 field;
		const char *name;
	} selectors[] = { { HOST_CS_SELECTOR, "host-cs" },
			  { HOST_SS_SELECTOR, "host-ss" },
			  { HOST_TR_SELECTOR, "host-tr" } };

	check_fixed("host-cr0", VMCS_HOST_CR0, CR0_PG | CR0_PE | CR0_NE);
	check_fixed("host-cr4", VMCS_HOST_CR4, CR4_VMXE | CR4_PAE);
	breaks("host-cr3", VMCS_HOST_CR3, 1ull << ADDRESS_BITS);
	keeps(VMCS_HOST_CR3, 1ull << (ADDRESS_BITS - 1));
	check_efer("host-efer", VMCS_HOST_EFER);
	check_pat("host-pat", VMCS_HOST_PAT);
	for (unsigned int i = 0; i < COUNT_OF(selectors); i++) {
		breaks(selectors[i].name, selectors[i].field, 0);
		breaks(selectors[i].name, selectors[i].field, 0x11);
		breaks(selectors[i].name, selectors[i].field, 0x12);
		breaks(selectors[i].name, selectors[i].field, 0x14);
		keeps(selectors[i].field, 8);
	}
	check_canonical("host-fs-base", VMCS_HOST_FS_BASE);
	check_canonical("host-gs-base", VMCS_HOST_GS_BASE);
	check_canonical("host-tr-base", VMCS_HOST_TR_BASE);
	check_canonical("host-gdtr-base", VMCS_HOST_GDTR_BASE);
	check_canonical("host-idtr-base", VMCS_HOST_IDTR_BASE);
	check_canonical("host-rip", VMCS_HOST_RIP);
}

static void check_registers(void)
{
	check_fixed("cr0", VMCS_GUEST_CR0, CR0_NE);
	check_fixed("cr4", VMCS_GUEST_CR4, CR4_VMXE | CR4_PAE);
	keeps(VMCS_GUEST_CR4, legal[VMCS_GUEST_CR4] | CR4_PCIDE);
	breaks("cr3", VMCS_GUEST_CR3, 1ull << ADDRESS_BITS);
	keeps(VMCS_GUEST_CR3, 1ull << (ADDRESS_BITS - 1));
	check_efer("efer", VMCS_GUEST_EFER);
	check_pat("pat", VMCS_GUEST_PAT);
	for (unsigned int i = 0; i < 64; i++) {
		u64 bit = 1ull << i;

		/* LBR and BTF; TR and what follows (SDM 4 table 2-2). */
		if (i < 2 || (i >= 6 && i < 16))
			keeps(VMCS_GUEST_DEBUGCTL, bit);
		else
			breaks("debugctl", VMCS_GUEST_DEBUGCTL, bit);
	}
	keeps(VMCS_GUEST_DR7, 0xffffffff);
	breaks("dr7", VMCS_GUEST_DR7, 1ull << 32);
	breaks("dr7", VMCS_GUEST_DR7, 1ull << 63);
	check_canonical("sysenter-esp", VMCS_GUEST_SYSENTER_ESP);
	check_canonical("sysenter-eip", VMCS_GUEST_SYSENTER_EIP);
	check_canonical("gdtr-base", VMCS_GUEST_GDTR_BASE);
	check_canonical("idtr-base", VMCS_GUEST_IDTR_BASE);
	keeps(VMCS_GUEST_GDTR_LIMIT, 0xffff);
	breaks("gdtr-limit", VMCS_GUEST_GDTR_LIMIT, 0x10000);
	keeps(VMCS_GUEST_IDTR_LIMIT, 0xffff);
	breaks("idtr-limit", VMCS_GUEST_IDTR_LIMIT, 0x10000);
	check_canonical("rip", VMCS_GUEST_RIP);
	for (unsigned int i = 0; i < 64; i++) {
		u64 flags = RFLAGS_ALWAYS ^ 1ull << i;

		/* Bit 1 is 1; 3, 5, 15 and all from 22 on are 0; VM is no flag of 64-bit mode. */
		if (i == 1 || i == 3 || i == 5 || i == 15 || i == 17 || i >= 22)
			breaks("rflags", VMCS_GUEST_RFLAGS, flags);
		else
			keeps(VMCS_GUEST_RFLAGS, flags);
	}
	for (u64 activity = 0; activity <= 3; activity++)
		keeps(VMCS_GUEST_ACTIVITY, activity);
	breaks("activity", VMCS_GUEST_ACTIVITY, 4);
	breaks("link-pointer", VMCS_LINK_POINTER, 0);
	breaks("link-pointer", VMCS_LINK_POINTER, ~0u);
}

static void check_interruptibility(void)
{
	const u64 field = VMCS_GUEST_INTERRUPTIBILITY;

	keeps(field, BLOCKED_BY_MOV_SS);
	keeps(field, BLOCKED_BY_NMI | BLOCKED_BY_MOV_SS);
	breaks("interruptibility", field, BLOCKED_BY_STI);
	for (unsigned int i = 2; i < 32; i++) {
		if (1u << i != BLOCKED_BY_NMI)
			breaks("interruptibility", field, 1u << i);
	}
	set_legal(VMCS_GUEST_RFLAGS, RFLAGS_ALWAYS | RFLAGS_IF);
	keeps(field, BLOCKED_BY_STI);
	keeps(field, BLOCKED_BY_STI | BLOCKED_BY_NMI);
	keeps(field, BLOCKED_BY_MOV_SS);
	breaks("interruptibility", field, BLOCKED_BY_STI | BLOCKED_BY_MOV_SS);
	set_legal(VMCS_GUEST_RFLAGS, RFLAGS_ALWAYS);
}

struct segment_rules {
	const char *name;
	/* Of the 32 values of S and type: those that are good in IA-32e mode. */
	u32 types;
	bool needed, wide, has_ti;
};

#define CODE_OR_DATA(type) BIT_ULL_AT(16 + (type))
#define DATA_TYPES                                                               \
	(CODE_OR_DATA(1) | CODE_OR_DATA(3) | CODE_OR_DATA(5) | CODE_OR_DATA(7) | \
	 CODE_OR_DATA(11) | CODE_OR_DATA(15))
#define CODE_TYPES (CODE_OR_DATA(9) | CODE_OR_DATA(11) | CODE_OR_DATA(13) | CODE_OR_DATA(15))

/* SDM 3C 27.3.1.2. */
static const struct segment_rules segments[SEGMENTS] = {
	[SEGMENT_ES] = { "es", DATA_TYPES, false, false, true },
	[SEGMENT_CS] = { "cs", CODE_TYPES | CODE_OR_DATA(3), true, false, true },
	[SEGMENT_SS] = { "ss", CODE_OR_DATA(3) | CODE_OR_DATA(7), false, false, true },
	[SEGMENT_DS] = { "ds", DATA_TYPES, false, false, true },
	[SEGMENT_FS] = { "fs", DATA_TYPES, false, true, true },
	[SEGMENT_GS] = { "gs", DATA_TYPES, false, true, true },
	[SEGMENT_LDTR] = { "ldtr", BIT_ULL_AT(2), false, true, false },
	[SEGMENT_TR] = { "tr", BIT_ULL_AT(11), true, true, false },
};

/* The evidence has the access rights, whatever else of the segment breaks a rule. */
static void breaks_segment(unsigned int index, u64 field, u64 value)
{
	char evidence[160];

	fake_vmcs[field] = value;
	snprintf(evidence, sizeof(evidence), " %s=%llx", segments[index].name,
		 fake_vmcs[GUEST_ACCESS_RIGHTS(index)]);
	expect(evidence);
}

static void check_types(unsigned int index, u32 types)
{
	const u64 field = GUEST_ACCESS_RIGHTS(index);

	for (u32 type = 0; type < 32; type++) {
		u64 value = (legal[field] & ~0x1full) | type;

		if (types & 1u << type)
			keeps(field, value);
		else
			breaks_segment(index, field, value);
	}
}

static void check_limit(unsigned int index, u32 limit, bool good_in_bytes, bool good_in_pages)
{
	const u64 field = GUEST_ACCESS_RIGHTS(index), rights = legal[field];

	for (unsigned int in_pages = 0; in_pages < 2; in_pages++) {
		set_legal(field, rights | in_pages << 15);
		if (in_pages ? good_in_pages : good_in_bytes)
			keeps(GUEST_LIMIT(index), limit);
		else
			breaks_segment(index, GUEST_LIMIT(index), limit);
	}
	set_legal(field, rights);
}

static void check_segment(unsigned int index)
{
	static const u32 usable[SEGMENTS] = {
		RIGHTS_DATA, CODE_64,	  RIGHTS_DATA, RIGHTS_DATA,
		RIGHTS_DATA, RIGHTS_DATA, RIGHTS_LDT,  RIGHTS_BUSY_TSS
	};
	const struct segment_rules *rules = &segments[index];
	const u64 field = GUEST_ACCESS_RIGHTS(index), rights = legal[field];

	if (rules->needed)
		breaks_segment(index, field, RIGHTS_UNUSABLE);
	else
		keeps(field, RIGHTS_UNUSABLE);
	set_legal(field, usable[index]);
	set_legal(GUEST_LIMIT(index), 0xffff);
	check_types(index, rules->types);
	breaks_segment(index, field, usable[index] & ~RIGHTS_PRESENT);
	for (unsigned int bit = 8; bit < 32; bit++) {
		if (bit < 12 || bit > 16)
			breaks_segment(index, field, usable[index] | 1u << bit);
	}
	check_limit(index, 0, true, false);
	check_limit(index, 0xfff, true, true);
	check_limit(index, 0xffe, true, false);
	check_limit(index, 0xffffe, true, false);
	check_limit(index, 0xfffff, true, true);
	check_limit(index, 0x100fff, false, true);
	check_limit(index, 0x100000, false, false);
	check_limit(index, 0xffffffff, false, true);
	keeps(GUEST_BASE(index), 0xffffffff);
	breaks_segment(index, GUEST_BASE(index), HIGHEST_LOW + 1);
	if (rules->wide) {
		keeps(GUEST_BASE(index), HIGHEST_LOW);
		keeps(GUEST_BASE(index), LOWEST_HIGH);
	} else {
		breaks_segment(index, GUEST_BASE(index), 1ull << 32);
	}
	keeps(GUEST_SELECTOR(index), 8 | 3);
	if (rules->has_ti)
		keeps(GUEST_SELECTOR(index), 8 | 4);
	else
		breaks_segment(index, GUEST_SELECTOR(index), 8 | 4);
	if (!rules->needed)
		set_legal(field, rights);
}

/* 64-bit code has no 32-bit default; code with it has addresses of 32 bits. */
static void check_code(void)
{
	const u64 cs = GUEST_ACCESS_RIGHTS(SEGMENT_CS), rights = legal[cs];

	breaks_segment(SEGMENT_CS, cs, rights | RIGHTS_DEFAULT_32);
	keeps(cs, (rights & ~(u64)RIGHTS_LONG) | RIGHTS_DEFAULT_32);
	set_legal(cs, rights & ~(u64)RIGHTS_LONG);
	keeps(VMCS_GUEST_RIP, 0xffffffff);
	breaks("rip", VMCS_GUEST_RIP, 1ull << 32);
	breaks("rip", VMCS_GUEST_RIP, ~0ull);
	set_legal(cs, rights);
}

static void check_privilege(void)
{
	const u64 ss = GUEST_ACCESS_RIGHTS(SEGMENT_SS), selector = GUEST_SELECTOR(SEGMENT_SS);

	for (unsigned int dpl = 0; dpl < 4; dpl++) {
		for (unsigned int rpl = 0; rpl < 4; rpl++) {
			fake_vmcs[ss] = RIGHTS_DATA | dpl << 5;
			if (dpl == rpl)
				keeps(selector, 0x10 | rpl);
			else
				breaks_segment(SEGMENT_SS, selector, 0x10 | rpl);
		}
	}
}

/* Without unrestricted guests PE and PG are fixed, code is code, and SS has the privilege of its selector. */
static void check_restricted(void)
{
	set_unrestricted(false);
	breaks("cr0", VMCS_GUEST_CR0, legal[VMCS_GUEST_CR0] & ~(u64)CR0_NE);
	fake_vmcs[VMCS_GUEST_CR0] &= ~(u64)CR0_PG;
	fake_vmcs[VMCS_GUEST_CR4] |= CR4_PCIDE;
	expect(" cr0=10021 cr4=62020");
	check_types(SEGMENT_CS, segments[SEGMENT_CS].types & ~CODE_OR_DATA(3));
	check_privilege();
	set_unrestricted(true);
}

/* Real mode, as after INIT, of an unrestricted guest. */
static void check_real_mode(void)
{
	struct vmx_cpu *vmx = vmx_of(vcpu);
	const u64 cs = GUEST_ACCESS_RIGHTS(SEGMENT_CS);

	control(VMCS_ENTRY_CONTROLS, &vmx->controls.entry, ENTRY_IA32E_GUEST, false);
	set_legal(VMCS_GUEST_CR0, CR0_NE);
	set_legal(VMCS_GUEST_CR4, CR4_VMXE);
	set_legal(VMCS_GUEST_EFER, 0);
	set_legal(cs, RIGHTS_DATA);
	expect("");
	keeps(VMCS_GUEST_CR0, CR0_NE | CR0_PE);
	breaks("cr0", VMCS_GUEST_CR0, CR0_NE | CR0_PG);
	keeps(VMCS_GUEST_CR0, CR0_NE | CR0_PE | CR0_PG);
	breaks("cr4", VMCS_GUEST_CR4, CR4_VMXE | CR4_PCIDE);
	keeps(VMCS_GUEST_CR4, CR4_VMXE | CR4_PAE);
	keeps(VMCS_GUEST_EFER, EFER_LME);
	breaks("efer", VMCS_GUEST_EFER, EFER_LMA);
	fake_vmcs[VMCS_GUEST_CR0] |= CR0_PE | CR0_PG;
	breaks("efer", VMCS_GUEST_EFER, EFER_LME);
	keeps(VMCS_GUEST_RFLAGS, RFLAGS_ALWAYS | RFLAGS_VM);
	keeps(VMCS_GUEST_RIP, 0xffffffff);
	breaks("rip", VMCS_GUEST_RIP, 1ull << 32);
	/* L means nothing outside of IA-32e mode. */
	keeps(cs, CODE_64 | RIGHTS_DEFAULT_32);
	fake_vmcs[cs] = CODE_64;
	breaks("rip", VMCS_GUEST_RIP, ~0ull);
	check_types(SEGMENT_TR, BIT_ULL_AT(11) | BIT_ULL_AT(3));
}

/* Several rules at once are named in this order, as many as there is room for. */
static void check_several(void)
{
	char buffer[12];

	fake_vmcs[VMCS_GUEST_CR3] = ~0ull;
	fake_vmcs[VMCS_HOST_CR3] = ~0ull;
	fake_vmcs[VMCS_GUEST_ACTIVITY] = 5;
	expect(" host-cr3=ffffffffffffffff cr3=ffffffffffffffff activity=5");
	fake_vmcs[VMCS_GUEST_ACTIVITY] = 5;
	fake_vmcs[VMCS_GUEST_CR3] = ~0ull;
	vmx_find_broken_rules(vcpu, buffer, sizeof(buffer));
	CHECK(!strcmp(buffer, " cr3=ffffff"));
	memcpy(fake_vmcs, legal, sizeof(legal));
}

void test_entry_checks(void)
{
	set_up_intel();
	vcpu = enter_intel();
	memcpy(legal, fake_vmcs, sizeof(legal));
	expect("");
	check_controls();
	check_host();
	check_registers();
	check_interruptibility();
	for (unsigned int i = 0; i < SEGMENTS; i++)
		check_segment(i);
	check_code();
	check_restricted();
	check_several();
	check_real_mode();
	forget_vcpu();
}
