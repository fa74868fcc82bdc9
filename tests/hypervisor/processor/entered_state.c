// SPDX-License-Identifier: MIT
/*
 * All that the VMCS and the VMCB have at the first entry, and behind INIT and SIPI, for a CPU whose state is another number everywhere. What memory had
 * before is no value: the VMCS is full of something else, and fields that are not named here keep that. Fields of the VMCB are
 * named by their offsets (APM2 appendix B).
 */
#include <string.h>

#include "core/memory.h"
#include "fake_processor.h"
#include "svm/exit.h"
#include "svm/start.h"
#include "svm/svm_cpu.h"
#include "vmx/enter.h"
#include "vmx/vmx_cpu.h"

#define BEFORE(field) (0xbefe000000000000ull | (field))

#define CODE 0x08
#define STACK 0x10
#define DATA 0x18
#define FS 0x23
#define LDT 0x28
#define TSS 0x38

/* A descriptor of code or data, or the first half of a system segment's (SDM 3A 3.4.5). */
#define DESCRIPTOR(base, limit, type, flags)                               \
	(((limit)&0xffffull) | ((base)&0xffffffull) << 16 | (type) << 40 | \
	 ((limit) >> 16 & 0xfull) << 48 | (flags) << 52 | ((base) >> 24 & 0xffull) << 56)
#define DATA_BASE 0x12345678ull
#define LDT_BASE 0xffff8123a1b2c3d4ull
#define TSS_BASE 0xffff8987d1c2b3a4ull

static const u64 gdt[] = {
	[CODE / 8] = DESCRIPTOR(0ull, 0xfffffull, 0x9bull, 0xaull),
	[STACK / 8] = DESCRIPTOR(0ull, 0xfffffull, 0x93ull, 0xcull),
	/* Not accessed; its limit counts bytes. */
	[DATA / 8] = DESCRIPTOR(DATA_BASE, 0xfabcdull, 0x92ull, 0x4ull),
	[FS / 8] = DESCRIPTOR(0x00765432ull, 0x12345ull, 0xf3ull, 0xcull),
	[LDT / 8] = DESCRIPTOR(LDT_BASE, 0xffull, 0x82ull, 0ull),
	[LDT / 8 + 1] = LDT_BASE >> 32,
	/* Marked as available, though it is in TR. */
	[TSS / 8] = DESCRIPTOR(TSS_BASE, 0x67ull, 0x89ull, 0ull),
	[TSS / 8 + 1] = TSS_BASE >> 32,
};

#define PAT 0x0606060606050401
#define DEBUGCTL 0x41

static void fill(struct context *context)
{
	context->cr0 = CR0_PG | CR0_PE | CR0_WP | CR0_ET;
	context->cr3 = 0x5000;
	context->cr4 = CR4_PAE | CR4_PGE | CR4_OSXSAVE;
	context->rflags = RFLAGS_ALWAYS | 0x80000 | 0x4000;
	context->dr7 = 0x455;
	context->fs_base = 0x00007f0102030405;
	context->gs_base = 0xffff880607080900;
	context->gdtr = (struct table_register){ .limit = sizeof(gdt) - 1, .base = (u64)gdt };
	context->idtr = (struct table_register){ .limit = 0xfed, .base = 0xffff990011223344 };
	context->cs = CODE;
	context->ss = STACK;
	context->ds = DATA;
	context->es = 0;
	context->fs = FS;
	context->gs = 0;
	context->ldtr = LDT;
	context->tr = TSS;
}

static u64 expected[COUNT_OF(fake_vmcs)];

static void expect_segment(unsigned int index, u16 selector, u32 limit, u32 rights, u64 base)
{
	expected[GUEST_SELECTOR(index)] = selector;
	expected[GUEST_LIMIT(index)] = limit;
	expected[GUEST_ACCESS_RIGHTS(index)] = rights;
	expected[GUEST_BASE(index)] = base;
}

