/* SPDX-License-Identifier: MIT */
#include "saved_state.h"

#include "debug_registers.h"
#include "refuse.h"
#include "x86.h"

/* Whether the code holds the opcode of WRMSR, the way to change EFER. */
static bool writes_msr(const struct probe_request *request)
{
	for (uint32_t i = 0; i + 1 < request->code_size; i++)
		if (request->code[i] == 0x0f && request->code[i + 1] == 0x30)
			return true;
	return false;
}

bool saved_state_take(const struct probe_request *request, struct probe_machine *machine,
		      struct probe_outcome *outcome)
{
	machine->gdtr = x86_sgdt();
	machine->idtr = x86_sidt();
	asm volatile("sldt %0" : "=r"(machine->ldtr));
	machine->cr0 = x86_read_cr0();
	machine->cr2 = x86_read_cr2();
	machine->cr3 = x86_read_cr3();
	machine->cr4 = x86_read_cr4();
	machine->cr8 = x86_read_cr8();
	for (unsigned int i = 0; i < 8; i++)
		machine->dr[i] = read_dr(i);
	asm volatile("mov %%ds, %0" : "=r"(machine->ds));
	asm volatile("mov %%es, %0" : "=r"(machine->es));
	asm volatile("mov %%fs, %0" : "=r"(machine->fs));
	asm volatile("mov %%gs, %0" : "=r"(machine->gs));
	if (machine->cr4 & CR4_OSXSAVE)
		machine->xcr0 = x86_read_xcr0();
	/*
	 * Accesses to EFER may exit, and would be counted by a check that counts exits. So EFER is accessed
	 * only if the request or the probe may change it.
	 */
	machine->watch_efer = request->efer.set || request->efer.clear || request->leave ||
			      (!request->cpl && writes_msr(request));
	if (machine->watch_efer)
		probe_try_rdmsr(MSR_EFER, &machine->efer);
	for (uint32_t i = 0; i < request->msr_count; i++) {
		const struct probe_msr *msr = &request->msr[i];

		if (probe_try_rdmsr(msr->number, &machine->msr[i]))
			return refuse_value(outcome,
					    msr->start == PROBE_MSR_KEEP ? "keep=" : "msr=",
					    msr->number, ": RDMSR faults");
	}
	return true;
}

void saved_state_restore_idtr(const struct probe_machine *machine)
{
	struct x86_table idtr = x86_sidt();

	if (idtr.base != machine->idtr.base || idtr.limit != machine->idtr.limit)
		x86_lidt(machine->idtr);
}

void saved_state_read_msrs(const struct probe_request *request, struct probe_outcome *outcome)
{
	for (uint32_t i = 0; i < request->msr_count; i++) {
		if (probe_try_rdmsr(request->msr[i].number, &outcome->msr[i]))
			outcome->left |= LEFT_MSR;
		else
			outcome->msr_read |= 1u << i;
	}
}

void saved_state_restore_msrs(const struct probe_request *request,
			      const struct probe_machine *machine, struct probe_outcome *outcome)
{
	saved_state_read_msrs(request, outcome);
	for (uint32_t i = 0; i < request->msr_count; i++)
		if (outcome->msr_read >> i & 1 && outcome->msr[i] != machine->msr[i] &&
		    probe_try_wrmsr(request->msr[i].number, machine->msr[i]))
			outcome->left |= LEFT_MSR;
}

static void restore_gdtr_and_ldtr(const struct probe_machine *machine)
{
	struct x86_table gdtr = x86_sgdt();
	uint16_t ldtr;

	if (gdtr.base != machine->gdtr.base || gdtr.limit != machine->gdtr.limit)
		x86_lgdt(machine->gdtr);
	asm volatile("sldt %0" : "=r"(ldtr));
	if (ldtr != machine->ldtr)
		asm volatile("lldt %0" : : "r"(machine->ldtr));
}

