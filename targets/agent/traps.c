/* SPDX-License-Identifier: MIT */
/* What exceptions and interrupts mean while a probe runs, and while its state is set up and restored. */
#include "traps.h"

#include "descriptors.h"
#include "x86.h"

#define VECTOR_DB 1
#define VECTOR_NMI 2
#define VECTOR_PF 14
/* Type, DPL and P of a gate (SDM 3A 6.14.1). */
#define GATE_ATTRIBUTES 0xff0000000000ull
#define DR6_BD (1ull << 13)

static uint64_t read_dr6(void)
{
	uint64_t value;

	asm volatile("mov %%dr6, %0" : "=r"(value));
	return value;
}

/*
 * Load an IDT of this CPU's own, in which some gates lead into the probe's code: at CPL 0, so in the
 * supervisor's mapping of it, and on the stack that an interrupt gate without IST gets (SDM 3A 6.14.5).
 */
void traps_load_handlers(struct probe_context *context, const struct probe_request *request)
{
	struct x86_table idtr = x86_sidt();

	if (!request->handler_count)
		return;
	__builtin_memcpy(context->idt, (const void *)idtr.base, sizeof(idt_gate[IDT_VECTORS]));
	idtr.base = (uint64_t)context->idt;
	for (uint32_t i = 0; i < request->handler_count; i++) {
		uint64_t *gate = context->idt[request->handler[i].vector];
		uint64_t entry =
			context->slot[0] + SLOT_CODE + request->at + request->handler[i].offset;

		gate[0] = (gate[0] & GATE_ATTRIBUTES) | (entry & 0xffff) |
			  (uint64_t)PROBE_KERNEL_CS << 16 | (entry >> 16 & 0xffff) << 48;
		gate[1] = entry >> 32;
	}
	x86_lidt(idtr);
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

	if (vector == VECTOR_NMI) {
		if (context->active)
			context->nmis++;
		return PROBE_TRAP_RESUME;
	}
	if (context->active) {
		context->active = 0;
		context->cr2 = vector == VECTOR_PF ? x86_read_cr2() : 0;
		/* Only for #DB, which clears DR7.GD: with GD set, reading DR6 would raise #DB. */
		context->dr6 = vector == VECTOR_DB ? read_dr6() : 0;
		context->entry_fault = inside(frame->rip, probe_enter_start, probe_enter_end);
		context->end = *frame;
		return PROBE_TRAP_END;
	}
	/*
	 * probe.c accessed a debug register while DR7.GD was still set by the probe. This #DB has
	 * cleared GD (SDM 3B 17.2.3), so that the access can be executed again.
	 */
	if (vector == VECTOR_DB && read_dr6() & DR6_BD) {
		context->general_detect = true;
		probe_try_dr6(read_dr6() & ~DR6_BD);
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