static void expect_guest(const struct context *context)
{
	expect_segment(SEGMENT_ES, 0, 0, RIGHTS_UNUSABLE, 0);
	expect_segment(SEGMENT_CS, CODE, 0xffffffff, 0xa09b, 0);
	expect_segment(SEGMENT_SS, STACK, 0xffffffff, 0xc093, 0);
	expect_segment(SEGMENT_DS, DATA, 0xfabcd, 0x4093, DATA_BASE);
	expect_segment(SEGMENT_FS, FS, 0x12345fff, 0xc0f3, context->fs_base);
	expect_segment(SEGMENT_GS, 0, 0, RIGHTS_UNUSABLE, context->gs_base);
	expect_segment(SEGMENT_LDTR, LDT, 0xff, RIGHTS_LDT, LDT_BASE);
	expect_segment(SEGMENT_TR, TSS, 0x67, RIGHTS_BUSY_TSS, TSS_BASE);
	expected[VMCS_GUEST_GDTR_LIMIT] = context->gdtr.limit;
	expected[VMCS_GUEST_GDTR_BASE] = context->gdtr.base;
	expected[VMCS_GUEST_IDTR_LIMIT] = context->idtr.limit;
	expected[VMCS_GUEST_IDTR_BASE] = context->idtr.base;
	expected[VMCS_GUEST_CR0] = context->cr0 | CR0_NE;
	expected[VMCS_CR0_SHADOW] = context->cr0;
	expected[VMCS_CR0_MASK] = CR0_NE;
	expected[VMCS_GUEST_CR3] = context->cr3;
	expected[VMCS_GUEST_CR4] = context->cr4 | CR4_VMXE;
	expected[VMCS_CR4_SHADOW] = context->cr4;
	expected[VMCS_CR4_MASK] = CR4_VMXE;
	expected[VMCS_GUEST_DR7] = context->dr7;
	expected[VMCS_GUEST_RFLAGS] = context->rflags;
	expected[VMCS_GUEST_EFER] = context->efer;
	expected[VMCS_GUEST_DEBUGCTL] = DEBUGCTL;
	expected[VMCS_GUEST_PAT] = PAT;
	expected[VMCS_GUEST_SYSENTER_CS] = 0x31;
	expected[VMCS_GUEST_SYSENTER_ESP] = 0x32000;
	expected[VMCS_GUEST_SYSENTER_EIP] = 0x33000;
	expected[VMCS_GUEST_INTERRUPTIBILITY] = 0;
	expected[VMCS_GUEST_ACTIVITY] = ACTIVITY_ACTIVE;
	expected[VMCS_GUEST_PENDING_DEBUG] = 0;
	expected[VMCS_LINK_POINTER] = ~0ull;
}

static void expect_host(const struct vcpu *vcpu)
{
	static const u16 zero[] = {
		HOST_DS_SELECTOR,      HOST_ES_SELECTOR,       HOST_FS_SELECTOR,
		HOST_GS_SELECTOR,      VMCS_HOST_FS_BASE,      VMCS_HOST_GS_BASE,
		VMCS_HOST_SYSENTER_CS, VMCS_HOST_SYSENTER_ESP, VMCS_HOST_SYSENTER_EIP,
	};

	for (unsigned int i = 0; i < COUNT_OF(zero); i++)
		expected[zero[i]] = 0;
	CHECK(vcpu->host_cs && vcpu->host_ss && vcpu->host_tr && vcpu->host_tss_base);
	expected[HOST_CS_SELECTOR] = vcpu->host_cs;
	expected[HOST_SS_SELECTOR] = vcpu->host_ss;
	expected[HOST_TR_SELECTOR] = vcpu->host_tr;
	expected[VMCS_HOST_CR0] = vcpu->host_cr0 | CR0_PG | CR0_PE | CR0_NE;
	expected[VMCS_HOST_CR3] = vcpu->host_cr3;
	expected[VMCS_HOST_CR4] = vcpu->host_cr4 | CR4_VMXE;
	expected[VMCS_HOST_EFER] = EFER_LME | EFER_LMA | EFER_SCE | EFER_NXE;
	expected[VMCS_HOST_PAT] = PAT;
	expected[VMCS_HOST_TR_BASE] = vcpu->host_tss_base;
	expected[VMCS_HOST_GDTR_BASE] = vcpu->host_gdtr.base;
	expected[VMCS_HOST_IDTR_BASE] = vcpu->host_idtr.base;
	expected[VMCS_HOST_RSP] = (u64)vcpu;
	expected[VMCS_HOST_RIP] = (u64)vmx_exited;
}

