// SPDX-License-Identifier: MIT
/* The rendezvous, with a thread for each CPU, and a refusal on each CPU in each step. */
#include <string.h>

#include "core/lifecycle.h"
#include "harness.h"

static void expect_all(const int *counters, int value)
{
	for (int cpu = 0; cpu < FAKE_CPUS; cpu++)
		CHECK(counters[cpu] == value);
}

/* The OS has got each NMI that came while its CPU was not in guest mode. */
static void expect_nmis_replayed(void)
{
	for (int cpu = 0; cpu < FAKE_CPUS; cpu++)
		CHECK(fake.nmis_replayed[cpu] == fake.nmis_came[cpu]);
}

void reset(void)
{
	memset(&fake, 0, sizeof(fake));
	fake.gigabyte_pages = true;
	fake.refuse_examine_on = fake.refuse_enable_on = fake.refuse_enter_on = fake.lie_on = -1;
	fake.late_on = fake.obstacle_on = -1;
}

static void expect_refused(int error, int cpu)
{
	struct refusal refusal;

	CHECK(veneer_load(&refusal) == error);
	CHECK(refusal.error == error && refusal.reason);
	if (cpu >= 0)
		CHECK((int)refusal.cpu == cpu);
	expect_all(fake.enabled, 0);
	expect_all(fake.in_guest, 0);
	expect_all(fake.catching, 0);
	expect_nmis_replayed();
	CHECK(!pages_in_use);
	CHECK(!veneer_backend() && !veneer_count_cpus());
}

static void load_and_unload(void)
{
	struct refusal refusal;

	CHECK(veneer_load(&refusal) == 0);
	expect_all(fake.enabled, 1);
	expect_all(fake.in_guest, 1);
	expect_all(fake.catching, 0);
	expect_nmis_replayed();
	CHECK(veneer_count_cpus() == FAKE_CPUS);
	CHECK(veneer_load(&refusal) == -EBUSY);
	CHECK(veneer_unload(&refusal) == 0);
	expect_all(fake.enabled, 0);
	expect_nmis_replayed();
	CHECK(!pages_in_use);
	CHECK(veneer_unload(&refusal) == -EINVAL);
}

/* A host that reaches no CPU: nothing was begun, and what is loaded stays so. */
static void no_broadcast(void)
{
	struct refusal refusal;

	reset();
	broadcast_error = -EIO;
	expect_refused(-EIO, -1);
	expect_all(fake.ever_enabled, 0);
	broadcast_error = 0;
	CHECK(!veneer_load(&refusal));
	broadcast_error = -EIO;
	CHECK(veneer_unload(&refusal) == -EIO && refusal.reason);
	expect_all(fake.in_guest, 1);
	CHECK(veneer_backend() && !veneer_count_cpus());
	broadcast_error = 0;
	CHECK(!veneer_unload(&refusal));
	CHECK(!pages_in_use);
}

/*
 * The CPU that refuses is the last one to come to the end of the step: all others wait for it, so that none of them goes on
 * to what it would have to take back, and none is left behind in guest mode.
 */
static void refuses_late(int cpu)
{
	reset();
	fake.late_on = fake.refuse_examine_on = cpu;
	fake.late_in = EXAMINE;
	expect_refused(-ENODEV, cpu);
	expect_all(fake.ever_enabled, 0);
	reset();
	fake.late_on = fake.refuse_enable_on = cpu;
	fake.late_in = ENABLE;
	expect_refused(-EBUSY, cpu);
	expect_all(fake.ever_in_guest, 0);
	reset();
	fake.late_on = fake.refuse_enter_on = cpu;
	fake.late_in = ENTER;
	expect_refused(-EIO, cpu);
	/* And one that is late and does not refuse. */
	for (int step = EXAMINE; step <= ENTER; step++) {
		reset();
		fake.late_on = cpu;
		fake.late_in = step;
		load_and_unload();
	}
}

static void leave_one(void *argument)
{
	(void)argument;
	veneer_leave_this_cpu();
}

static void enter_one(void *argument)
{
	int *error = argument;
	struct refusal refusal;

	*error = veneer_enter_this_cpu(&refusal);
	CHECK(refusal.error == *error && refusal.cpu == host_this_cpu());
}

/* A CPU that goes offline and comes online, with all others as they were; it may refuse. */
static void one_cpu(unsigned int cpu)
{
	int *const refuse[] = { &fake.obstacle_on, &fake.refuse_examine_on, &fake.refuse_enable_on,
				&fake.refuse_enter_on };
	const int errors[] = { -EPERM, -ENODEV, -EBUSY, -EIO };
	struct refusal refusal;
	int error;

	reset();
	CHECK(!veneer_load(&refusal));
	for (unsigned int i = 0; i <= COUNT_OF(refuse); i++) {
		host_on_cpu(cpu, leave_one, NULL);
		CHECK(!fake.in_guest[cpu] && !fake.enabled[cpu]);
		CHECK(veneer_count_cpus() == FAKE_CPUS - 1);
		/* It has left already. */
		host_on_cpu(cpu, leave_one, NULL);
		if (i < COUNT_OF(refuse))
			*refuse[i] = cpu;
		host_on_cpu(cpu, enter_one, &error);
		CHECK(error == (i < COUNT_OF(refuse) ? errors[i] : 0));
		CHECK(fake.in_guest[cpu] == !error && fake.enabled[cpu] == !error);
		CHECK(veneer_count_cpus() == FAKE_CPUS - !!error);
		expect_all(fake.catching, 0);
		expect_nmis_replayed();
		if (i < COUNT_OF(refuse))
			*refuse[i] = -1;
	}
	CHECK(!veneer_unload(&refusal));
	expect_all(fake.enabled, 0);
	CHECK(!pages_in_use);
}

void test_lifecycle(void)
{
	int needed;

	reset();
	for (int i = 0; i < 10; i++)
		load_and_unload();
	for (int cpu = 0; cpu < FAKE_CPUS; cpu++) {
		/* No CPU is changed while another one may still say that it lacks something. */
		reset();
		fake.refuse_examine_on = cpu;
		expect_refused(-ENODEV, cpu);
		expect_all(fake.ever_enabled, 0);
		reset();
		fake.obstacle_on = cpu;
		expect_refused(-EPERM, cpu);
		expect_all(fake.ever_enabled, 0);
		reset();
		fake.refuse_enable_on = cpu;
		expect_refused(-EBUSY, cpu);
		reset();
		fake.refuse_enter_on = cpu;
		expect_refused(-EIO, cpu);
		reset();
		fake.lie_on = cpu;
		expect_refused(-EIO, -1);
		refuses_late(cpu);
		one_cpu(cpu);
		reset();
		load_and_unload();
	}
	no_broadcast();
	reset();
	/* Memory that runs out at every single allocation. */
	for (needed = 0;; needed++) {
		struct refusal refusal;

		allocations_left = needed;
		if (!veneer_load(&refusal))
			break;
		CHECK(refusal.error == -ENOMEM);
		CHECK(!pages_in_use);
		expect_all(fake.enabled, 0);
	}
	allocations_left = -1;
	CHECK(needed > FAKE_CPUS);
	CHECK(!veneer_unload(&(struct refusal){ 0 }));
}
