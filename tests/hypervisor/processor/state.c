// SPDX-License-Identifier: MIT
/* State that exits and entries switch on processors that no emulator is, and events outside of guest mode. */
#include "core/lifecycle.h"
#include "core/machine_check.h"
#include "core/memory.h"
#include "core/nmi.h"
#include "core/obstacles.h"
#include "fake_processor.h"
#include "svm/svm_cpu.h"
#include "vmx/vmx_cpu.h"

/* SVM: S_CET and the table of interrupts' shadow stacks, from the OS to the guest and back (APM2 table B-2). */
void test_shadow_stacks(void)
{
	struct vcpu *vcpu;

	set_up_amd();
	set_cpuid(7, 0, 0, 0, 1u << 7, 0);
	set_msr(MSR_S_CET, 0x10);
	set_msr(MSR_INTERRUPT_SSP_TABLE, 0xffff800000001000);
	vcpu = enter_amd();
	CHECK(vcpu->vmcb->s_cet == 0x10);
	CHECK(vcpu->vmcb->interrupt_ssp_table == 0xffff800000001000);
	/* Host mode has its own; the guest has changed them. */
	set_msr(MSR_S_CET, 0);
	set_msr(MSR_INTERRUPT_SSP_TABLE, 0);
	vcpu->vmcb->s_cet = 0x24;
	leave(vcpu);
	CHECK(get_msr(MSR_S_CET) == 0x24);
	CHECK(get_msr(MSR_INTERRUPT_SSP_TABLE) == 0xffff800000001000);
	forget_vcpu();
	/* Without shadow stacks the MSRs do not exist. */
	set_up_amd();
	vcpu = enter_amd();
	leave(vcpu);
	forget_vcpu();
}

/* SVM with a SPEC_CTRL of the guest's own, CPUID 8000_000A EDX[20]; without it there is one, which nothing switches. */
static void switch_spec_ctrl(bool has_own)
{
	struct vcpu *vcpu;

	set_up_amd();
	set_cpuid(0x8000000a, 0, 1, 8, 0, has_own ? 1u << 20 | 1 : 1);
	set_msr(MSR_SPEC_CTRL, 3);
	vcpu = enter_amd();
	CHECK(vcpu->vmcb->spec_ctrl == (has_own ? 3 : 0));
	set_msr(MSR_SPEC_CTRL, 1);
	vcpu->vmcb->spec_ctrl = 2;
	leave(vcpu);
	CHECK(get_msr(MSR_SPEC_CTRL) == (has_own ? 2 : 1));
	forget_vcpu();
}

void test_spec_ctrl(void)
{
	switch_spec_ctrl(true);
	switch_spec_ctrl(false);
}

/* PEBS is off in host mode: an exit stores the guest's value and loads 0, an entry loads the guest's (SDM 3C 28.4, 28.6). */
void test_pebs(void)
{
	struct msr_entry *guest, *host;
	struct vcpu *vcpu;

	set_up_intel();
	set_cpuid(1, 0, 0, 0, 1u << 5, 1u << 7 | 1u << 21);
	set_msr(MSR_PEBS_ENABLE, 0xf);
	vcpu = enter_intel();
	CHECK(fake_vmcs[VMCS_EXIT_MSR_STORE_COUNT] == 1 &&
	      fake_vmcs[VMCS_EXIT_MSR_LOAD_COUNT] == 1);
	CHECK(fake_vmcs[VMCS_ENTRY_MSR_LOAD_COUNT] == 1);
	CHECK(fake_vmcs[VMCS_EXIT_MSR_STORE] == fake_vmcs[VMCS_ENTRY_MSR_LOAD]);
	CHECK(!(fake_vmcs[VMCS_EXIT_MSR_STORE] & 15) && !(fake_vmcs[VMCS_EXIT_MSR_LOAD] & 15));
	guest = physical_to_host(fake_vmcs[VMCS_ENTRY_MSR_LOAD]);
	host = physical_to_host(fake_vmcs[VMCS_EXIT_MSR_LOAD]);
	CHECK(guest->number == MSR_PEBS_ENABLE && guest->value == 0xf && !guest->reserved);
	CHECK(host->number == MSR_PEBS_ENABLE && !host->value && !host->reserved);
	guest->value = 3;
	set_msr(MSR_PEBS_ENABLE, 0);
	leave(vcpu);
	CHECK(get_msr(MSR_PEBS_ENABLE) == 3);
	forget_vcpu();
	set_up_intel();
	vcpu = enter_intel();
	CHECK(!fake_vmcs[VMCS_EXIT_MSR_STORE_COUNT] && !fake_vmcs[VMCS_EXIT_MSR_LOAD_COUNT]);
	CHECK(!fake_vmcs[VMCS_ENTRY_MSR_LOAD_COUNT]);
	leave(vcpu);
	forget_vcpu();
}