/* Bits by number (SDM 3C 25.6 to 25.8). */
static void expect_controls(const struct vcpu *vcpu)
{
	static const u16 zero[] = {
		VMCS_EXCEPTION_BITMAP,	  VMCS_PAGE_FAULT_MASK,	     VMCS_PAGE_FAULT_MATCH,
		VMCS_CR3_TARGET_COUNT,	  VMCS_TSC_OFFSET,	     VMCS_EXIT_MSR_STORE_COUNT,
		VMCS_EXIT_MSR_LOAD_COUNT, VMCS_ENTRY_MSR_LOAD_COUNT, VMCS_ENTRY_EVENT,
	};

	for (unsigned int i = 0; i < COUNT_OF(zero); i++)
		expected[zero[i]] = 0;
	expected[VMCS_PIN_CONTROLS] = 1u << 3 | 1u << 5;
	expected[VMCS_PRIMARY_CONTROLS] = 1u << 28 | 1u << 31;
	expected[VMCS_SECONDARY_CONTROLS] = 1u << 1 | 1u << 5 | 1u << 7;
	expected[VMCS_EXIT_CONTROLS] = 1u << 2 | 1u << 9 | 0xfu << 18;
	expected[VMCS_ENTRY_CONTROLS] = 1u << 2 | 1u << 9 | 1u << 14 | 1u << 15;
	expected[VMCS_VPID] = 1;
	CHECK(vmx_of(vcpu)->msr_bitmap && vmx_of(vcpu)->ept_pointer);
	expected[VMCS_MSR_BITMAP] = vmx_of(vcpu)->msr_bitmap;
	expected[VMCS_EPT_POINTER] = vmx_of(vcpu)->ept_pointer;
}

static void expect_vmcs(void)
{
	for (u64 field = 0; field < COUNT_OF(fake_vmcs); field++) {
		if (fake_vmcs[field] == expected[field])
			continue;
		fprintf(stderr, "field %llx of the VMCS is %llx, not %llx\n", field,
			fake_vmcs[field], expected[field]);
		exit(1);
	}
}

static void test_vmcs(void)
{
	struct refusal refusal = { 0 };
	struct vcpu *vcpu;

	set_up_intel();
	set_msr(MSR_PAT, PAT);
	set_msr(MSR_DEBUGCTL, DEBUGCTL);
	set_msr(MSR_SYSENTER_CS, 0x31);
	set_msr(MSR_SYSENTER_ESP, 0x32000);
	set_msr(MSR_SYSENTER_EIP, 0x33000);
	vcpu = allocate_intel();
	fill(&vcpu->context);
	/* NX is off in the OS, and on in host mode. */
	vcpu->context.efer = EFER_LME | EFER_LMA | EFER_SCE;
	for (u64 field = 0; field < COUNT_OF(fake_vmcs); field++)
		expected[field] = fake_vmcs[field] = BEFORE(field);
	CHECK(!vcpu->backend->enable(vcpu, &refusal) && !vcpu->backend->enter(vcpu, &refusal));
	expect_controls(vcpu);
	expect_host(vcpu);
	expect_guest(&vcpu->context);
	expect_vmcs();
	CHECK(fake_invepts == 1 && fake_invvpids == 1);
	forget_vcpu();
}

/* What INIT and SIPI leave (SDM 3A table 9-1), and all else as it was: the controls, and host mode. */
static void expect_started(void)
{
	static const u16 zero[] = {
		VMCS_GUEST_GDTR_BASE,	  VMCS_GUEST_IDTR_BASE,
		VMCS_GUEST_RSP,		  VMCS_GUEST_RIP,
		VMCS_GUEST_CR3,		  VMCS_CR4_SHADOW,
		VMCS_GUEST_EFER,	  VMCS_GUEST_DEBUGCTL,
		VMCS_GUEST_PENDING_DEBUG, VMCS_GUEST_INTERRUPTIBILITY,
		VMCS_GUEST_ACTIVITY,
	};

	for (unsigned int i = 0; i < SEGMENTS; i++)
		expect_segment(i, 0, 0xffff, RIGHTS_DATA, 0);
	expect_segment(SEGMENT_CS, 0x8700, 0xffff, RIGHTS_CODE, 0x87000);
	expected[GUEST_ACCESS_RIGHTS(SEGMENT_LDTR)] = RIGHTS_LDT;
	expected[GUEST_ACCESS_RIGHTS(SEGMENT_TR)] = RIGHTS_BUSY_TSS;
	for (unsigned int i = 0; i < COUNT_OF(zero); i++)
		expected[zero[i]] = 0;
	expected[VMCS_GUEST_GDTR_LIMIT] = expected[VMCS_GUEST_IDTR_LIMIT] = 0xffff;
	expected[VMCS_CR0_SHADOW] = CR0_ET;
	expected[VMCS_GUEST_CR0] = CR0_ET | CR0_NE;
	expected[VMCS_GUEST_CR4] = CR4_VMXE;
	expected[VMCS_GUEST_DR7] = DR7_RESET;
	expected[VMCS_GUEST_RFLAGS] = RFLAGS_ALWAYS;
	expected[VMCS_ENTRY_CONTROLS] = 1u << 2 | 1u << 14 | 1u << 15;
}

