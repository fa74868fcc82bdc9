/* SPDX-License-Identifier: MIT */
#include "probe_data.h"

#include "descriptors.h"

#define VECTOR_BP 3
#define INT3 0xcc

/* Addresses outside of 64-bit code have 32 bits (SDM 3A 3.3.1). */
static uint64_t truncate(const struct probe_request *request, uint64_t address)
{
	return request->code_bits == 64 ? address : (uint32_t)address;
}

uint64_t probe_resolve(const struct probe_context *context, const struct probe_request *request,
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
	uint64_t address = probe_resolve(context, request, value);

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

void probe_fill_slot(struct probe_context *context, const struct probe_request *request)
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

bool probe_needs_place(const struct probe_request *request)
{
	const struct probe_place *place = &request->place;

	return place->mode != PROBE_LONG || place->has_linear || place->has_base ||
	       place->page_count || request->code_bits == 16;
}

void probe_fill_registers(struct probe_context *context, const struct probe_request *request)
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
			value = probe_resolve(context, request, &request->gpr[i]);
		/* Outside of long mode there are eight registers of 32 bits. */
		if (request->place.mode != PROBE_LONG)
			value = i < 8 ? (uint32_t)value : 0;
		context->gpr[i] = value;
	}
	context->rip = context->start;
	context->rflags = request->rflags | 2;
	context->ss = user ? PROBE_USER_DS : PROBE_KERNEL_DS;
	context->data_selector = context->ss;
	if (probe_needs_place(request))
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

void probe_report(const struct probe_context *context, const struct probe_request *request,
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
	/* INT3 is a trap: the saved RIP is behind it (SDM 3A 6.5). */
	if (outcome->vector == VECTOR_BP && placed && end->rip == truncate(request, stop + 1)) {
		outcome->done = true;
		outcome->rip = stop;
	}
	outcome->placed = probe_needs_place(request);
	outcome->start = context->start;
	outcome->slot = context->slot[request->cpl == 3];
	__builtin_memcpy(outcome->read, context->scratch + request->read_offset,
			 request->read_size);
}
