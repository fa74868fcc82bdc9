/* SPDX-License-Identifier: MIT */
/* What exceptions and interrupts mean while a probe runs, and while its state is set up and restored. */
#include "traps.h"

#include "debug_registers.h"
#include "descriptors.h"
#include "x86.h"

#define VECTOR_PF 14
/* Type, DPL and P of a gate (SDM 3A 6.14.1). */
#define GATE_ATTRIBUTES 0xff0000000000ull
#define GATE_TYPE 0xf0000000000ull
#define GATE_PRESENT 0x800000000000ull
#define DR6_BREAKPOINTS 0xfull
#define DR6_BD (1ull << 13)
#define DR6_BS (1ull << 14)
/* No bit of a cause is set (SDM 3A 9.1.1). */
#define DR6_RESET 0xffff0ff0ull
#define RFLAGS_RF (1ull << 16)

static uint32_t expectations(const struct probe_request *request)
{
	uint32_t expects = 0;

	for (uint32_t i = 0; i < request->handler_count; i++) {
		if (request->handler[i].vector >= PROBE_VECTOR_INTERRUPT)
			expects |= PROBE_EXPECTS_INTERRUPTS;
		else if (request->handler[i].vector == PROBE_VECTOR_NMI)
			expects |= PROBE_EXPECTS_NMIS;
	}
	return expects;
}

void traps_begin(struct probe_context *context, const struct probe_request *request)
{
	context->event_count = 0;
	__builtin_memset(context->returning, 0, sizeof(context->returning));
	for (uint32_t i = 0; i < request->handler_count; i++) {
		uint8_t vector = request->handler[i].vector;

		if (request->handler[i].kind == PROBE_HANDLER_RETURN)
			context->returning[vector / 32] |= 1u << vector % 32;
	}
	context->expects = expectations(request);
	if (context->expects)
		context->apic->begin();
}

/*
 * A handler in the probe's code: at CPL 0, so in the supervisor's mapping of it, and on the stack that an
 * interrupt gate without IST gets (SDM 3A 6.14.5).
 */
static void lead_to_code(uint64_t *gate, uint64_t entry)
{
	gate[0] = (gate[0] & GATE_ATTRIBUTES) | (entry & 0xffff) | (uint64_t)PROBE_KERNEL_CS << 16 |
		  (entry >> 16 & 0xffff) << 48;
	gate[1] = entry >> 32;
}

void traps_load_handlers(struct probe_context *context, const struct probe_request *request)
{
	struct x86_table idtr = x86_sidt();

	if (!request->handler_count)
		return;
	__builtin_memcpy(context->idt, (const void *)idtr.base, sizeof(idt_gate[IDT_VECTORS]));
	idtr.base = (uint64_t)context->idt;
	for (uint32_t i = 0; i < request->handler_count; i++) {
		const struct probe_handler *handler = &request->handler[i];
		uint64_t *gate = context->idt[handler->vector];

		switch (handler->kind) {
		case PROBE_HANDLER_CODE:
			lead_to_code(gate,
				     context->slot[0] + SLOT_CODE + request->at + handler->offset);
			break;
		case PROBE_HANDLER_NO_GATE:
			gate[0] &= ~GATE_TYPE;
			break;
		case PROBE_HANDLER_NOT_PRESENT:
			gate[0] &= ~GATE_PRESENT;
			break;
		default:
			break;
		}
	}
	x86_lidt(idtr);
}

/*
 * The probe may have ended in an NMI handler, or with interrupts pending that it never let in: the next probe
 * must not get them.
 */
void traps_end(struct probe_context *context)
{
	if (!context->expects)
		return;
	context->apic->end();
	context->draining = true;
	probe_unblock_nmis();
	if (context->expects & PROBE_EXPECTS_INTERRUPTS)
		asm volatile("mov %0, %%cr8; sti; nop; nop; cli" : : "r"(0ul) : "memory");
	context->draining = false;
	context->expects = 0;
}

void traps_report(const struct probe_context *context, struct probe_outcome *outcome)
{
	uint32_t count = context->event_count;

	outcome->event_count = count;
	if (count > PROBE_EVENT_MAX)
		count = PROBE_EVENT_MAX;
	__builtin_memcpy(outcome->event, context->event, count * sizeof(*context->event));
}

