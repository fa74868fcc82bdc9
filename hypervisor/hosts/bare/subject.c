// SPDX-License-Identifier: MIT
/* The subject verbs of the agent's protocol, answered by Veneer. */
#include "core/lifecycle.h"
#include "core/query.h"
#include "core/vcpus.h"

#include "os.h"
#include "subject.h"

static int explain(const struct refusal *refusal, char *why, size_t size)
{
	if (refusal->error)
		veneer_explain(refusal, why, size);
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
	int error = veneer_query(os_count_free_pages(), buffer, size);
	size_t used = 0;

	while (buffer[used])
		used++;
	/* Where control hypercalls are expected; checks on this machine call from elsewhere. */
	if (!error && backend)
		os_snprintf(buffer + used, size - used, " control=%lx",
			    (uint64_t)backend->hypercall_address);
	return error;
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
	.exits = veneer_exits,
	.trace = veneer_trace,
};

const struct subject_ops *const subject = &veneer;