static void open_window(struct vcpu *vcpu)
{
	CHECK(fake_vmcs[VMCS_PRIMARY_CONTROLS] & PRIMARY_NMI_WINDOW);
	exit_by(vcpu, REASON_NMI_WINDOW, 0, 0, 0);
}

static void expect_nmi(struct vcpu *vcpu)
{
	open_window(vcpu);
	CHECK(fake_vmcs[VMCS_ENTRY_EVENT] == (EVENT_VALID | EVENT_TYPE_NMI | VECTOR_NMI));
	/* The entry delivers it, and the next exit clears the bit that says that it is valid (SDM 3C 25.8.3). */
	fake_vmcs[VMCS_ENTRY_EVENT] = 0;
}

/* How many of three that come together wait, for the guest as it is; it takes them when nothing blocks them any more. */
static void expect_most_pending(struct vcpu *vcpu, unsigned int most)
{
	for (unsigned int i = 0; i < 3; i++)
		handle_nmi(vcpu);
	CHECK(vcpu->pending_nmis == most);
	fake_vmcs[VMCS_GUEST_INTERRUPTIBILITY] = 0;
	while (most--)
		expect_nmi(vcpu);
	CHECK(!vcpu->pending_nmis);
	CHECK(!(fake_vmcs[VMCS_PRIMARY_CONTROLS] & PRIMARY_NMI_WINDOW));
	/* Nothing comes of a window that was asked for in vain. */
	exit_by(vcpu, REASON_NMI_WINDOW, 0, 0, 0);
	CHECK(!fake_vmcs[VMCS_ENTRY_EVENT]);
}

/*
 * Two NMIs before the guest can take the first: it gets both, one behind the other, and a third is lost as in a processor.
 * While it handles one, a single other one waits (SDM 3A 6.7.1).
 */
void test_nmis(void)
{
	struct vcpu *vcpu;

	set_up_intel();
	vcpu = enter_intel();
	handle_nmi(vcpu);
	expect_nmi(vcpu);
	CHECK(!vcpu->pending_nmis);
	expect_most_pending(vcpu, 2);
	/* It handles one, or one is being injected. */
	fake_vmcs[VMCS_GUEST_INTERRUPTIBILITY] = BLOCKED_BY_NMI;
	expect_most_pending(vcpu, 1);
	fake_vmcs[VMCS_ENTRY_EVENT] = EVENT_VALID | EVENT_TYPE_NMI | VECTOR_NMI;
	expect_most_pending(vcpu, 1);
	fake_vmcs[VMCS_ENTRY_EVENT] = EVENT_VALID | EVENT_TYPE_EXCEPTION | VECTOR_PF;
	expect_most_pending(vcpu, 2);
	/* The shadow of MOV SS holds an NMI back as well, but it is none that the guest handles. */
	fake_vmcs[VMCS_GUEST_INTERRUPTIBILITY] = BLOCKED_BY_MOV_SS;
	expect_most_pending(vcpu, 2);
	/* Some processors open the window in the shadow of STI, which ends with the NMI. */
	fake_vmcs[VMCS_GUEST_INTERRUPTIBILITY] = BLOCKED_BY_STI;
	handle_nmi(vcpu);
	expect_nmi(vcpu);
	CHECK(!fake_vmcs[VMCS_GUEST_INTERRUPTIBILITY]);
	/* An instruction that is completed in a shadow, within the handler of an NMI. */
	fake_vmcs[VMCS_GUEST_INTERRUPTIBILITY] = BLOCKED_BY_STI | BLOCKED_BY_NMI;
	exit_by(vcpu, REASON_CPUID, 0, 0, 2);
	CHECK(fake_vmcs[VMCS_GUEST_INTERRUPTIBILITY] == BLOCKED_BY_NMI);
	forget_vcpu();
}

