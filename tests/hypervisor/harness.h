/* SPDX-License-Identifier: MIT */
/* Veneer's core in a user-space process: a host of threads and malloc, and a backend that records its calls. */
#ifndef HARNESS_H
#define HARNESS_H

#include "core/backend.h"
#include "core/host.h"
#include "core/vcpu.h"
#include "check.h"

#define FAKE_CPUS 4
/* What the fake backend counts of a reason, and has for the RIP of an exit: in each half of it. How many exits it has. */
#define FAKE_COUNT(cpu, number) (0x123456789abcdef0ull + ((cpu) << 8) + (number))
#define FAKE_TRACE 5u

/* What the next host_alloc() calls do: -1 succeeds for ever, n fails after n successes. */
extern int allocations_left;
extern size_t pages_in_use;
/* What host_on_each_cpu() returns without running anything; 0: it runs. */
extern int broadcast_error;

/* The steps of a load, in which each CPU waits for all others. */
enum step_of_load {
	BEFORE_LOAD,
	EXAMINE,
	ENABLE,
	ENTER,
	BEHIND_LOAD
};

/* How the fake backend behaves, and what it saw. */
struct fake {
	/* This CPU comes to the end of this step when all others wait for it there, or have gone on. */
	int late_on;
	enum step_of_load late_in;
	/* The step that each CPU has begun last, and behind which it has waited last. */
	enum step_of_load begun[FAKE_CPUS], waited[FAKE_CPUS];
	int obstacle_on, refuse_examine_on, refuse_enable_on, refuse_enter_on, lie_on;
	int enabled[FAKE_CPUS], ever_enabled[FAKE_CPUS];
	int in_guest[FAKE_CPUS], ever_in_guest[FAKE_CPUS];
	int injected_vector, injected_count, single_steps, continued;
	unsigned int error_code;
	unsigned long long rip, rflags;
	/* Veneer's IDT is loaded, in the place of the OS'. */
	int catching[FAKE_CPUS];
	int nmis_came[FAKE_CPUS], nmis_replayed[FAKE_CPUS];
	unsigned int noted_nmis, noted_machine_checks;
	/* 0: the machine check goes to the guest. */
	unsigned long long machine_check_status;
	bool gigabyte_pages;
	unsigned long long fields[GUEST_FIELDS];
};
extern struct fake fake;
extern const struct backend fake_backend;

/* Whether a function ends in die(), and with what. */
struct death {
	const struct vcpu *vcpu;
	char why[160];
	u64 rip, rsp;
};
extern struct death death;
bool dies(void (*function)(void *argument), void *argument);

/* A piece of fake physical memory where physical_to_host() looks for it. */
void *fake_physical(unsigned long long physical);

/* A backend that refuses nothing, and has seen nothing. */
void reset(void);

void test_instructions(void);
void test_injection(void);
void test_host_mode(void);
void test_memory_types(void);
void test_page_tables(void);
void test_lifecycle(void);
void test_counters(void);

#endif