static void test_started(void)
{
	struct vcpu *vcpu;

	set_up_intel();
	set_msr(MSR_APIC_BASE, FAKE_APIC | APIC_BASE_ENABLED);
	vcpu = enter_intel();
	for (u64 field = 0; field < COUNT_OF(fake_vmcs); field++) {
		/* CD and NW, which INIT keeps, are clear in it. */
		if (field != VMCS_ENTRY_CONTROLS)
			fake_vmcs[field] = BEFORE(field);
	}
	exit_by(vcpu, REASON_INIT, 0, 0, 0);
	exit_by(vcpu, REASON_SIPI, 0x87, 0, 0);
	for (u64 field = 0; field < COUNT_OF(fake_vmcs); field++)
		expected[field] = BEFORE(field);
	expect_started();
	expected[VMCS_EXIT_REASON] = REASON_SIPI;
	expected[VMCS_EXIT_QUALIFICATION] = 0x87;
	expected[VMCS_INSTRUCTION_INFORMATION] = expected[VMCS_INSTRUCTION_LENGTH] = 0;
	expected[VMCS_ENTRY_EVENT] = 0;
	expect_vmcs();
	forget_vcpu();
}

static u8 page[PAGE_BYTES];

static void put(unsigned int offset, unsigned int bytes, u64 value)
{
	memcpy(page + offset, &value, bytes);
}

static void put_segment(unsigned int offset, u16 selector, u16 attributes, u32 limit, u64 base)
{
	put(offset, 2, selector);
	put(offset + 2, 2, attributes);
	put(offset + 4, 4, limit);
	put(offset + 8, 8, base);
}

static void expect_vmcb(const struct vcpu *vcpu)
{
	const struct context *context = &vcpu->context;

	memset(page, 0, sizeof(page));
	/* #GP; CPUID, INVD, INVLPGA, MSRs, shutdown; VMRUN to SKINIT, XSETBV. */
	put(0x08, 4, 1u << 13);
	put(0x0c, 4, 1u << 18 | 1u << 22 | 1u << 26 | 1u << 28 | 1u << 31);
	put(0x10, 4, 0x7f | 1u << 13);
	CHECK(svm_of(vcpu)->msrpm && svm_of(vcpu)->nested_cr3);
	put(0x48, 8, svm_of(vcpu)->msrpm);
	/* ASID; flush the entire TLB; nested paging. */
	put(0x58, 4, 1);
	put(0x5c, 1, 1);
	put(0x90, 8, 1);
	put(0xb0, 8, svm_of(vcpu)->nested_cr3);
	put_segment(0x410, CODE, 0xa9b, 0xffffffff, 0);
	put_segment(0x420, STACK, 0xc93, 0xffffffff, 0);
	put_segment(0x430, DATA, 0x492, 0xfabcd, DATA_BASE);
	put_segment(0x460, 0, 0, context->gdtr.limit, context->gdtr.base);
	put_segment(0x480, 0, 0, context->idtr.limit, context->idtr.base);
	put(0x4d0, 8, context->efer | EFER_SVME);
	put(0x548, 8, context->cr4);
	put(0x550, 8, context->cr3);
	put(0x558, 8, context->cr0);
	put(0x560, 8, context->dr7);
	put(0x568, 8, DR6_RESET | DR6_BS);
	put(0x570, 8, context->rflags);
	put(0x640, 8, 0x00007fffdeadb000);
	put(0x668, 8, PAT);
}

