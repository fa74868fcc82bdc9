/* SPDX-License-Identifier: MIT */
#include "probe.h"

#include "debug_registers.h"
#include "descriptors.h"
#include "limits.h"
#include "probe_data.h"
#include "refuse.h"
#include "saved_state.h"
#include "traps.h"
#include "x86.h"

#define EFER_LME (1ull << 8)
/* Bits that no manual defines: 15, 26, 29 to 31, 33 to 63 (SDM 3A 2.5, APM2 3.1.3). */
#define CR4_RESERVED 0xfffffffee4008000ull
#define DR7_GD (1ull << 13)
#define PAGE_BITS 12
#define RFLAGS_DF (1ull << 10)

_Static_assert(__builtin_offsetof(struct probe_context, rip) == CONTEXT_RIP, "probe_entry.S");
_Static_assert(__builtin_offsetof(struct probe_context, cs) == CONTEXT_CS, "probe_entry.S");
_Static_assert(__builtin_offsetof(struct probe_context, rflags) == CONTEXT_RFLAGS, "probe_entry.S");
_Static_assert(__builtin_offsetof(struct probe_context, ss) == CONTEXT_SS, "probe_entry.S");
_Static_assert(__builtin_offsetof(struct probe_context, data_selector) == CONTEXT_DATA,
	       "probe_entry.S");
_Static_assert(__builtin_offsetof(struct probe_context, resume_rsp) == CONTEXT_RESUME,
	       "probe_entry.S");
_Static_assert(__builtin_offsetof(struct probe_context, dr7) == CONTEXT_DR7, "probe_entry.S");
_Static_assert(__builtin_offsetof(struct probe_context, set_dr7) == CONTEXT_SET_DR7,
	       "probe_entry.S");
_Static_assert(__builtin_offsetof(struct probe_context, active) == CONTEXT_ACTIVE, "probe_entry.S");

static bool change(const struct probe_bits *bits, uint64_t *value)
{
	uint64_t old = *value;

	*value = (old | bits->set) & ~bits->clear;
	return *value != old;
}

static bool set_up(struct probe_context *context, const struct probe_request *request,
		   const struct probe_machine *machine, struct probe_outcome *outcome)
{
	uint64_t efer = machine->efer, cr4 = machine->cr4, cr0 = machine->cr0;
	const char *forbidden;

	/*
	 * These raise #GP in long mode (SDM 3A 2.5, 4.1.1; APM2 14.6). Refuse them without trying: QEMU's TCG
	 * carries them out, or hangs.
	 */
	if ((request->cr0.clear & (CR0_PE | CR0_PG)) || (request->cr4.clear & CR4_PAE) ||
	    (request->efer.clear & EFER_LME) || (request->cr4.set & CR4_RESERVED))
		return refuse(outcome,
			      "cr0, cr4 or efer: a bit that long mode needs, or a reserved one");
	change(&request->efer, &efer);
	change(&request->cr4, &cr4);
	forbidden = limits_forbid(efer, machine->efer, cr4, machine->cr4);
	if (forbidden)
		return refuse(outcome, forbidden);
	if (efer != machine->efer && probe_try_wrmsr(MSR_EFER, efer))
		return refuse_value(outcome, "efer=", efer, " faults");
	if (cr4 != machine->cr4 && probe_try_cr4(cr4))
		return refuse_value(outcome, "cr4=", cr4, " faults");
	if (change(&request->cr0, &cr0) && probe_try_cr0(cr0))
		return refuse_value(outcome, "cr0=", cr0, " faults");
	for (unsigned int i = 0; i < 7; i++) {
		if (!(request->dr_given & 1u << i))
			continue;

		uint64_t value = probe_linear(context, request, &request->dr[i]);

		if (try_dr(i, value))
			return refuse_value(outcome, i == 6 ? "dr6=" : "dr0-dr3=", value,
					    " faults");
	}
	if (request->leave && !context->owns_cpu)
		return refuse(outcome, "leave=: this OS needs its CPUs as it has left them");
	for (uint32_t i = 0; i < request->handler_count; i++) {
		uint8_t vector = request->handler[i].vector;

		if (!context->owns_cpu &&
		    (vector == PROBE_VECTOR_NMI || vector >= PROBE_VECTOR_INTERRUPT))
			return refuse_value(outcome, "handle=", vector,
					    ": the OS needs its NMIs and interrupts");
	}
	if (context->cr3 && probe_try_cr3(context->cr3))
		return refuse_value(outcome, "page tables at ", context->cr3,
				    ": MOV to CR3 faults");
	context->set_dr7 = request->dr_given >> 7 & 1;
	context->dr7 = probe_resolve(context, request, &request->dr[7]);
	if (context->set_dr7 && context->dr7 >> 32)
		return refuse_value(outcome, "dr7=", context->dr7, " faults");
	return true;
}

/* The last part of the set-up, immediately before the probe, so that little of the agent runs with them. */
static bool set_msrs(const struct probe_context *context, const struct probe_request *request,
		     const struct probe_machine *machine, struct probe_outcome *outcome)
{
	for (uint32_t i = 0; i < request->msr_count; i++) {
		const struct probe_msr *msr = &request->msr[i];
		uint64_t value = probe_resolve(context, request, &msr->value);

		if (msr->start == PROBE_MSR_KEEP)
			continue;
		if (msr->start == PROBE_MSR_BITS)
			value = (machine->msr[i] | msr->value.number) & ~msr->clear;
		if (probe_try_wrmsr(msr->number, value))
			return refuse_value(outcome, "msr=", msr->number, ": WRMSR faults");
	}
	return true;
}