static struct vcpu *interrupted;

static void take_nmi(void)
{
	handle_nmi(interrupted);
}

/* An NMI that comes in host mode while the window is being switched off, for a machine check, is not forgotten. */
static void test_nmi_at_machine_check(void)
{
	set_up_intel();
	set_msr(MSR_MCG_STATUS, 5);
	interrupted = enter_intel();
	CHECK(note_machine_check(interrupted));
	fake_interruption = take_nmi;
	open_window(interrupted);
	CHECK(fake_vmcs[VMCS_ENTRY_EVENT] == (EVENT_VALID | EVENT_TYPE_EXCEPTION | VECTOR_MC));
	expect_nmi(interrupted);
	forget_vcpu();
}

/* A machine check in host mode goes to the guest, before an NMI; in front of an OS without guest mode it is raised. */
void test_machine_checks(void)
{
	struct vcpu *vcpu;

	test_nmi_at_machine_check();
	set_up_intel();
	vcpu = enter_intel();
	/* There are no machine checks, or what was interrupted cannot go on. */
	CHECK(!note_machine_check(vcpu));
	set_msr(MSR_MCG_STATUS, 4);
	CHECK(!note_machine_check(vcpu));
	CHECK(!(fake_vmcs[VMCS_PRIMARY_CONTROLS] & PRIMARY_NMI_WINDOW));

	set_msr(MSR_MCG_STATUS, 5);
	CHECK(note_machine_check(vcpu));
	handle_nmi(vcpu);
	open_window(vcpu);
	CHECK(fake_vmcs[VMCS_ENTRY_EVENT] == (EVENT_VALID | EVENT_TYPE_EXCEPTION | VECTOR_MC));
	open_window(vcpu);
	CHECK(fake_vmcs[VMCS_ENTRY_EVENT] == (EVENT_VALID | EVENT_TYPE_NMI | VECTOR_NMI));
	CHECK(!(fake_vmcs[VMCS_PRIMARY_CONTROLS] & PRIMARY_NMI_WINDOW));

	/* During a VM entry, which fails and is repeated. */
	exit_by(vcpu, REASON_ENTRY_FAILURE | REASON_MACHINE_CHECK, 0, 0, 0);
	CHECK(fake_vmcs[VMCS_GUEST_RIP] == 0x1000 && !fake_vmcs[VMCS_ENTRY_EVENT]);
	open_window(vcpu);
	CHECK(fake_vmcs[VMCS_ENTRY_EVENT] == (EVENT_VALID | EVENT_TYPE_EXCEPTION | VECTOR_MC));

	/* Behind the last exit. */
	leave(vcpu);
	vcpu->in_guest_mode = false;
	CHECK(note_machine_check(vcpu));
	vcpu->pending_nmis = 1;
	replay_nmis(vcpu);
	CHECK(fake_machine_checks == 1 && fake_nmis == 1);
	replay_nmis(vcpu);
	CHECK(fake_machine_checks == 1 && fake_nmis == 1);
	forget_vcpu();

	/* SVM: outside of guest mode only. */
	set_up_amd();
	set_msr(MSR_MCG_STATUS, 5);
	vcpu = enter_amd();
	CHECK(!note_machine_check(vcpu));
	vcpu->in_guest_mode = false;
	CHECK(note_machine_check(vcpu));
	replay_nmis(vcpu);
	CHECK(fake_machine_checks == 1);
	forget_vcpu();
}

#define SIGNATURE 0x50654

