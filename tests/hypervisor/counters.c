// SPDX-License-Identifier: MIT
/* Counters and trace as the hypercalls tell them, of each CPU, with all of their bits. */
#include "core/counters.h"
#include "core/exit.h"
#include "core/lifecycle.h"
#include "harness.h"

static void expect_counts(unsigned int cpu)
{
	u64 counts[EXIT_REASONS];

	CHECK(veneer_read_counts(cpu, counts));
	for (unsigned int reason = 0; reason < EXIT_REASONS; reason++)
		CHECK(counts[reason] == FAKE_COUNT(cpu, reason));
}

/* The newest first: no more than are asked for, and no more than there are. */
static void expect_trace(unsigned int cpu, unsigned int asked, unsigned int there)
{
	struct trace_entry entries[FAKE_TRACE + 1];

	CHECK(veneer_read_trace(cpu, entries, asked) == there);
	for (unsigned int i = 0; i < there; i++) {
		CHECK(entries[i].rip == FAKE_COUNT(cpu, i));
		CHECK(entries[i].code == i + 1 && entries[i].eax == i + 2 &&
		      entries[i].ecx == i + 3);
	}
}

static void expect_nothing(unsigned int cpu)
{
	u64 counts[EXIT_REASONS];
	struct trace_entry entry;

	CHECK(!veneer_read_counts(cpu, counts));
	CHECK(!veneer_read_trace(cpu, &entry, 1));
}

void test_counters(void)
{
	struct refusal refusal;

	reset();
	expect_nothing(0);
	CHECK(!veneer_load(&refusal));
	for (unsigned int cpu = 0; cpu < FAKE_CPUS; cpu++) {
		expect_counts(cpu);
		expect_trace(cpu, FAKE_TRACE - 1, FAKE_TRACE - 1);
		expect_trace(cpu, FAKE_TRACE + 1, FAKE_TRACE);
	}
	expect_nothing(FAKE_CPUS);
	CHECK(!veneer_unload(&refusal));
	expect_nothing(0);
}