/* If DR7.GD is set, this access raises #DB, and traps.c has it executed again. */
static void read_dr7_of_probe(const struct probe_context *context, struct probe_outcome *outcome)
{
	outcome->dr7 = read_dr(7);
	if (context->general_detect)
		outcome->dr7 |= DR7_GD;
}

const uint8_t probe_call_gpr[CALL_GPRS] = { 3, 5, 12, 13, 14, 15 };

/* The registers with which functions of a subject will be called, until the state is undone. */
static void keep_registers(struct probe_context *context)
{
	const struct probe_frame *end = &context->end;
	struct probe_call *call = &context->left.ended;

	/* DF must be clear in a call, and interrupts off (platform.h). */
	call->rflags = (end->rflags & CALL_RFLAGS & ~(RFLAGS_DF | PROBE_RFLAGS_IF)) | 2;
	for (unsigned int i = 0; i < CALL_GPRS; i++)
		call->gpr[i] = end->gpr[probe_call_gpr[i]];
	/* The OS' own: a body loads it anew at its start, and the OS behind its end. */
	call->ss = x86_read_ss();
	context->left.returned = *call;
}

/* Where the probe runs; false if this machine cannot run it there. */
static bool find_place(struct probe_context *context, const struct probe_request *request,
		       struct probe_outcome *outcome)
{
	const char *why = "this OS has no other modes and places for probes";

	context->start = context->slot[request->cpl == 3] + SLOT_CODE + request->at;
	context->code_base = 0;
	context->data_base = 0;
	context->cr3 = 0;
	if (!probe_needs_place(request))
		return true;
	if (context->places)
		why = context->places->prepare(context, request);
	return !why || refuse(outcome, why);
}

/* The page tables of a place are the probe's alone: the next one builds others in the same memory. */
static void leave_place(const struct probe_context *context, const struct probe_machine *machine,
			struct probe_outcome *outcome)
{
	uint64_t cr3 = x86_read_cr3();

	if (context->cr3 && (cr3 ^ context->cr3) >> PAGE_BITS == 0 && probe_try_cr3(machine->cr3))
		outcome->left |= LEFT_CR3;
}

void probe_run(struct probe_context *context, const struct probe_request *request,
	       struct probe_outcome *outcome, void (*meet)(void *), void *arg)
{
	struct probe_machine machine = { 0 };
	bool placed, saved, ready;

	__builtin_memset(outcome, 0, __builtin_offsetof(struct probe_outcome, read));
	placed = find_place(context, request, outcome);
	probe_fill_slot(context, request);
	probe_fill_registers(context, request);
	context->entry_fault = false;
	context->general_detect = false;
	context->nmis = 0;
	context->cr2 = 0;
	context->dr6 = 0;
	if (request->undo)
		saved_state_undo(context, outcome);
	outcome->called = context->left.valid;
	outcome->call_ended = context->left.ended;
	outcome->call_returned = context->left.returned;
	context->report_tables = request->tables;
	saved = placed && saved_state_take(request, &machine, outcome);
	ready = saved && set_up(context, request, &machine, outcome);
	if (meet)
		meet(arg);
	if (ready)
		traps_begin(context, request);
	if (ready && request->leave)
		ready = saved_state_keep(context, request, &machine, outcome);
	ready = ready && set_msrs(context, request, &machine, outcome);
	if (ready && request->place.mode != PROBE_LONG) {
		context->places->enter(context);
	} else if (ready) {
		traps_load_handlers(context, request);
		if (request->tables)
			outcome->tables_start = probe_read_tables();
		probe_enter(context);
	}
	/* First of all, because the agent may raise exceptions while it restores the rest. */
	if (saved && (!request->leave || request->handler_count))
		saved_state_restore_idtr(&machine);
	if (saved)
		traps_end(context);
	read_dr7_of_probe(context, outcome);
	if (ready && request->leave && !context->entry_fault) {
		keep_registers(context);
		leave_place(context, &machine, outcome);
		saved_state_read_msrs(request, outcome);
	} else if (saved) {
		saved_state_restore(&machine, outcome);
		saved_state_restore_msrs(request, &machine, outcome);
	}
	if (ready && context->entry_fault) {
		refuse_value(outcome, "entering the probe raises vector ",
			     context->end.vector & 0xff, "");
	} else if (ready) {
		probe_report(context, request, outcome);
		traps_report(context, outcome);
	}
	if (context->places && probe_needs_place(request))
		context->places->finish(context);
}

void probe_set_slot(struct probe_context *context, uint8_t *pages, unsigned int index)
{
	context->code = pages;
	context->scratch = context->code + SLOT_CODE_SIZE;
	context->stack = context->scratch + SLOT_SCRATCH_SIZE;
	context->idt = (uint64_t(*)[2])(context->stack + SLOT_STACK_SIZE);
	context->slot[0] = SLOT_SUPERVISOR_BASE + index * SLOT_STRIDE;
	context->slot[1] = SLOT_USER_BASE + index * SLOT_STRIDE;
	context->dirty_from = 0;
	context->dirty_to = SLOT_CODE_SIZE;
}
