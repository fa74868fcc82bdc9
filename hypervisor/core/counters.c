// SPDX-License-Identifier: MIT
/* Counters and trace of a loaded Veneer, read through hypercalls on the CPU itself. */
#include "counters.h"

#include "host.h"
#include "hypercall.h"
#include "lifecycle.h"
#include "vcpus.h"

struct question {
	u64 *counts;
	struct trace_entry *entries;
	unsigned int wanted, found;
	/* The CPU was running, and in guest mode. */
	bool answered;
};

static void answer_on_this_cpu(void *argument)
{
	struct question *question = argument;
	const struct backend *backend = veneer_backend();
	u64 more[2];

	if (!vcpus[host_this_cpu()]->in_guest_mode)
		return;
	question->answered = true;
	for (unsigned int reason = 0; question->counts && reason < EXIT_REASONS; reason += 3) {
		u64 first = backend->hypercall(HYPERCALL_COUNT, reason, more);
		u64 three[] = { first, more[0], more[1] };

		for (unsigned int i = 0; i < COUNT_OF(three) && reason + i < EXIT_REASONS; i++)
			question->counts[reason + i] = three[i];
	}
	for (unsigned int back = 0; back < question->wanted; back++) {
		u64 rip = backend->hypercall(HYPERCALL_TRACE, back, more);

		if (more[0] == ~0ull)
			break;
		question->entries[question->found++] = (struct trace_entry){
			.rip = rip,
			.code = more[0],
			.eax = more[0] >> 32,
			.ecx = more[1],
		};
	}
}

u64 veneer_time_hypercall(void)
{
	u64 more[2], start;

	if (!veneer_backend())
		return 0;
	start = read_tsc();
	veneer_backend()->hypercall(HYPERCALL_PROVE, 0, more);
	return read_tsc() - start;
}

bool veneer_read_counts(unsigned int cpu, u64 *counts)
{
	struct question question = { .counts = counts };

	if (!veneer_backend() || cpu >= host_cpus())
		return false;
	host_on_cpu(cpu, answer_on_this_cpu, &question);
	return question.answered;
}

unsigned int veneer_read_trace(unsigned int cpu, struct trace_entry *entries, unsigned int count)
{
	struct question question = { .entries = entries, .wanted = count };

	if (!veneer_backend() || cpu >= host_cpus())
		return 0;
	host_on_cpu(cpu, answer_on_this_cpu, &question);
	return question.found;
}
