// SPDX-License-Identifier: MIT
/* VM exits that no emulator has: what each does to the guest (SDM 3C 26, 28.2; 3D appendix C). */
#include "core/memory.h"
#include "core/safe_instructions.h"
#include "fake_processor.h"
#include "vmx/exit.h"
#include "vmx/vmx_cpu.h"

#define RIP 0x1000
#define INJECTED(vector) (EVENT_VALID | EVENT_TYPE_EXCEPTION | (vector))
#define GP (INJECTED(VECTOR_GP) | EVENT_ERROR_CODE)

void exit_by(struct vcpu *vcpu, u32 reason, u64 qualification, u32 information, u32 length)
{
	fake_vmcs[VMCS_EXIT_REASON] = reason;
	fake_vmcs[VMCS_EXIT_QUALIFICATION] = qualification;
	fake_vmcs[VMCS_INSTRUCTION_INFORMATION] = information;
	fake_vmcs[VMCS_INSTRUCTION_LENGTH] = length;
	fake_vmcs[VMCS_GUEST_RIP] = RIP;
	fake_vmcs[VMCS_GUEST_RFLAGS] = RFLAGS_ALWAYS;
	fake_vmcs[VMCS_ENTRY_EVENT] = 0;
	vmx_handle_exit(vcpu);
}

static void expect_completed(u32 length)
{
	CHECK(fake_vmcs[VMCS_GUEST_RIP] == RIP + length);
	CHECK(!fake_vmcs[VMCS_ENTRY_EVENT]);
}

static void expect_injected(u32 event)
{
	CHECK(fake_vmcs[VMCS_GUEST_RIP] == RIP);
	CHECK(fake_vmcs[VMCS_ENTRY_EVENT] == event);
}

/* RDMSRLIST and WRMSRLIST: CPUID says no, no control enables them, and an exit of theirs is #UD. */
static void test_msr_lists(void)
{
	struct vcpu *vcpu;

	set_up_intel();
	set_cpuid(7, 1, 1u << 27 | 1u << 19, 0, 0, 0);
	vcpu = enter_intel();
	CHECK(!(fake_vmcs[VMCS_PRIMARY_CONTROLS] & 1u << 17));
	vcpu->regs = (struct regs){ .rax = 7, .rcx = 1 };
	exit_by(vcpu, REASON_CPUID, 0, 0, 2);
	expect_completed(2);
	CHECK(vcpu->regs.rax == 1u << 19);
	for (u32 reason = 78; reason <= 79; reason++) {
		exit_by(vcpu, reason, MSR_FEATURE_CONTROL, 0, 4);
		expect_injected(INJECTED(VECTOR_UD));
	}
	forget_vcpu();
}

/* The MSR is in the exit qualification, and the register in bits 6:3 of the instruction information. */
static void test_immediate_msrs(void)
{
	struct vcpu *vcpu;

	set_up_intel();
	vcpu = enter_intel();
	for (u32 number = 0; number < 16; number++) {
		u64 *registers = &vcpu->regs.rax;
		u64 *operand = number == 4 ? &fake_vmcs[VMCS_GUEST_RSP] : &registers[number];

		vcpu->regs = (struct regs){ .rax = ~0ull, .rcx = ~0ull, .rdx = ~0ull };
		*operand = ~0ull;
		exit_by(vcpu, 84, MSR_FEATURE_CONTROL, number << 3, 9);
		expect_completed(9);
		CHECK(*operand == FEATURE_CONTROL_LOCKED);
		CHECK(vcpu->regs.rdx == ~0ull || number == 2);

		*operand = EFER_LME | EFER_LMA | EFER_NXE;
		exit_by(vcpu, 85, MSR_EFER, number << 3, 9);
		expect_completed(9);
		CHECK(fake_vmcs[VMCS_GUEST_EFER] == (EFER_LME | EFER_LMA | EFER_NXE));
		exit_by(vcpu, 84, MSR_EFER, number << 3, 9);
		CHECK(*operand == (EFER_LME | EFER_LMA | EFER_NXE));
	}
	/* Hidden, locked, and an MSR that does not exist. */
	exit_by(vcpu, 84, MSR_VMX_BASIC, 0, 9);
	expect_injected(GP);
	exit_by(vcpu, 85, MSR_FEATURE_CONTROL, 0, 9);
	expect_injected(GP);
	exit_by(vcpu, 84, 0x40000000, 0, 9);
	expect_injected(GP);
	exit_by(vcpu, 85, 0x40000000, 0, 9);
	expect_injected(GP);
	forget_vcpu();
}

