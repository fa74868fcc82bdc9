// SPDX-License-Identifier: MIT
#include "host.h"
#include "memory.h"
#include "text.h"
#include "vcpu.h"

#define REPORTED_EXITS 8
#define REPORTED_FRAMES 12

/* RBP chains are kept (-fno-omit-frame-pointer is not: we scan); addresses are symbolised by whoever reads the report. */
static void add_backtrace(struct text *text, u64 rsp)
{
	const char *start, *end;
	u64 stack_end = (rsp & ~(STACK_STRIDE - 1)) + STACK_STRIDE - PAGE_BYTES;
	unsigned int found = 0;

	if (rsp < STACK_WINDOW || rsp >= PHYSICAL_WINDOW)
		return;
	host_image(&start, &end);
	text_add(text, " stack=");
	for (u64 at = rsp & ~7ull; at < stack_end && found < REPORTED_FRAMES; at += 8) {
		u64 value = *(const u64 *)at;

		if (value < (u64)start || value >= (u64)end)
			continue;
		if (found++)
			text_add(text, ",");
		text_add_hex(text, value);
	}
}

static void add_exits(struct text *text, const struct vcpu *vcpu)
{
	u64 first = vcpu->exits > REPORTED_EXITS ? vcpu->exits - REPORTED_EXITS : 0;

	text_add(text, " exits=");
	for (u64 i = first; i < vcpu->exits; i++) {
		const struct trace_entry *entry = &vcpu->trace[i % TRACE_ENTRIES];

		if (i > first)
			text_add(text, ",");
		text_add_hex(text, entry->code);
		text_add(text, ":");
		text_add_hex(text, entry->rip);
	}
}

void die(struct vcpu *vcpu, const char *why, u64 rip, u64 rsp)
{
	/* Static: a stack that is almost full must still be able to report that. */
	static char buffer[1024];
	struct text text = { .buffer = buffer, .size = sizeof(buffer) };

	text_add(&text, "veneer: ");
	text_add(&text, why);
	text_add_field(&text, "rip", rip);
	text_add_field(&text, "rsp", rsp);
	text_add_field(&text, "cr2", read_cr2());
	if (vcpu) {
		char line[160];

		text_add(&text, " cpu=");
		text_add_decimal(&text, vcpu->cpu);
		text_add_field(&text, "exit", vcpu->code);
		text_add_field(&text, "guest-rip", vcpu->rip);
		vcpu->backend->describe_exit(vcpu, line, sizeof(line));
		text_add(&text, line);
		add_exits(&text, vcpu);
	}
	add_backtrace(&text, rsp);
	host_die(buffer);
}