void saved_state_restore(const struct probe_machine *machine, struct probe_outcome *outcome)
{
	uint64_t efer;
	uint16_t selector;

	/* Before the data segments, which are loaded from them. */
	restore_gdtr_and_ldtr(machine);
	if (read_dr(7) != DR7_RESET)
		try_dr(7, DR7_RESET);
	for (unsigned int i = 0; i < 8; i++)
		if (read_dr(i) != machine->dr[i])
			try_dr(i, machine->dr[i]);

	asm volatile("mov %0, %%ds" : : "r"(machine->ds));
	asm volatile("mov %0, %%es" : : "r"(machine->es));
	asm volatile("mov %%fs, %0" : "=r"(selector));
	if (selector != machine->fs)
		asm volatile("mov %0, %%fs" : : "r"(machine->fs));
	asm volatile("mov %%gs, %0" : "=r"(selector));
	if (selector != machine->gs)
		asm volatile("mov %0, %%gs" : : "r"(machine->gs));

	/* XSETBV needs CR4.OSXSAVE (SDM 2D, XSETBV), which the probe may have cleared. */
	if (machine->cr4 & CR4_OSXSAVE) {
		if (!(x86_read_cr4() & CR4_OSXSAVE))
			probe_try_cr4(machine->cr4);
		if (x86_read_cr4() & CR4_OSXSAVE && x86_read_xcr0() != machine->xcr0 &&
		    probe_try_xsetbv(machine->xcr0))
			outcome->left |= LEFT_XCR0;
	}
	/* Before CR4, because CR4.PCIDE can be set only while CR3[11:0] is 0 (SDM 3A 4.10.1). */
	if (x86_read_cr3() != machine->cr3 && probe_try_cr3(machine->cr3))
		outcome->left |= LEFT_CR3;
	/* Twice, because CR4.CET can be set only while CR0.WP is, and CR0.WP cleared only while CR4.CET is not. */
	for (int i = 0; i < 2; i++) {
		if (x86_read_cr4() != machine->cr4)
			probe_try_cr4(machine->cr4);
		if (x86_read_cr0() != machine->cr0)
			probe_try_cr0(machine->cr0);
	}
	if (x86_read_cr4() != machine->cr4)
		outcome->left |= LEFT_CR4;
	if (x86_read_cr0() != machine->cr0)
		outcome->left |= LEFT_CR0;
	if (x86_read_cr8() != machine->cr8)
		probe_try_cr8(machine->cr8);
	if (machine->watch_efer &&
	    (probe_try_rdmsr(MSR_EFER, &efer) ||
	     (efer != machine->efer && probe_try_wrmsr(MSR_EFER, machine->efer))))
		outcome->left |= LEFT_EFER;
	if (x86_read_cr2() != machine->cr2)
		asm volatile("mov %0, %%cr2" : : "r"(machine->cr2));
}

static uint64_t *find_left(struct probe_left *left, uint32_t number)
{
	for (uint32_t i = 0; i < left->msr_count; i++)
		if (left->msr[i].number == number)
			return &left->msr[i].value;
	return NULL;
}

bool saved_state_keep(struct probe_context *context, const struct probe_request *request,
		      const struct probe_machine *machine, struct probe_outcome *outcome)
{
	struct probe_left *left = &context->left;

	if (!left->valid) {
		left->machine = *machine;
		left->msr_count = 0;
		left->valid = true;
	}
	for (uint32_t i = 0; i < request->msr_count; i++) {
		uint32_t number = request->msr[i].number;

		if (find_left(left, number))
			continue;
		if (left->msr_count == PROBE_LEFT_MSR_MAX)
			return refuse(outcome, "leave=: more than 32 MSRs since the last undo");
		left->msr[left->msr_count].number = number;
		left->msr[left->msr_count++].value = machine->msr[i];
	}
	return true;
}

void saved_state_undo(struct probe_context *context, struct probe_outcome *outcome)
{
	struct probe_left *left = &context->left;
	const struct probe_machine *machine = &left->machine;

	if (!left->valid)
		return;
	saved_state_restore_idtr(machine);
	saved_state_restore(machine, outcome);
	for (uint32_t i = 0; i < left->msr_count; i++) {
		uint64_t value;

		if (probe_try_rdmsr(left->msr[i].number, &value) ||
		    (value != left->msr[i].value &&
		     probe_try_wrmsr(left->msr[i].number, left->msr[i].value)))
			outcome->left |= LEFT_MSR;
	}
	left->valid = false;
}
