/* SPDX-License-Identifier: MIT */
#include "modes_obstacles.h"

#include "../agent/probe.h"
#include "modes.h"
#include "page_tables.h"
#include "x86.h"

#define CR4_LA57 (1ull << 12)
#define CR4_PCIDE (1ull << 17)

bool modes_has_8086_segments(const struct probe_request *request)
{
	return request->place.mode == PROBE_REAL || request->place.mode == PROBE_VIRTUAL_8086;
}

bool modes_is_user(const struct probe_request *request)
{
	return request->cpl == 3 || request->place.mode == PROBE_VIRTUAL_8086;
}

bool modes_has_paging(uint32_t mode)
{
	return mode != PROBE_NO_PAGING && mode != PROBE_REAL;
}

const char *modes_find_obstacle(const struct probe_request *request, const struct cpu *cpu)
{
	const struct probe_place *place = &request->place;
	uint64_t cr4 = (x86_read_cr4() | request->cr4.set) & ~request->cr4.clear;

	if (place->has_base && request->code_bits == 64)
		return "base: 64-bit code has no base of its segment";
	if (place->has_linear && (place->linear & (PAGE_BYTES - 1)) != request->at)
		return "linear and at: not the same offset in a page";
	if (cr4 & CR4_LA57)
		return "modes and places: not with 5-level paging";
	if (place->mode == PROBE_LONG)
		return NULL;
	if (cpu->index >= MODES_CPUS)
		return "mode: only the first 16 CPUs have memory below 1 MiB for it";
	if (request->cpl && modes_has_8086_segments(request))
		return "mode: no cpl in real and virtual-8086 mode";
	if (modes_is_user(request) && request->handler_count)
		return "mode: no handlers at CPL 3 outside of long mode";
	if (request->code_bits == 64)
		return "mode: 64-bit code exists in long mode only";
	/* An exception in the same privilege level has no other stack. */
	if (!modes_is_user(request) && request->gpr_given & 1u << GPR_RSP &&
	    request->gpr[GPR_RSP].base != PROBE_STACK)
		return "mode: rsp must be an address of the stack";
	for (uint32_t i = 0; i < request->handler_count; i++)
		if (request->handler[i].kind != PROBE_HANDLER_CODE ||
		    request->handler[i].vector == PROBE_VECTOR_NMI ||
		    request->handler[i].vector >= PROBE_VECTOR_INTERRUPT)
			return "mode: handlers of exceptions in the probe's code only";
	if (cr4 & CR4_PCIDE)
		return "mode: CR4.PCIDE exists in long mode only";
	if (modes_has_8086_segments(request) && (request->code_bits != 16 || place->has_base))
		return "mode: code in real and virtual-8086 mode has 16 bits, and the base of its slot";
	if (place->mode == PROBE_VIRTUAL_8086 && place->has_linear)
		return "linear: not in virtual-8086 mode";
	if (!modes_has_paging(place->mode) && (place->has_linear || place->page_count))
		return "mode: linear and page need paging";
	return NULL;
}
