// SPDX-License-Identifier: MIT
#include "harness.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "core/context.h"
#include "core/crash_report.h"
#include "core/host_state.h"
#include "core/hypercall.h"
#include "core/machine_check.h"
#include "core/memory.h"
#include "core/nmi.h"
#include "core/obstacles.h"
#include "core/vcpus.h"

#define PHYSICAL_BYTES (64ull << 20)

int allocations_left = -1;
size_t pages_in_use;
int broadcast_error;
struct fake fake;
static __thread unsigned int this_cpu;
static __thread bool in_broadcast;

void *host_alloc(size_t pages)
{
	void *memory;

	if (!allocations_left)
		return NULL;
	if (allocations_left > 0)
		allocations_left--;
	memory = aligned_alloc(PAGE_BYTES, pages * PAGE_BYTES);
	memset(memory, 0, pages * PAGE_BYTES);
	pages_in_use += pages;
	return memory;
}

void host_free(void *memory, size_t pages)
{
	pages_in_use -= pages;
	free(memory);
}

u64 host_physical(const void *address)
{
	return (u64)address;
}

void *host_virtual(u64 physical)
{
	return (void *)physical;
}

bool host_image(unsigned int part, const char **start, const char **end)
{
	static char image[2 * PAGE_BYTES] __attribute__((aligned(4096)));

	*start = image;
	*end = image + sizeof(image);
	return part == 0;
}

unsigned int host_cpus(void)
{
	return FAKE_CPUS;
}

unsigned int host_running_cpus(void)
{
	return FAKE_CPUS;
}

unsigned int host_this_cpu(void)
{
	return this_cpu;
}

struct job {
	unsigned int cpu;
	void (*function)(void *);
	void *argument;
};

static bool has_passed(unsigned int cpu, enum step_of_load step)
{
	return __atomic_load_n(&fake.waited[cpu], __ATOMIC_SEQ_CST) >= step ||
	       __atomic_load_n(&fake.begun[cpu], __ATOMIC_SEQ_CST) > step;
}

/* A CPU begins a step. One that is late ends it behind all others: whoever does not wait for it is ahead by now. */
static void begin(enum step_of_load step)
{
	if (!in_broadcast)
		return;
	__atomic_store_n(&fake.begun[this_cpu], step, __ATOMIC_SEQ_CST);
	if ((int)this_cpu != fake.late_on || step != fake.late_in)
		return;
	for (unsigned int cpu = 0; cpu < FAKE_CPUS; cpu++) {
		while (cpu != this_cpu && !has_passed(cpu, step))
			sched_yield();
	}
}

void fake_pause(void)
{
	__atomic_store_n(&fake.waited[this_cpu], fake.begun[this_cpu], __ATOMIC_SEQ_CST);
	sched_yield();
}

static void *run_job(void *pointer)
{
	struct job *job = pointer;

	this_cpu = job->cpu;
	in_broadcast = true;
	job->function(job->argument);
	begin(BEHIND_LOAD);
	return NULL;
}

int host_on_each_cpu(void (*function)(void *), void *argument)
{
	pthread_t threads[FAKE_CPUS];
	struct job jobs[FAKE_CPUS];

	if (broadcast_error)
		return broadcast_error;
	for (unsigned int cpu = 0; cpu < FAKE_CPUS; cpu++) {
		jobs[cpu] = (struct job){ cpu, function, argument };
		CHECK(!pthread_create(&threads[cpu], NULL, run_job, &jobs[cpu]));
	}
	for (unsigned int cpu = 0; cpu < FAKE_CPUS; cpu++)
		pthread_join(threads[cpu], NULL);
	return 0;
}

void host_on_cpu(unsigned int cpu, void (*function)(void *), void *argument)
{
	struct job job = { cpu, function, argument };
	pthread_t thread;

	CHECK(!pthread_create(&thread, NULL, run_job, &job));
	pthread_join(thread, NULL);
}

void host_die(const char *report)
{
	fprintf(stderr, "%s\n", report);
	exit(2);
}

/* In place of what needs privileged instructions. */
void capture_context(struct context *context)
{
	(void)context;
}

bool has_five_level_paging(void)
{
	return false;
}

unsigned int physical_address_bits(void)
{
	return 40;
}

bool has_gigabyte_pages(void)
{
	return fake.gigabyte_pages;
}

/* No NMI comes to a user-space process: what the backend does outside of guest mode has one noted, as core/nmi.c does. */
static void get_nmi(struct vcpu *vcpu)
{
	vcpu->pending_nmis++;
	fake.nmis_came[vcpu->cpu]++;
}