/* The least that cannot wait, for a SIPI that comes meanwhile is lost: one write to the local APIC, two to the VMCS. */
static void check_init(struct vcpu *vcpu, u32 *apic)
{
	struct regs regs = { .rax = 1, .rbx = 2 };

	/* It comes in an NMI handler, behind STI. */
	fake_vmcs[VMCS_GUEST_INTERRUPTIBILITY] = BLOCKED_BY_STI | BLOCKED_BY_NMI;
	fake_vmcs[VMCS_GUEST_CR3] = 0x5000;
	fake_vmcs[VMCS_GUEST_DR7] = 0x401;
	fake_vmcs[VMCS_CR0_SHADOW] = fake_vmcs[VMCS_GUEST_CR0] |= CR0_CD | CR0_NW;
	for (unsigned int i = 0; i < COUNT_OF(fake_dr); i++)
		fake_dr[i] = 0x1000;
	fake_dr6 = DR6_RESET | DR6_BS;
	fake_cr2 = 0x5000;
	vcpu->regs = regs;
	vcpu->pending_nmis = 1;
	vcpu->machine_check_pending = true;
	exit_by(vcpu, REASON_INIT, 0, 0, 0);
	CHECK(fake_vmcs[VMCS_GUEST_ACTIVITY] == ACTIVITY_WAIT_FOR_SIPI);
	CHECK(!fake_vmcs[VMCS_GUEST_INTERRUPTIBILITY] && fake_vmcs[VMCS_GUEST_CR3] == 0x5000);
	for (unsigned int i = 0; i < PAGE_BYTES / 4; i++)
		CHECK(apic[i] == (i == 0xf0 / 4			    ? 0xff
				  : i >= 0x100 / 4 && i < 0x180 / 4 ? 0
								    : 0x21));
}

/* The registers that INIT leaves (SDM 3A table 9-1): CR0 keeps CD and NW, EDX has the signature of CPUID leaf 1. */
static void check_sipi(struct vcpu *vcpu)
{
	fake_vmcs[VMCS_GUEST_INTERRUPTIBILITY] = BLOCKED_BY_NMI;
	exit_by(vcpu, REASON_SIPI, 0x87, 0, 0);
	CHECK(fake_vmcs[VMCS_GUEST_ACTIVITY] == ACTIVITY_ACTIVE);
	CHECK(!vcpu->pending_nmis && !vcpu->machine_check_pending);
	CHECK(!fake_vmcs[VMCS_GUEST_INTERRUPTIBILITY]);
	CHECK(fake_vmcs[GUEST_SELECTOR(SEGMENT_CS)] == 0x8700 && !fake_vmcs[VMCS_GUEST_RIP]);
	CHECK(fake_vmcs[GUEST_BASE(SEGMENT_CS)] == 0x87000 && !fake_vmcs[VMCS_GUEST_CR3]);
	CHECK(fake_vmcs[VMCS_GUEST_RFLAGS] == RFLAGS_ALWAYS);
	CHECK(!vcpu->regs.rax && !vcpu->regs.rbx && vcpu->regs.rdx == SIGNATURE);
	CHECK(vcpu->backend->read[GUEST_CR0](vcpu) == (CR0_CD | CR0_NW | CR0_ET));
	CHECK(!vcpu->backend->read[GUEST_CR4](vcpu) && !vcpu->backend->read[GUEST_EFER](vcpu));
	for (unsigned int i = 0; i < COUNT_OF(fake_dr); i++)
		CHECK(!fake_dr[i]);
	CHECK(fake_dr6 == DR6_RESET && fake_vmcs[VMCS_GUEST_DR7] == DR7_RESET && !fake_cr2);
}

/* What INIT leaves in a local APIC whose registers were 21h: not the ID, and no interrupt is sent (SDM 3A 11.4.7.3). */
static u32 apic_after_init(unsigned int offset)
{
	switch (offset) {
	case 0x80:
	case 0xd0:
	case 0x280:
	case 0x380:
	case 0x3e0:
	case 0x100 ... 0x17f:
		return 0;
	case 0xe0:
		return ~0u;
	case 0xf0:
		return 0xff;
	case 0x320 ... 0x37f:
		return 1u << 16;
	default:
		return 0x21;
	}
}