/* For #DB: DR6, which is set back; and RF, without which an instruction breakpoint would hit again at once. */
static uint64_t take_debug_exception(struct probe_frame *frame)
{
	uint64_t dr6 = read_dr(6);

	if (dr6 & DR6_BREAKPOINTS && !(dr6 & DR6_BS))
		frame->rflags |= RFLAGS_RF;
	try_dr(6, DR6_RESET);
	return dr6;
}

/* Note an event of the probe. False: the agent does not handle this vector. */
static bool note(struct probe_context *context, struct probe_frame *frame)
{
	uint8_t vector = frame->vector & 0xff;
	uint64_t dr6;

	if (!(context->returning[vector / 32] >> vector % 32 & 1))
		return false;
	dr6 = vector == PROBE_VECTOR_DB ? take_debug_exception(frame) : 0;
	if (context->event_count < PROBE_EVENT_MAX)
		context->event[context->event_count] =
			(struct probe_event){ .vector = vector, .rip = frame->rip, .dr6 = dr6 };
	context->event_count++;
	if (vector >= PROBE_VECTOR_INTERRUPT)
		context->apic->end_of_interrupt(vector);
	return true;
}

struct probe_tables probe_read_tables(void)
{
	struct probe_tables tables = { .idtr = x86_sidt(), .gdtr = x86_sgdt() };

	asm volatile("sldt %0" : "=r"(tables.ldtr));
	asm volatile("str %0" : "=r"(tables.tr));
	return tables;
}

void probe_ended(struct probe_context *context)
{
	unsigned int vector = context->end.vector & 0xff;

	context->active = 0;
	context->cr2 = vector == VECTOR_PF ? x86_read_cr2() : 0;
	/* Only for #DB, which clears DR7.GD: with GD set, reading DR6 would raise #DB. */
	context->dr6 = vector == PROBE_VECTOR_DB ? read_dr(6) : 0;
	if (context->report_tables)
		context->tables = probe_read_tables();
}

static bool inside(uint64_t address, const char *start, const char *end)
{
	return address >= (uint64_t)start && address < (uint64_t)end;
}

/* What an exception on a CPU means to its probe. */
enum probe_trap {
	PROBE_TRAP_FOREIGN, /* nothing: it is not the agent's */
	PROBE_TRAP_RESUME,  /* return to the (changed) frame */
	PROBE_TRAP_END	    /* the probe is over */
};

static enum probe_trap classify(struct probe_context *context, struct probe_frame *frame)
{
	unsigned int vector = frame->vector & 0xff;

	if (vector == PROBE_VECTOR_NMI) {
		if (context->active) {
			context->nmis++;
			note(context, frame);
		}
		return PROBE_TRAP_RESUME;
	}
	if (context->active) {
		if (note(context, frame))
			return PROBE_TRAP_RESUME;
		context->entry_fault =
			inside(frame->rip, probe_enter_start, probe_enter_end) ||
			(context->places && inside(frame->rip, context->places->enter_start,
						   context->places->enter_end));
		context->end = *frame;
		probe_ended(context);
		return PROBE_TRAP_END;
	}
	if (context->draining && vector >= PROBE_VECTOR_INTERRUPT) {
		context->apic->end_of_interrupt((uint8_t)vector);
		return PROBE_TRAP_RESUME;
	}
	/*
	 * probe.c accessed a debug register while DR7.GD was still set by the probe. This #DB has
	 * cleared GD (SDM 3B 17.2.3), so that the access can be executed again.
	 */
	if (vector == PROBE_VECTOR_DB && read_dr(6) & DR6_BD) {
		context->general_detect = true;
		try_dr(6, read_dr(6) & ~DR6_BD);
		return PROBE_TRAP_RESUME;
	}
	for (const struct probe_fixup *fixup = probe_fixups; fixup < probe_fixups_end; fixup++) {
		if (frame->rip == fixup->instruction) {
			frame->rip = fixup->target;
			return PROBE_TRAP_RESUME;
		}
	}
	return PROBE_TRAP_FOREIGN;
}

struct probe_context *probe_dispatch(struct probe_frame *frame)
{
	struct probe_context *context = platform_interrupt(frame);

	if (!context)
		return NULL;
	switch (classify(context, frame)) {
	case PROBE_TRAP_RESUME:
		return NULL;
	case PROBE_TRAP_END:
		return context;
	default:
		platform_unexpected(frame);
		return NULL;
	}
}