/* Exits newer than Veneer come of instructions, for every other kind of exit has a control that is off. */
static void test_unknown_exits(void)
{
	static const u32 unknown[] = { 80, 81, 82, 83, 86, 100, 0xffff };
	struct vcpu *vcpu;

	set_up_intel();
	vcpu = enter_intel();
	for (unsigned int i = 0; i < COUNT_OF(unknown); i++) {
		exit_by(vcpu, unknown[i], 0, 0, 4);
		expect_injected(INJECTED(VECTOR_UD));
	}
	forget_vcpu();
}

/* Instructions of VMX, of TDX and of SMX, by their exit reasons (SDM 3D appendix C). */
static void test_hidden_instructions(void)
{
	static const u32 reasons[] = { 19, 20, 21, 22, 23, 24, 25, 26, 27, 50, 53, 76, 77 };
	struct vcpu *vcpu;

	set_up_intel();
	vcpu = enter_intel();
	for (unsigned int i = 0; i < COUNT_OF(reasons); i++) {
		exit_by(vcpu, reasons[i], 0, 0, 3);
		expect_injected(INJECTED(VECTOR_UD));
		CHECK(vcpu->counts[EXIT_NESTED] == i + 1);
	}
	exit_by(vcpu, 11, 0, 0, 2);
	expect_injected(INJECTED(VECTOR_UD));
	CHECK(vcpu->counts[EXIT_GETSEC] == 1);
	forget_vcpu();
}

/* Above bit 15 the exit reason says more of the exit: bit 27, that it came in an SGX enclave (SDM 3C 25.9.1). */
static void test_enclave_exits(void)
{
	const u32 in_enclave = 1u << 27;
	struct vcpu *vcpu;

	set_up_intel();
	vcpu = enter_intel();
	fake_vmcs[VMCS_EXIT_EVENT] = EVENT_VALID | EVENT_TYPE_NMI | VECTOR_NMI;
	exit_by(vcpu, REASON_EXCEPTION_OR_NMI | in_enclave, 0, 0, 0);
	CHECK(vcpu->pending_nmis == 1 && !fake_vmcs[VMCS_ENTRY_EVENT]);
	CHECK(fake_vmcs[VMCS_PRIMARY_CONTROLS] & PRIMARY_NMI_WINDOW);
	exit_by(vcpu, REASON_NMI_WINDOW | in_enclave, 0, 0, 0);
	CHECK(fake_vmcs[VMCS_ENTRY_EVENT] == (EVENT_VALID | EVENT_TYPE_NMI | VECTOR_NMI));
	CHECK(!vcpu->pending_nmis);
	exit_by(vcpu, REASON_INVD | in_enclave, 0, 0, 2);
	expect_completed(2);
	CHECK(vcpu->counts[EXIT_INVD] == 1);
	forget_vcpu();
}

/* A processor without VMX and SMX has no IA32_SMM_MONITOR_CTL (SDM 4 table 2-2). */
static void test_hidden_msrs(void)
{
	static const u32 hidden[] = { 0x9b, 0x480, 0x48b, 0x491, 0x492, 0x493 };
	struct vcpu *vcpu;
	const u8 *bitmap;

	set_up_intel();
	/* All of them exist. */
	for (unsigned int i = 0; i < COUNT_OF(hidden); i++) {
		u64 value;

		if (!read_msr_safe(hidden[i], &value))
			set_msr(hidden[i], 0);
	}
	vcpu = enter_intel();
	bitmap = physical_to_host(fake_vmcs[VMCS_MSR_BITMAP]);
	for (unsigned int i = 0; i < COUNT_OF(hidden); i++) {
		CHECK(bitmap[hidden[i] / 8] & bitmap[0x800 + hidden[i] / 8] & 1 << hidden[i] % 8);
		vcpu->regs = (struct regs){ .rcx = hidden[i] };
		exit_by(vcpu, REASON_RDMSR, 0, 0, 2);
		expect_injected(GP);
		exit_by(vcpu, REASON_WRMSR, 0, 0, 2);
		expect_injected(GP);
	}
	forget_vcpu();
}

void test_vmx_exits(void)
{
	test_hidden_instructions();
	test_enclave_exits();
	test_hidden_msrs();
	test_msr_lists();
	test_immediate_msrs();
	test_unknown_exits();
}