/*
 * An interrupt that is in service, in each of the eight registers, is ended, as often as may be needed: this local APIC does
 * not take notice.
 */
static void check_in_service(struct vcpu *vcpu, u32 *apic)
{
	for (unsigned int offset = 0x100; offset < 0x180; offset += 16) {
		apic[offset / 4] = 1;
		apic[0xb0 / 4] = 0x21;
		exit_by(vcpu, REASON_INIT, 0, 0, 0);
		exit_by(vcpu, REASON_SIPI, 0x87, 0, 0);
		CHECK(!apic[0xb0 / 4]);
		apic[offset / 4] = 0;
	}
}

/* What the function that fake_processor.c replaces consists of: MOV to DR0, DR1, DR2 and DR3 (SDM 2B MOV). */
static __attribute__((noinline)) void clear(void)
{
	real_clear_breakpoints();
}

static bool clears_breakpoint(const u8 *code, unsigned int number)
{
	for (unsigned int i = 0; i < 64; i++) {
		if (code[i] == 0x0f && code[i + 1] == 0x23 &&
		    (code[i + 2] & 0xf8) == (0xc0 | number << 3))
			return true;
	}
	return false;
}

/* INIT resets the local APIC, which an exit does not (SDM 3A 11.4.7.3, 3C 26.2). */
void test_init(void)
{
	u32 *apic = physical_to_host(FAKE_APIC);
	struct vcpu *vcpu;

	set_up_intel();
	set_cpuid(1, 0, SIGNATURE, 0, 1u << 5, 1u << 7);
	set_msr(MSR_APIC_BASE, FAKE_APIC | APIC_BASE_ENABLED);
	vcpu = enter_intel();
	for (unsigned int i = 0; i < PAGE_BYTES / 4; i++)
		apic[i] = i >= 0x100 / 4 && i < 0x180 / 4 ? 0 : 0x21;
	check_init(vcpu, apic);
	check_sipi(vcpu);
	for (unsigned int i = 0; i < PAGE_BYTES / 4; i += 4)
		CHECK(apic[i] == apic_after_init(i * 4));
	check_in_service(vcpu, apic);
	forget_vcpu();
	for (unsigned int i = 0; i < COUNT_OF(fake_dr); i++)
		CHECK(clears_breakpoint((const u8 *)clear, i));

	/* x2APIC: MSRs, of which two do not exist. */
	set_up_intel();
	set_msr(MSR_APIC_BASE, FAKE_APIC | APIC_BASE_ENABLED | APIC_BASE_X2APIC);
	for (u32 number = 0x02; number <= 0x3e; number++) {
		if (number != 0x0e && number != 0x31)
			set_msr(MSR_X2APIC(number), number >= 0x10 && number <= 0x17 ? 0 : 0x21);
	}
	vcpu = enter_intel();
	exit_by(vcpu, REASON_INIT, 0, 0, 0);
	CHECK(get_msr(MSR_X2APIC(0x08)) == 0x21 && get_msr(MSR_X2APIC(0x0f)) == 0xff);
	exit_by(vcpu, REASON_SIPI, 0x87, 0, 0);
	CHECK(vcpu->backend->read[GUEST_CR0](vcpu) == CR0_ET);
	CHECK(get_msr(MSR_X2APIC(0x08)) == 0 && get_msr(MSR_X2APIC(0x0f)) == 0xff);
	CHECK(get_msr(MSR_X2APIC(0x28)) == 0 && get_msr(MSR_X2APIC(0x3e)) == 0);
	CHECK(get_msr(MSR_X2APIC(0x32)) == 1u << 16 && get_msr(MSR_X2APIC(0x38)) == 0);
	CHECK(get_msr(MSR_X2APIC(0x0d)) == 0x21 && get_msr(MSR_X2APIC(0x30)) == 0x21);
	CHECK(get_msr(MSR_APIC_BASE) == (FAKE_APIC | APIC_BASE_ENABLED | APIC_BASE_X2APIC));
	forget_vcpu();
}

