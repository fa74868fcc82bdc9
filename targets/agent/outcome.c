/* SPDX-License-Identifier: MIT */
#include "outcome.h"

#include "digits.h"

const char *const outcome_gpr_names[16] = {
	"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15",
};

static void add_left(struct line_writer *answer, uint32_t left)
{
	static const char *const names[] = { "cr0", "cr3", "cr4", "efer", "xcr0", "msr" };
	const char *separator = " left=";

	for (unsigned int i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (!(left & 1u << i))
			continue;
		line_add(answer, separator);
		line_add(answer, names[i]);
		separator = ",";
	}
}

static void add_number(struct line_writer *answer, const char *separator, uint64_t number)
{
	char digits[DIGITS_MAX + 1];

	digits[digits_write(digits, number, 16, 1)] = '\0';
	line_add(answer, separator);
	line_add(answer, digits);
}

static void add_msrs(struct line_writer *answer, const struct probe_request *probe,
		     const struct probe_outcome *outcome)
{
	const char *separator = " msrs=";

	for (uint32_t i = 0; i < probe->msr_count; i++) {
		if (!(outcome->msr_read & 1u << i))
			continue;
		add_number(answer, separator, probe->msr[i].number);
		add_number(answer, ":", outcome->msr[i]);
		separator = ",";
	}
}

static void add_events(struct line_writer *answer, const struct probe_outcome *outcome)
{
	const char *separator = " events=";

	for (uint32_t i = 0; i < outcome->event_count && i < PROBE_EVENT_MAX; i++) {
		const struct probe_event *event = &outcome->event[i];

		add_number(answer, separator, event->vector);
		add_number(answer, ":", event->rip);
		if (event->vector == PROBE_VECTOR_DB)
			add_number(answer, ":", event->dr6);
		separator = ",";
	}
	if (outcome->event_count > PROBE_EVENT_MAX)
		line_add_decimal(answer, "noted", outcome->event_count);
}

static void add_tables(struct line_writer *answer, const char *key,
		       const struct probe_tables *tables)
{
	add_number(answer, key, tables->idtr.base);
	add_number(answer, ":", tables->idtr.limit);
	add_number(answer, ":", tables->gdtr.base);
	add_number(answer, ":", tables->gdtr.limit);
	add_number(answer, ":", tables->ldtr);
	add_number(answer, ":", tables->tr);
}

static void add_call(struct line_writer *answer, const char *key, const struct probe_call *call)
{
	add_number(answer, key, call->rflags);
	for (unsigned int i = 0; i < CALL_GPRS; i++)
		add_number(answer, ":", call->gpr[i]);
	add_number(answer, ":", call->ss);
}

void outcome_add(struct line_writer *answer, const struct probe_request *probe,
		 const struct probe_outcome *outcome)
{
	if (outcome->done) {
		line_add(answer, " end=done");
	} else {
		line_add(answer, " end=exc");
		line_add_hex_wide(answer, "vec", outcome->vector, 2);
		if (outcome->has_error)
			line_add_hex(answer, "ec", outcome->error);
	}
	line_add_hex(answer, "rip", outcome->rip);
	line_add_hex(answer, "rflags", outcome->rflags);
	for (unsigned int i = 0; i < 16; i++)
		if (outcome->gpr[i] != outcome->given[i])
			line_add_hex(answer, outcome_gpr_names[i], outcome->gpr[i]);
	if (outcome->placed) {
		line_add_hex(answer, "start", outcome->start);
		line_add_hex(answer, "slot", outcome->slot);
	}
	if (!outcome->done && outcome->vector == 14)
		line_add_hex(answer, "cr2", outcome->cr2);
	if (!outcome->done && outcome->vector == 1)
		line_add_hex(answer, "dr6", outcome->dr6);
	if (outcome->dr7_changed)
		line_add_hex(answer, "dr7", outcome->dr7);
	if (probe->read_size)
		line_add_bytes(answer, "mem", outcome->read, probe->read_size);
	add_msrs(answer, probe, outcome);
	if (outcome->nmis)
		line_add_decimal(answer, "nmi", outcome->nmis);
	add_events(answer, outcome);
	if (probe->tables) {
		add_tables(answer, " tables-start=", &outcome->tables_start);
		add_tables(answer, " tables=", &outcome->tables_end);
	}
	if (outcome->called) {
		add_call(answer, " called=", &outcome->call_ended);
		add_call(answer, " returned=", &outcome->call_returned);
	}
	add_left(answer, outcome->left);
}