static void expect_page(const struct vcpu *vcpu)
{
	const u8 *vmcb = (const u8 *)vcpu->vmcb;

	for (unsigned int i = 0; i < sizeof(page); i++) {
		if (vmcb[i] == page[i])
			continue;
		fprintf(stderr, "byte %x of the VMCB is %x, not %x\n", i, vmcb[i], page[i]);
		exit(1);
	}
}

static void test_vmcb(void)
{
	struct refusal refusal = { 0 };
	struct vcpu *vcpu;

	set_up_amd();
	set_msr(MSR_PAT, PAT);
	vcpu = allocate_amd();
	fill(&vcpu->context);
	vcpu->context.efer = EFER_LME | EFER_LMA | EFER_SCE;
	fake_cr2 = 0x00007fffdeadb000;
	fake_dr6 = DR6_RESET | DR6_BS;
	CHECK(!vcpu->backend->enable(vcpu, &refusal) && !vcpu->backend->enter(vcpu, &refusal));
	expect_vmcb(vcpu);
	expect_page(vcpu);
	CHECK(get_msr(MSR_VM_HSAVE_PA) == svm_of(vcpu)->host_save_area_physical);
	CHECK(vcpu->vmcb_physical == (u64)vcpu->vmcb - PHYSICAL_WINDOW);
	forget_vcpu();
}

static struct vcpu *enter_with_other_vmcb(void)
{
	struct vcpu *vcpu;

	set_up_amd();
	vcpu = enter_amd();
	for (unsigned int offset = 0; offset < sizeof(page); offset += 8)
		put(offset, 8, BEFORE((u64)offset << 16));
	return vcpu;
}

/*
 * An exit leaves the VMCB as it is but for what completes the instruction; no clean bit is set, since none is right behind
 * an exit that has changed a field of its group (APM2 15.15.3).
 */
static void test_vmcb_behind_exit(void)
{
	struct vcpu *vcpu = enter_with_other_vmcb();

	put(0x70, 8, 0x72);
	put(0x570, 8, RFLAGS_ALWAYS);
	put(0x578, 8, 0x1000);
	put(0xc0, 8, 0);
	put(0xc8, 8, 0x1002);
	memcpy(vcpu->vmcb, page, sizeof(page));
	svm_handle_exit(vcpu, vcpu->vmcb);
	put(0x578, 8, 0x1002);
	/* The flush of the TLB, the interrupt shadow and the event. */
	put(0x5c, 1, 0);
	put(0x68, 8, 0);
	put(0xa8, 8, 0);
	expect_page(vcpu);
	forget_vcpu();
}

/* What INIT leaves, and all else as it was: PAT, the controls, and what VMRUN does not load (APM2 table 14-1). */
static void test_started_vmcb(void)
{
	struct vcpu *vcpu = enter_with_other_vmcb();

	memcpy(vcpu->vmcb, page, sizeof(page));
	vcpu->start_vector = 0x87;
	svm_start_guest(vcpu, CR0_ET | CR0_NW);
	put(0x5c, 1, 1);
	put(0x68, 8, 0);
	put(0xa8, 8, 0);
	put_segment(0x400, 0, 0x93, 0xffff, 0);
	put_segment(0x410, 0x8700, 0x9b, 0xffff, 0x87000);
	put_segment(0x420, 0, 0x93, 0xffff, 0);
	put_segment(0x430, 0, 0x93, 0xffff, 0);
	put_segment(0x460, 0, 0, 0xffff, 0);
	put_segment(0x480, 0, 0, 0xffff, 0);
	put(0x4cb, 1, 0);
	put(0x4d0, 8, EFER_SVME);
	put(0x548, 8, 0);
	put(0x550, 8, 0);
	put(0x558, 8, CR0_ET | CR0_NW);
	put(0x560, 8, DR7_RESET);
	put(0x568, 8, DR6_RESET);
	put(0x570, 8, RFLAGS_ALWAYS);
	put(0x578, 8, 0);
	put(0x5d8, 8, 0);
	put(0x640, 8, 0);
	expect_page(vcpu);
	forget_vcpu();
}

void test_entered_state(void)
{
	test_vmcs();
	test_started();
	test_vmcb();
	test_vmcb_behind_exit();
	test_started_vmcb();
}
