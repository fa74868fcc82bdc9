// SPDX-License-Identifier: MIT
/* Host mode: the control registers that an exit loads, and the faults that it survives. */
#include "core/fault.h"
#include "core/host_state.h"
#include "core/memory.h"
#include "core/safe_instructions.h"
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

void test_host_mode(void)
{
	test_control_registers();
	test_guarded_instructions();
	test_nmi();
	test_machine_check();
}
