/* SPDX-License-Identifier: MIT */
#include "probe.h"

#include "debug_registers.h"
#include "descriptors.h"
#include "limits.h"
#include "refuse.h"
#include "saved_state.h"
#include "traps.h"
#include "x86.h"

#define EFER_LME (1ull << 8)
/* Bits that no manual defines: 15, 26, 29 to 31, 33 to 63 (SDM 3A 2.5, APM2 3.1.3). */
#define CR4_RESERVED 0xfffffffee4008000ull
#define VECTOR_BP 3
#define INT3 0xcc
#define DR7_GD (1ull << 13)
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

/* Addresses outside of 64-bit code have 32 bits (SDM 3A 3.3.1). */
static uint64_t truncate(const struct probe_request *request, uint64_t address)
{
	return request->code_bits == 64 ? address : (uint32_t)address;
}

/* A value as code of the probe uses it: an address is an offset in its segment. */
static uint64_t resolve(const struct probe_context *context, const struct probe_request *request,
			const struct probe_value *value)
{
	uint64_t slot = context->slot[request->cpl == 3];

	switch (value->base) {
	case PROBE_SCRATCH:
		return slot + SLOT_SCRATCH + value->number;
	case PROBE_CODE:
		return truncate(request, context->start + value->number);
	case PROBE_STACK:
		return slot + SLOT_STACK_END + value->number;
	default:
		return value->number;
	}
}

uint64_t probe_linear(const struct probe_context *context, const struct probe_request *request,
		      const struct probe_value *value)
{
	uint64_t address = resolve(context, request, value);

	switch (value->base) {
	case PROBE_NUMBER:
		return address;
	case PROBE_CODE:
		return truncate(request, address + context->code_base);
	default:
		return address + context->data_base;
	}
}

static uint64_t splitmix64(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static void fill_slot(struct probe_context *context, const struct probe_request *request)
{
	uint32_t end = request->at + request->code_size;

	__builtin_memset(context->code + context->dirty_from, INT3,
			 context->dirty_to - context->dirty_from);
	__builtin_memcpy(context->code + request->at, request->code, request->code_size);
	if (end < SLOT_CODE_SIZE)
		context->code[end++] = INT3;
	context->dirty_from = request->at;
	context->dirty_to = end;

	/* What a sequence of probes has put there belongs to its state: an IDT, for example. */
	if (!(request->leave && context->left.valid))
		__builtin_memset(context->scratch, 0, SLOT_SCRATCH_SIZE);
	__builtin_memset(context->stack, 0, SLOT_STACK_SIZE);
	for (uint32_t i = 0; i < request->memory_count; i++) {
		const struct probe_memory *memory = &request->memory[i];

		__builtin_memcpy(context->scratch + memory->offset, request->data + memory->data,
				 memory->size);
	}
}

/* Whether the probe runs elsewhere than at its offset in the code area, or in another mode than long mode. */
static bool needs_place(const struct probe_request *request)
{
	const struct probe_place *place = &request->place;

	return place->mode != PROBE_LONG || place->has_linear || place->has_base ||
	       place->page_count || request->code_bits == 16;
}

static void fill_registers(struct probe_context *context, const struct probe_request *request)
{
	bool user = request->cpl == 3;
	uint64_t seed = request->seed, slot = context->slot[user];

	for (unsigned int i = 0; i < 16; i++) {
		uint64_t value = 0;

		if (i == GPR_RSP)
			value = slot + SLOT_STACK_END - SLOT_STACK_GAP;
		else if (request->seeded)
			value = splitmix64(&seed);
		if (request->gpr_given & 1u << i)
			value = resolve(context, request, &request->gpr[i]);
		/* Outside of long mode there are eight registers of 32 bits. */
		if (request->place.mode != PROBE_LONG)
			value = i < 8 ? (uint32_t)value : 0;
		context->gpr[i] = value;
	}
	context->rip = context->start;
	context->rflags = request->rflags | 2;
	context->ss = user ? PROBE_USER_DS : PROBE_KERNEL_DS;
	context->data_selector = context->ss;
	if (needs_place(request))
		return;
#ifndef __KERNEL__
	/* 64-bit code of CPL 0 finds DS, ES and SS as the OS has them: loading them anew would hide what became of them. */
	if (!user && request->code_bits != 32)
		context->data_selector = 0;
#endif
	if (request->code_bits == 32)
		context->cs = user ? PROBE_USER_CS32 : PROBE_KERNEL_CS32;
	else
		context->cs = user ? PROBE_USER_CS : PROBE_KERNEL_CS;
}

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
	context->dr7 = resolve(context, request, &request->dr[7]);
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
		uint64_t value = resolve(context, request, &msr->value);

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

static void report(const struct probe_context *context, const struct probe_request *request,
		   struct probe_outcome *outcome)
{
	const struct probe_frame *end = &context->end;
	uint64_t stop = truncate(request, context->rip + request->code_size);
	bool placed = request->at + request->code_size < SLOT_CODE_SIZE;

	__builtin_memcpy(outcome->given, context->gpr, sizeof(outcome->given));
	__builtin_memcpy(outcome->gpr, end->gpr, sizeof(outcome->gpr));
	outcome->gpr[GPR_RSP] = end->rsp;
	outcome->rip = end->rip;
	outcome->rflags = end->rflags;
	outcome->vector = end->vector & 0xff;
	outcome->has_error = end->vector & PROBE_STUB_HAS_ERROR;
	outcome->error = end->error;
	outcome->cr2 = context->cr2;
	outcome->dr6 = context->dr6;
	outcome->dr7_changed = outcome->dr7 != (context->set_dr7 ? context->dr7 : DR7_RESET);
	outcome->nmis = context->nmis;
	outcome->tables_end = context->tables;
	traps_report(context, outcome);
	/* INT3 is a trap: the saved RIP is behind it (SDM 3A 6.5). */
	if (outcome->vector == VECTOR_BP && placed && end->rip == truncate(request, stop + 1)) {
		outcome->done = true;
		outcome->rip = stop;
	}
	outcome->placed = needs_place(request);
	outcome->start = context->start;
	outcome->slot = context->slot[request->cpl == 3];
	__builtin_memcpy(outcome->read, context->scratch + request->read_offset,
			 request->read_size);
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
	if (!needs_place(request))
		return true;
	if (context->places)
		why = context->places->prepare(context, request);
	return !why || refuse(outcome, why);
}

void probe_run(struct probe_context *context, const struct probe_request *request,
	       struct probe_outcome *outcome, void (*meet)(void *), void *arg)
{
	struct probe_machine machine = { 0 };
	bool placed, saved, ready;

	__builtin_memset(outcome, 0, __builtin_offsetof(struct probe_outcome, read));
	placed = find_place(context, request, outcome);
	fill_slot(context, request);
	fill_registers(context, request);
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
		saved_state_read_msrs(request, outcome);
	} else if (saved) {
		saved_state_restore(&machine, outcome);
		saved_state_restore_msrs(request, &machine, outcome);
	}
	if (ready && context->entry_fault)
		refuse_value(outcome, "entering the probe raises vector ",
			     context->end.vector & 0xff, "");
	else if (ready)
		report(context, request, outcome);
	if (context->places && needs_place(request))
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
