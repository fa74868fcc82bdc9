// SPDX-License-Identifier: MIT
#include "crash_report.h"

#include "host.h"
#include "text.h"
#include "vcpus.h"

#define REPORTED_EXITS 8
#define REPORTED_FRAMES 12

static bool is_own_address(u64 address)
{
	const char *start, *end;

	for (unsigned int part = 0; host_image(part, &start, &end); part++) {
		if (address >= (u64)start && address < (u64)end)
			return true;
	}
	return false;
}

/*
 * Print the values on the stack that are addresses in Veneer's image; the reader of the report
 * looks up their symbols.
 */
static void add_stack(struct text *text, u64 rsp)
{
	const struct vcpu *vcpu = vcpu_of_stack(rsp);
	unsigned int found = 0;

	if (!vcpu)
		return;
	text_add(text, " stack=");
	for (u64 at = (rsp + 7) & ~7ull; at < (u64)vcpu && found < REPORTED_FRAMES; at += 8) {
		u64 value = *(const u64 *)at;

		if (!is_own_address(value))
			continue;
		if (found++)
			text_add(text, ",");
		text_add_hex(text, value);
	}
}

static void add_exits(struct text *text, const struct vcpu *vcpu)
{
	u64 before = vcpu->exits > REPORTED_EXITS ? vcpu->exits - REPORTED_EXITS : 0;

	text_add(text, " exits=");
	for (u64 i = before + 1; i <= vcpu->exits; i++) {
		const struct trace_entry *entry = &vcpu->trace[i % TRACE_ENTRIES];

		if (i > before + 1)
			text_add(text, ",");
		text_add_hex(text, entry->code);
		text_add(text, ":");
		text_add_hex(text, entry->rip);
	}
}

void die(struct vcpu *vcpu, const char *why, u64 rip, u64 rsp)
{
	/* Static, so that a stack overflow can be reported; so one CPU at a time. */
	static char buffer[1024];
	static struct vcpu *reporting;
	struct text text = { .buffer = buffer, .size = sizeof(buffer) };
	struct vcpu *nobody = NULL, *self = vcpu ? vcpu : (struct vcpu *)buffer;

	if (!__atomic_compare_exchange_n(&reporting, &nobody, self, false, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE)) {
		/* The first report stops the machine. A fault while it was written is the end. */
		while (nobody != self)
			pause();
		host_die("veneer: fault in a crash report");
	}
	text_add(&text, "veneer: ");
	text_add(&text, why);
	text_add_field(&text, "rip", rip);
	text_add_field(&text, "rsp", rsp);
	text_add_field(&text, "cr2", read_cr2());
	if (vcpu) {
		char line[DESCRIPTION_BYTES];

		text_add(&text, " cpu=");
		text_add_decimal(&text, vcpu->cpu);
		text_add_field(&text, "exit", vcpu->trace[vcpu->exits % TRACE_ENTRIES].code);
		text_add_field(&text, "guest-rip", vcpu->rip);
		vcpu->backend->describe_exit(vcpu, line, sizeof(line));
		text_add(&text, line);
		add_exits(&text, vcpu);
	}
	add_stack(&text, rsp);
	host_die(buffer);
}
