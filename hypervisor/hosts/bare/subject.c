// SPDX-License-Identifier: MIT
/* The subject verbs of the agent's protocol, answered by Veneer. */
#include "core/policy.h"
#include "core/text.h"
#include "core/veneer.h"

#include "os.h"
#include "subject.h"

#define TRACE_MOST 48

static int explain(const struct refusal *refusal, char *why, size_t size)
{
	if (refusal->error)
		os_snprintf(why, size, "%s; CPU %u, value %lx%s", refusal->reason, refusal->cpu,
			    (unsigned long)refusal->detail, refusal->evidence);
	return refusal->error;
}

static int load(const char *option, char *why, size_t size)
{
	struct refusal refusal;

	if (option) {
		os_snprintf(why, size, "Veneer has no option '%s'", option);
		return -EINVAL;
	}
	veneer_load(&refusal);
	return explain(&refusal, why, size);
}

static int unload(char *why, size_t size)
{
	struct refusal refusal;

	veneer_unload(&refusal);
	return explain(&refusal, why, size);
}

static int query(char *buffer, size_t size)
{
	const struct backend *backend = veneer_backend();

	os_snprintf(
		buffer, size,
		" loaded=%d name=veneer version=%d.%d.%d cpus=%u backend=%s nested=hidden free-pages=%lu hypercall-ticks=%lu",
		backend != NULL, VENEER_VERSION >> 16, VENEER_VERSION >> 8 & 0xff,
		VENEER_VERSION & 0xff, veneer_count_cpus(), backend ? backend->name : "none",
		(unsigned long)os_count_free_pages(), (unsigned long)veneer_time_hypercall());
	return 0;
}

static int exits(unsigned int cpu, char *buffer, size_t size)
{
	struct text text = { .buffer = buffer, .size = size };
	u64 counts[EXIT_REASONS];

	if (!veneer_read_counts(cpu, counts))
		return -EINVAL;
	for (unsigned int reason = 0; reason < EXIT_REASONS; reason++) {
		text_add(&text, " ");
		text_add(&text, exit_names[reason]);
		text_add(&text, "=");
		text_add_decimal(&text, counts[reason]);
	}
	return 0;
}

static int trace(unsigned int cpu, unsigned int count, char *buffer, size_t size)
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

const struct subject_trace subject_trace = {
	.version = 1,
	.cpus = (unsigned long long)&vcpus,
	.cpu_count = (unsigned long long)&vcpu_count,
	.exits_offset = offsetof(struct vcpu, exits),
	.ring_offset = offsetof(struct vcpu, trace),
	.entries = TRACE_ENTRIES,
	.entry_size = sizeof(struct trace_entry),
};

static const struct subject_ops veneer = {
	.name = "veneer",
	.load = load,
	.unload = unload,
	.query = query,
	.exits = exits,
	.trace = trace,
};

const struct subject_ops *const subject = &veneer;
