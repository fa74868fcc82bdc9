// SPDX-License-Identifier: MIT
#include <linux/kernel.h>

#include "request.h"

/* A byte from user space may have any value, and reading it as a bool would be undefined behaviour. */
static bool is_bool(const bool *field)
{
	return *(const volatile u8 *)field <= 1;
}

static bool fits(u64 offset, u64 size, u64 limit)
{
	return offset <= limit && size <= limit - offset;
}

static bool values_valid(const struct probe_value *values, unsigned int count)
{
	unsigned int i;

	for (i = 0; i < count; i++)
		if (values[i].base > PROBE_STACK)
			return false;
	return true;
}

/* Probes of Linux have no other modes and places: probe_run() says so. But the request must be well-formed. */
static bool place_valid(const struct probe_place *place)
{
	u32 i;

	if (place->mode > PROBE_VIRTUAL_8086 || !is_bool(&place->has_linear) ||
	    !is_bool(&place->has_base))
		return false;
	if (place->page_count > PROBE_PAGE_MAX)
		return false;
	for (i = 0; i < place->page_count; i++)
		if (!is_bool(&place->page[i].aliased) ||
		    !values_valid(&place->page[i].address, 1) ||
		    !values_valid(&place->page[i].alias, 1))
			return false;
	return true;
}

bool request_valid(const struct probe_request *request)
{
	u32 i;

	if (request->cpl != 0 && request->cpl != 3)
		return false;
	if (request->code_bits != 16 && request->code_bits != 32 && request->code_bits != 64)
		return false;
	if (!place_valid(&request->place))
		return false;
	if (!is_bool(&request->once) || !is_bool(&request->seeded) || !is_bool(&request->leave) ||
	    !is_bool(&request->undo))
		return false;
	if (request->rflags & ~PROBE_RFLAGS_ALLOWED)
		return false;
	if (!values_valid(request->gpr, ARRAY_SIZE(request->gpr)) ||
	    !values_valid(request->dr, ARRAY_SIZE(request->dr)))
		return false;
	if (request->dr_given & (1 << 4 | 1 << 5))
		return false;
	if (request->msr_count > PROBE_MSR_MAX)
		return false;
	for (i = 0; i < request->msr_count; i++)
		if (request->msr[i].start > PROBE_MSR_BITS ||
		    !values_valid(&request->msr[i].value, 1))
			return false;
	if (request->handler_count > PROBE_HANDLER_MAX)
		return false;
	for (i = 0; i < request->handler_count; i++)
		if (request->handler[i].offset >= request->code_size ||
		    request->handler[i].kind > PROBE_HANDLER_NOT_PRESENT)
			return false;
	if (!request->code_size || request->code_size > PROBE_CODE_MAX ||
	    !fits(request->at, request->code_size, SLOT_CODE_SIZE))
		return false;
	if (request->memory_count > PROBE_MEM_MAX)
		return false;
	for (i = 0; i < request->memory_count; i++)
		if (!fits(request->memory[i].offset, request->memory[i].size, SLOT_SCRATCH_SIZE) ||
		    !fits(request->memory[i].data, request->memory[i].size, PROBE_DATA_MAX))
			return false;
	return request->read_size <= PROBE_READ_MAX &&
	       fits(request->read_offset, request->read_size, SLOT_SCRATCH_SIZE);
}