static void expect_refused(struct vcpu *vcpu)
{
	u64 cr0 = fake_cr0, cr4 = fake_cr4;
	struct refusal refusal = { 0 };

	CHECK(vcpu->backend->enable(vcpu, &refusal) && refusal.error);
	CHECK(fake_cr0 == cr0 && fake_cr4 == cr4);
	forget_vcpu();
}

/*
 * IA32_FEATURE_CONTROL stays locked until a reset (SDM 3C 24.7): it is locked when VMXON is all that can still refuse, and
 * CR0 and CR4 are as before wherever it ends.
 */
void test_unlocking(void)
{
	struct refusal refusal = { 0 };
	struct vcpu *vcpu;
	u64 cr0, cr4;

	set_up_intel();
	set_msr(MSR_FEATURE_CONTROL, 0);
	fake_cr0 &= ~(u64)CR0_NE;
	cr0 = fake_cr0;
	cr4 = fake_cr4;
	vcpu = allocate_intel();
	CHECK(!vcpu->backend->enable(vcpu, &refusal));
	CHECK(get_msr(MSR_FEATURE_CONTROL) == (FEATURE_CONTROL_LOCKED | FEATURE_CONTROL_VMX));
	CHECK(fake_cr0 == (cr0 | CR0_NE) && fake_cr4 == (cr4 | CR4_VMXE));
	vcpu->backend->disable(vcpu);
	CHECK(fake_vmxoffs == 1);
	CHECK(fake_cr0 == cr0 && fake_cr4 == cr4);
	forget_vcpu();

	set_up_intel();
	set_msr(MSR_FEATURE_CONTROL, 0);
	set_msr(MSR_VMX_CR4_FIXED1, 0xffffffff & ~(u64)CR4_OSXSAVE);
	expect_refused(allocate_intel());
	CHECK(!get_msr(MSR_FEATURE_CONTROL));

	set_up_intel();
	fake_cr0 &= ~(u64)CR0_NE;
	fake_vmxon_fails = true;
	expect_refused(allocate_intel());
}

/* The last entry of a GDT that CS and SS may be in, and selectors that have no place in Veneer's: behind it, and of an LDT. */
#define LAST_SELECTOR (508 << 3)

static void expect_no_place(u16 *fake_selector)
{
	const u16 none[] = { 509 << 3, 8191 << 3, 6 << 3 | 4, 4, LAST_SELECTOR | 4 };
	struct refusal refusal = { 0 };

	*fake_selector = LAST_SELECTOR;
	CHECK(!find_obstacle_of_os(&refusal));
	for (unsigned int i = 0; i < COUNT_OF(none); i++) {
		*fake_selector = none[i];
		CHECK(find_obstacle_of_os(&refusal) == -ENODEV && refusal.detail == none[i]);
	}
	*fake_selector = LAST_SELECTOR;
}

/* What an OS may use and Veneer cannot take over. */
void test_obstacles(void)
{
	struct refusal refusal = { 0 };

	set_up_intel();
	CHECK(!find_obstacle_of_os(&refusal));
	fake_cr4 |= CR4_CET;
	set_msr(MSR_S_CET, 4);
	CHECK(!find_obstacle_of_os(&refusal));
	set_msr(MSR_S_CET, 5);
	CHECK(find_obstacle_of_os(&refusal) == -ENODEV && refusal.detail == 5);
	refusal = (struct refusal){ 0 };
	set_msr(MSR_S_CET, 0);
	fake_cr4 |= CR4_FRED;
	CHECK(find_obstacle_of_os(&refusal) == -ENODEV && refusal.detail == fake_cr4);

	set_up_intel();
	refusal = (struct refusal){ 0 };
	expect_no_place(&fake_cs);
	CHECK(!find_obstacle_of_os(&refusal));
	expect_no_place(&fake_ss);
	/* The null selector, which 64-bit mode has in SS at CPL 0. */
	fake_ss = 0;
	CHECK(!find_obstacle_of_os(&refusal));
}
