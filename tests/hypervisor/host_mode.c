// SPDX-License-Identifier: MIT
/* Host mode: the control registers that an exit loads, and the faults that it survives. */
#include <string.h>

#include "core/fault.h"
#include "core/host_state.h"
#include "core/memory.h"
#include "core/safe_instructions.h"
#include "core/vcpus.h"
#include "harness.h"

/*
 * Host CR4 depends on what the processor has, not on what the OS had enabled at load: the OS may
 * enable it later. XSETBV is executed for the guest and needs OSXSAVE (SDM 2C XSETBV); without MCE
 * a machine check shuts the processor down (SDM 3A 2.5).
 */
static void test_control_registers(void)
{
	struct vcpu *vcpu = calloc(1, sizeof(*vcpu));
	u32 a, b, c, d;

	CHECK(vcpu && !allocate_host_state(vcpu));
	cpuid(1, 0, &a, &b, &c, &d);
	for (unsigned int i = 0; i < 2; i++) {
		vcpu->context.cr4 = i ? CR4_PAE | CR4_OSXSAVE | CR4_MCE | CR4_PGE : CR4_PAE;
		prepare_host_state(vcpu, 0x1000);
		CHECK(!!(vcpu->host_cr4 & CR4_OSXSAVE) == !!(c & 1u << 26));
		CHECK(!!(vcpu->host_cr4 & CR4_MCE) == !!(d & 1u << 7));
		CHECK(vcpu->host_cr4 & CR4_PAE && !(vcpu->host_cr4 & CR4_PGE));
	}
	free(vcpu);
	memory_free_all();
}

/*
 * The GDT has what host mode loads, within its limit, up to the last selectors of the OS for which there is a place; SS may
 * be null.
 */
static void test_gdt(void)
{
	const u16 last = 508 << 3;
	const struct {
		u16 cs, ss;
	} selectors[] = { { 0x10, 0x18 }, { 0x18, 0x10 },     { last, 0x10 },
			  { 0x10, last }, { last, last - 8 }, { last, 0 } };

	CHECK(has_place_in_host_gdt(last) && !has_place_in_host_gdt(last + 8));
	for (unsigned int i = 0; i < COUNT_OF(selectors); i++) {
		struct vcpu *vcpu = calloc(1, sizeof(*vcpu));
		const u64 *gdt;

		CHECK(vcpu && !allocate_host_state(vcpu));
		vcpu->context.cs = selectors[i].cs;
		vcpu->context.ss = selectors[i].ss;
		prepare_host_state(vcpu, 0x1000);
		gdt = (const u64 *)vcpu->host_gdtr.base;
		CHECK(vcpu->host_cs == selectors[i].cs);
		CHECK(selectors[i].ss ? vcpu->host_ss == selectors[i].ss : vcpu->host_ss > last);
		/* Present: 64-bit code, data, and an available TSS. */
		CHECK(gdt[vcpu->host_cs >> 3] >> 40 == 0xaf9b &&
		      gdt[vcpu->host_ss >> 3] >> 40 == 0xcf93);
		CHECK((gdt[vcpu->host_tr >> 3] >> 40 & 0xff) == 0x89);
		CHECK(vcpu->host_tr + 16 <= vcpu->host_gdtr.limit + 1);
		free(vcpu);
		memory_free_all();
	}
}

/* Every guarded instruction, with every exception that it can raise. */
static void test_guarded_instructions(void)
{
	const struct {
		const char *instruction;
		enum vector vector;
	} faults[] = {
		{ read_msr_safe_insn, VECTOR_GP }, { write_msr_safe_insn, VECTOR_GP },
		{ xsetbv_safe_insn, VECTOR_GP },   { xsetbv_safe_insn, VECTOR_UD },
		{ vmxon_safe_insn, VECTOR_GP },	   { vmxon_safe_insn, VECTOR_UD },
	};

	for (unsigned int i = 0; i < COUNT_OF(faults); i++) {
		struct fault_frame frame = { .vector = faults[i].vector,
					     .rip = (u64)faults[i].instruction };

		host_fault(&frame);
		CHECK(frame.rip == (u64)fault_return_false);
	}
}

static void test_nmi(void)
{
	struct fault_frame frame = { .vector = VECTOR_NMI, .rip = 0x1234 };

	host_fault(&frame);
	CHECK(fake.noted_nmis == 1 && frame.rip == 0x1234);
}

static void test_machine_check(void)
{
	struct fault_frame frame = { .vector = VECTOR_MC, .rip = 0x1234 };

	host_fault(&frame);
	CHECK(fake.noted_machine_checks == 1 && frame.rip == 0x1234);
}

static void call_host_fault(void *frame)
{
	host_fault(frame);
}

static void expect_death(const struct vcpu *vcpu, u64 rsp, u64 vector, const char *why)
{
	struct fault_frame frame = {
		.vector = vector, .error_code = 0xabc, .rip = 0x1111222233334444, .rsp = rsp
	};

	CHECK(dies(call_host_fault, &frame));
	CHECK(death.vcpu == vcpu && death.rip == 0x1111222233334444 && death.rsp == rsp);
	CHECK(!strcmp(death.why, why));
}

/* A fault that nobody expects ends in a report of the CPU on whose stack it came: in this one the second's. */
static void test_unexpected_faults(void)
{
	const size_t bytes = STACK_PAGES * PAGE_BYTES + sizeof(struct vcpu);
	char *memory = calloc(2, bytes);
	struct vcpu *both[2];
	u64 top;

	CHECK(memory);
	for (unsigned int i = 0; i < 2; i++)
		both[i] = (struct vcpu *)(memory + i * bytes + STACK_PAGES * PAGE_BYTES);
	vcpus = both;
	vcpu_count = 2;
	top = (u64)both[1];
	expect_death(both[1], top - 8, VECTOR_PF, "fault in host mode: vector=e error=abc");
	expect_death(both[1], stack_bottom(both[1]), VECTOR_UD,
		     "fault in host mode: vector=6 error=abc");
	expect_death(NULL, 0x1234, VECTOR_GP, "fault in host mode: vector=d error=abc");
	fake.machine_check_status = 0x123456789abcdef5;
	expect_death(both[0], (u64)both[0], VECTOR_MC,
		     "fault in host mode: vector=12 error=abc mcg-status=123456789abcdef5");
	fake.machine_check_status = 0;
	vcpus = NULL;
	vcpu_count = 0;
	free(memory);
}

void test_host_mode(void)
{
	test_control_registers();
	test_gdt();
	test_guarded_instructions();
	test_nmi();
	test_machine_check();
	test_unexpected_faults();
}