void replay_nmis(struct vcpu *vcpu)
{
	fake.nmis_replayed[vcpu->cpu] += vcpu->pending_nmis;
	vcpu->pending_nmis = 0;
}

void note_nmi_in_host_mode(void)
{
	fake.noted_nmis++;
}

/* Tested in processor/. */
bool note_machine_check_in_host_mode(void)
{
	fake.noted_machine_checks++;
	return !fake.machine_check_status;
}

u64 machine_check_status(void)
{
	return fake.machine_check_status;
}

int find_obstacle_of_os(struct refusal *refusal)
{
	if ((int)this_cpu != fake.obstacle_on)
		return 0;
	*refusal = (struct refusal){ .error = -EPERM, .reason = "in use" };
	return -EPERM;
}

#define IDT_OF_OS 0x1000
void __wrap_catch_faults(struct vcpu *vcpu, struct table_register *saved);
void __wrap_stop_catching_faults(const struct table_register *saved);

void __wrap_catch_faults(struct vcpu *vcpu, struct table_register *saved)
{
	(void)vcpu;
	CHECK(!fake.catching[this_cpu]);
	fake.catching[this_cpu] = 1;
	saved->base = IDT_OF_OS + this_cpu;
}

void __wrap_stop_catching_faults(const struct table_register *saved)
{
	CHECK(saved->base == IDT_OF_OS + this_cpu);
	fake.catching[this_cpu] = 0;
}

struct death death;
static jmp_buf *expected_end;

void die(struct vcpu *vcpu, const char *why, u64 rip, u64 rsp)
{
	if (!expected_end) {
		fprintf(stderr, "died: %s rip=%llx rsp=%llx\n", why, rip, rsp);
		exit(2);
	}
	death = (struct death){ .vcpu = vcpu, .rip = rip, .rsp = rsp };
	snprintf(death.why, sizeof(death.why), "%s", why);
	longjmp(*expected_end, 1);
}

bool dies(void (*function)(void *argument), void *argument)
{
	jmp_buf here;
	bool died = true;

	expected_end = &here;
	if (!setjmp(here)) {
		function(argument);
		died = false;
	}
	expected_end = NULL;
	return died;
}

static int fake_examine(struct refusal *refusal)
{
	begin(EXAMINE);
	if ((int)this_cpu == fake.refuse_examine_on) {
		*refusal = (struct refusal){ .error = -ENODEV, .reason = "no such processor" };
		return -ENODEV;
	}
	return 0;
}

static int fake_allocate(struct vcpu *vcpu)
{
	(void)vcpu;
	return memory_alloc(2) ? 0 : -ENOMEM;
}

static int fake_enable(struct vcpu *vcpu, struct refusal *refusal)
{
	CHECK(fake.catching[this_cpu]);
	get_nmi(vcpu);
	begin(ENABLE);
	if ((int)vcpu->cpu == fake.refuse_enable_on) {
		*refusal = (struct refusal){ .error = -EBUSY, .reason = "taken" };
		return -EBUSY;
	}
	fake.enabled[vcpu->cpu]++;
	fake.ever_enabled[vcpu->cpu] = 1;
	return 0;
}

static void fake_disable(struct vcpu *vcpu)
{
	get_nmi(vcpu);
	fake.enabled[vcpu->cpu]--;
}

static int fake_enter(struct vcpu *vcpu, struct refusal *refusal)
{
	CHECK(!fake.catching[this_cpu]);
	begin(ENTER);
	if ((int)vcpu->cpu == fake.refuse_enter_on) {
		*refusal = (struct refusal){ .error = -EIO, .reason = "bad guest state" };
		return -EIO;
	}
	fake.in_guest[vcpu->cpu]++;
	fake.ever_in_guest[vcpu->cpu] = 1;
	return 0;
}

static u64 fake_hypercall(u64 operation, u64 argument, u64 more[2])
{
	CHECK(fake.in_guest[this_cpu] == 1);
	switch (operation) {
	case HYPERCALL_PROVE:
		return (int)this_cpu == fake.lie_on ? 999 : this_cpu;
	case HYPERCALL_COUNT:
		more[0] = FAKE_COUNT(this_cpu, argument + 1);
		more[1] = FAKE_COUNT(this_cpu, argument + 2);
		return FAKE_COUNT(this_cpu, argument);
	case HYPERCALL_TRACE:
		more[0] = argument < FAKE_TRACE ? (argument + 1) | (argument + 2) << 32 : ~0ull;
		more[1] = argument + 3;
		return FAKE_COUNT(this_cpu, argument);
	}
	CHECK(operation == HYPERCALL_UNLOAD);
	get_nmi(vcpus[this_cpu]);
	fake.in_guest[this_cpu]--;
	fake.enabled[this_cpu]--;
	return 0;
}

