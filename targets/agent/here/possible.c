/* SPDX-License-Identifier: MIT */
#include "possible.h"

#include "../refuse.h"

/* CF PF AF ZF SF DF OF. Linux gives a program the others: IF set, IOPL 0, TF its debugger's. */
#define RFLAGS_POSSIBLE 0xcd5ull
#define RFLAGS_FIXED 0x2ull
#define VECTOR_DB 1
#define VECTOR_PF 14
#define INT 0xcd
#define LINUX_SYSTEM_CALL 0x80

/* With the opcodes 0f 00 and 0f 01, the ModRM byte tells the instruction (SDM 2D, table A-6). */
static bool reads_tables(uint8_t second, uint8_t modrm)
{
	unsigned int extension = modrm >> 3 & 7;
	bool memory = modrm >> 6 != 3;

	if (second == 0x00)
		return extension <= 1; /* SLDT, STR */
	return second == 0x01 &&
	       ((memory && extension <= 1) || extension == 4); /* SGDT, SIDT, SMSW */
}

/* What the kernel answers in the processor's place, or may: the bytes count wherever they are in the code. */
static const char *answered_by_linux(const uint8_t *code, uint32_t size)
{
	for (uint32_t i = 0; i + 1 < size; i++) {
		if (code[i] == 0x0f && (code[i + 1] == 0x05 || code[i + 1] == 0x34))
			return "SYSCALL and SYSENTER lead into this machine's kernel";
		if (code[i] == INT && code[i + 1] == LINUX_SYSTEM_CALL)
			return "INT 0x80 leads into this machine's kernel";
		if (code[i] == 0x0f && i + 2 < size && reads_tables(code[i + 1], code[i + 2]))
			return "SGDT, SIDT, SLDT, STR and SMSW may be emulated by Linux (UMIP)";
	}
	return NULL;
}

bool possible_to_run(const struct probe_request *request, struct probe_outcome *outcome)
{
	const struct probe_place *place = &request->place;
	const char *why;

	if (request->cpl != 3)
		return refuse(outcome, "CPL 0: the agent is an ordinary program here");
	if (place->mode != PROBE_LONG || place->has_linear || place->has_base ||
	    place->page_count || request->code_bits == 16)
		return refuse(outcome, "an ordinary program has no other modes and places");
	if (request->leave || request->undo || request->dr_given || request->msr_count ||
	    request->handler_count || request->tables || request->cr0.set || request->cr0.clear ||
	    request->cr4.set || request->cr4.clear || request->efer.set || request->efer.clear)
		return refuse(outcome,
			      "state of the CPU that an ordinary program cannot set or read");
	if (request->rflags & ~(RFLAGS_POSSIBLE | RFLAGS_FIXED))
		return refuse(outcome, "rflags: a flag that Linux keeps from a program");
	why = answered_by_linux(request->code, request->code_size);
	for (uint32_t i = 0; !why && i < request->memory_count; i++)
		why = answered_by_linux(request->data + request->memory[i].data,
					request->memory[i].size);
	return !why || refuse(outcome, why);
}

bool possible_to_report(const struct probe_context *context, struct probe_outcome *outcome)
{
	unsigned int vector = context->end.vector & 0xff;

	if (vector == VECTOR_DB)
		return refuse(outcome, "it ends in #DB, and Linux does not tell a program DR6");
	/* Linux sets bit 0 of the error code there (set_signal_archinfo in arch/x86/mm/fault.c). */
	if (vector == VECTOR_PF && context->cr2 >> 63)
		return refuse(
			outcome,
			"it ends in #PF at a kernel's address, and Linux changes its error code");
	return true;
}
