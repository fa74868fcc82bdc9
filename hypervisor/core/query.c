// SPDX-License-Identifier: MIT
#include "query.h"

#include "counters.h"
#include "exit.h"
#include "lifecycle.h"
#include "text.h"
#include "version.h"

static void add_decimal_field(struct text *text, const char *name, u64 value)
{
	text_add(text, " ");
	text_add(text, name);
	text_add(text, "=");
	text_add_decimal(text, value);
}

void veneer_explain(const struct refusal *refusal, char *buffer, size_t size)
{
	struct text text = { .buffer = buffer, .size = size };

	text_add(&text, refusal->reason);
	text_add(&text, "; CPU ");
	text_add_decimal(&text, refusal->cpu);
	text_add(&text, ", value ");
	text_add_hex(&text, refusal->detail);
	text_add(&text, refusal->evidence);
}

int veneer_query(u64 free_pages, char *buffer, size_t size)
{
	struct text text = { .buffer = buffer, .size = size };
	const struct backend *backend = veneer_backend();

	add_decimal_field(&text, "loaded", backend != NULL);
	text_add(&text, " name=veneer version=");
	text_add_decimal(&text, VENEER_VERSION >> 16);
	text_add(&text, ".");
	text_add_decimal(&text, VENEER_VERSION >> 8 & 0xff);
	text_add(&text, ".");
	text_add_decimal(&text, VENEER_VERSION & 0xff);
	add_decimal_field(&text, "cpus", veneer_count_cpus());
	text_add(&text, " backend=");
	text_add(&text, backend ? backend->name : "none");
	text_add(&text, " nested=hidden");
	add_decimal_field(&text, "free-pages", free_pages);
	add_decimal_field(&text, "hypercall-ticks", veneer_time_hypercall());
	return 0;
}

int veneer_exits(unsigned int cpu, char *buffer, size_t size)
{
	struct text text = { .buffer = buffer, .size = size };
	u64 counts[EXIT_REASONS];

	if (!veneer_read_counts(cpu, counts))
		return -EINVAL;
	for (unsigned int reason = 0; reason < EXIT_REASONS; reason++)
		add_decimal_field(&text, exit_names[reason], counts[reason]);
	return 0;
}

int veneer_trace(unsigned int cpu, unsigned int count, char *buffer, size_t size)
{
	struct trace_entry entries[TRACE_MOST];
	struct text text = { .buffer = buffer, .size = size };
	unsigned int found;

	if (!veneer_backend())
		return -EINVAL;
	found = veneer_read_trace(cpu, entries, count < TRACE_MOST ? count : TRACE_MOST);
	text_add(&text, " exits=");
	while (found--) {
		text_add_hex(&text, entries[found].code);
		text_add(&text, ":");
		text_add_hex(&text, entries[found].rip);
		text_add(&text, ":");
		text_add_hex(&text, entries[found].eax | (u64)entries[found].ecx << 32);
		if (found)
			text_add(&text, ",");
	}
	return 0;
}