static u64 fake_cr0(const struct vcpu *vcpu)
{
	(void)vcpu;
	return fake.fields[GUEST_CR0];
}

static u64 fake_cr3(const struct vcpu *vcpu)
{
	(void)vcpu;
	return fake.fields[GUEST_CR3];
}

static u64 fake_cr4(const struct vcpu *vcpu)
{
	(void)vcpu;
	return fake.fields[GUEST_CR4];
}

static u64 fake_efer(const struct vcpu *vcpu)
{
	(void)vcpu;
	return fake.fields[GUEST_EFER];
}

static u64 fake_cs_base(const struct vcpu *vcpu)
{
	(void)vcpu;
	return fake.fields[GUEST_CS_BASE];
}

static u64 fake_cs_limit(const struct vcpu *vcpu)
{
	(void)vcpu;
	return fake.fields[GUEST_CS_LIMIT];
}

static u64 fake_code_bits(const struct vcpu *vcpu)
{
	(void)vcpu;
	return fake.fields[GUEST_CODE_BITS];
}

static void fake_write_rflags(struct vcpu *vcpu, u64 value)
{
	(void)vcpu;
	fake.rflags = value;
}

static void fake_continue_at(struct vcpu *vcpu, u64 rip)
{
	(void)vcpu;
	fake.continued++;
	fake.rip = rip;
}

static void fake_inject(struct vcpu *vcpu, enum vector vector, u32 error_code)
{
	(void)vcpu;
	fake.injected_vector = vector;
	fake.injected_count++;
	fake.error_code = error_code;
}

static u64 fake_dr7(const struct vcpu *vcpu)
{
	(void)vcpu;
	return fake.fields[GUEST_DR7];
}

static void fake_single_step(struct vcpu *vcpu, u64 breakpoints)
{
	(void)vcpu;
	(void)breakpoints;
	fake.single_steps++;
}

/* lifecycle.c chooses the backend by this machine's vendor, so both are this one. */
#define FAKE_BACKEND(instance_name)                                                                \
	{                                                                                          \
		.name = instance_name,                                                           \
		.vendors = { { 0x68747541, 0x69746e65, 0x444d4163 },                             \
			     { 0x756e6547, 0x49656e69, 0x6c65746e } },                           \
		.hypercall = fake_hypercall, .examine = fake_examine, .allocate = fake_allocate, \
		.enable = fake_enable, .disable = fake_disable, .enter = fake_enter,             \
		.read = {                                                                        \
			[GUEST_CR0] = fake_cr0,                                                  \
			[GUEST_CR3] = fake_cr3,                                                  \
			[GUEST_CR4] = fake_cr4,                                                  \
			[GUEST_EFER] = fake_efer,                                                \
			[GUEST_CS_BASE] = fake_cs_base,                                          \
			[GUEST_CS_LIMIT] = fake_cs_limit,                                        \
			[GUEST_DR7] = fake_dr7,                                                  \
			[GUEST_CODE_BITS] = fake_code_bits,                                      \
		},                                                                               \
		.write_rflags = fake_write_rflags, .continue_at = fake_continue_at,              \
		.inject = fake_inject, .single_step = fake_single_step, \
	}
const struct backend svm_backend = FAKE_BACKEND("svm");
const struct backend vmx_backend = FAKE_BACKEND("vmx");
const struct backend fake_backend = FAKE_BACKEND("fake");

void *fake_physical(unsigned long long physical)
{
	static char *window;

	if (!window) {
		window = mmap((void *)PHYSICAL_WINDOW, PHYSICAL_BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1,
			      0);
		CHECK(window == (void *)PHYSICAL_WINDOW);
	}
	CHECK(physical < PHYSICAL_BYTES);
	return window + physical;
}

int main(void)
{
	/* A CPU that waits for ever ends the program, which takes less than a second. */
	const struct rlimit limit = { .rlim_cur = 20, .rlim_max = 20 };

	CHECK(!setrlimit(RLIMIT_CPU, &limit));
	/* The fake physical memory lies where ThreadSanitizer has its own. */
#ifndef __SANITIZE_THREAD__
	test_instructions();
#endif
	test_injection();
	test_host_mode();
	test_memory_types();
	test_page_tables();
	test_lifecycle();
	test_counters();
	puts("all passed");
	return 0;
}
