// SPDX-License-Identifier: MIT
/*
 * Setup in three steps: allocate everything for all CPUs; one broadcast; in it, each CPU enables
 * VMX or SVM, fills its guest state and enters. The broadcast is a rendezvous: either all CPUs
 * commit or all roll back. No CPU is changed before all have been examined.
 */
#include "lifecycle.h"

#include "context.h"
#include "host.h"
#include "host_state.h"
#include "hypercall.h"
#include "memory.h"
#include "nmi.h"
#include "obstacles.h"
#include "vcpus.h"

#define NOT_REACHED "the system does not run anything on all CPUs"

/* A step ends when every CPU has arrived, so that all CPUs see the same value of refused. */
struct step {
	unsigned int arrived;
	int refused;
};

struct broadcast {
	struct step examine, enable, enter;
	unsigned int proven;
	/* Of the first CPU that refused. */
	struct refusal refusal;
	unsigned int cpus;
};

static const struct backend *loaded_backend;
static u64 host_cr3;

static void refuse(struct broadcast *broadcast, struct step *step, const struct refusal *refusal)
{
	int nobody = 0;

	if (__atomic_compare_exchange_n(&step->refused, &nobody, 1, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE)) {
		broadcast->refusal = *refusal;
		broadcast->refusal.cpu = host_this_cpu();
	}
}

/*
 * Wait until every CPU has arrived; true if none of them has refused. Each step has a flag of its
 * own, so that a CPU that is late in one step does not see a refusal of the next.
 */
static bool rendezvous(struct broadcast *broadcast, struct step *step)
{
	host_meet(&step->arrived, broadcast->cpus);
	return !__atomic_load_n(&step->refused, __ATOMIC_ACQUIRE);
}

/* The hypercall returns the CPU's number in guest mode only; without Veneer it is #UD. */
static bool prove(const struct vcpu *vcpu)
{
	u64 more[2];

	return vcpu->backend->hypercall(HYPERCALL_PROVE, 0, more) == vcpu->cpu;
}

static void leave_guest_mode(struct vcpu *vcpu)
{
	u64 more[2];

	vcpu->backend->hypercall(HYPERCALL_UNLOAD, 0, more);
	vcpu->in_guest_mode = false;
	replay_nmis(vcpu);
}

/* On each CPU, since firmware may have configured them differently. */
static int examine_this_cpu(const struct vcpu *vcpu, struct refusal *refusal)
{
	int error = find_obstacle_of_os(refusal);

	return error ? error : vcpu->backend->examine(refusal);
}

/* Veneer's IDT is loaded meanwhile, so that an expected fault makes enable() refuse. */
static int enable_on_this_cpu(struct vcpu *vcpu, struct refusal *refusal)
{
	struct table_register saved;
	int error;

	capture_context(&vcpu->context);
	prepare_host_state(vcpu, host_cr3);
	catch_faults(vcpu, &saved);
	error = vcpu->backend->enable(vcpu, refusal);
	stop_catching_faults(&saved);
	replay_nmis(vcpu);
	return error;
}

static void disable_on_this_cpu(struct vcpu *vcpu)
{
	vcpu->backend->disable(vcpu);
	replay_nmis(vcpu);
}

/* The broadcast of veneer_load(), on every CPU at once. */
static void load_on_this_cpu(void *argument)
{
	struct broadcast *broadcast = argument;
	struct vcpu *vcpu = vcpus[host_this_cpu()];
	struct refusal refusal = { 0 };
	bool enabled;

	if (examine_this_cpu(vcpu, &refusal))
		refuse(broadcast, &broadcast->examine, &refusal);
	if (!rendezvous(broadcast, &broadcast->examine))
		return;

	enabled = !enable_on_this_cpu(vcpu, &refusal);
	if (!enabled)
		refuse(broadcast, &broadcast->enable, &refusal);
	if (!rendezvous(broadcast, &broadcast->enable)) {
		if (enabled)
			disable_on_this_cpu(vcpu);
		return;
	}

	if (vcpu->backend->enter(vcpu, &refusal)) {
		refuse(broadcast, &broadcast->enter, &refusal);
	} else {
		vcpu->in_guest_mode = true;
		if (prove(vcpu))
			__atomic_add_fetch(&broadcast->proven, 1, __ATOMIC_ACQ_REL);
	}
	if (rendezvous(broadcast, &broadcast->enter))
		return;
	if (vcpu->in_guest_mode)
		leave_guest_mode(vcpu);
	else
		disable_on_this_cpu(vcpu);
}

static void unload_on_this_cpu(void *argument)
{
	struct vcpu *vcpu = vcpus[host_this_cpu()];

	(void)argument;
	if (vcpu->in_guest_mode)
		leave_guest_mode(vcpu);
}

static void prove_on_this_cpu(void *argument)
{
	unsigned int *proven = argument;
	const struct vcpu *vcpu = vcpus[host_this_cpu()];

	if (vcpu->in_guest_mode && prove(vcpu))
		__atomic_add_fetch(proven, 1, __ATOMIC_ACQ_REL);
}

static const struct backend *const backends[] = { &svm_backend, &vmx_backend };

static const struct backend *find_backend(void)
{
	u32 a, b, c, d;

	cpuid(0, 0, &a, &b, &c, &d);
	for (unsigned int i = 0; i < COUNT_OF(backends); i++) {
		for (unsigned int j = 0; backends[i]->vendors[j][0]; j++) {
			const u32 *vendor = backends[i]->vendors[j];

			if (b == vendor[0] && d == vendor[1] && c == vendor[2])
				return backends[i];
		}
	}
	return NULL;
}

static int allocate_vcpu(unsigned int cpu, const struct backend *backend)
{
	size_t pages = (sizeof(struct vcpu) + PAGE_BYTES - 1) / PAGE_BYTES;
	char *stack = memory_alloc_guarded(STACK_PAGES + pages);
	struct vcpu *vcpu;

	if (!stack)
		return -ENOMEM;
	vcpu = (struct vcpu *)(stack + STACK_PAGES * PAGE_BYTES);
	vcpu->cpu = cpu;
	vcpu->backend = backend;
	vcpus[cpu] = vcpu;
	return allocate_host_state(vcpu);
}

/* Step 1: everything for all CPUs, so that nothing is allocated later. */
static int allocate_all(const struct backend *backend)
{
	int error = 0;

	vcpu_count = host_cpus();
	vcpus = memory_alloc((vcpu_count * sizeof(*vcpus) + PAGE_BYTES - 1) / PAGE_BYTES);
	if (!vcpus)
		return -ENOMEM;
	for (unsigned int cpu = 0; cpu < vcpu_count && !error; cpu++) {
		error = allocate_vcpu(cpu, backend);
		if (!error)
			error = backend->allocate(vcpus[cpu]);
	}
	if (error)
		return error;
	host_cr3 = build_host_page_table(has_five_level_paging());
	return host_cr3 ? 0 : -ENOMEM;
}

/* Clear the vcpus first, so that a post-mortem finds no freed trace ring. */
static void free_all(void)
{
	vcpus = NULL;
	vcpu_count = 0;
	memory_free_all();
}

int veneer_load(struct refusal *refusal)
{
	const struct backend *backend = find_backend();
	struct broadcast broadcast = { .cpus = host_running_cpus() };
	int error;

	*refusal = (struct refusal){ 0 };
	if (loaded_backend)
		return refuse_with(refusal, -EBUSY, "Veneer is loaded already", 0);
	if (!backend)
		return refuse_with(refusal, -ENODEV, "no backend for this processor's vendor", 0);
	error = backend->examine(refusal);
	if (error)
		return error;

	error = allocate_all(backend);
	if (error) {
		free_all();
		return refuse_with(refusal, error, "not enough memory", 0);
	}

	/* Steps 2 and 3. */
	error = host_on_each_cpu(load_on_this_cpu, &broadcast);
	if (error) {
		free_all();
		return refuse_with(refusal, error, NOT_REACHED, 0);
	}
	if (broadcast.examine.refused || broadcast.enable.refused || broadcast.enter.refused) {
		*refusal = broadcast.refusal;
		free_all();
		return refusal->error;
	}
	loaded_backend = backend;
	if (broadcast.proven != broadcast.cpus) {
		error = veneer_unload(refusal);
		return error ? error
			     : refuse_with(refusal, -EIO, "a CPU did not prove to be in guest mode",
					   0);
	}
	return 0;
}

int veneer_unload(struct refusal *refusal)
{
	int error;

	*refusal = (struct refusal){ 0 };
	if (!loaded_backend)
		return refuse_with(refusal, -EINVAL, "Veneer is not loaded", 0);
	error = host_on_each_cpu(unload_on_this_cpu, NULL);
	if (error)
		return refuse_with(refusal, error, NOT_REACHED, 0);
	loaded_backend = NULL;
	free_all();
	return 0;
}

int veneer_enter_this_cpu(struct refusal *refusal)
{
	struct vcpu *vcpu = vcpus[host_this_cpu()];
	int error;

	*refusal = (struct refusal){ 0 };
	error = examine_this_cpu(vcpu, refusal);
	if (!error)
		error = enable_on_this_cpu(vcpu, refusal);
	if (!error) {
		error = vcpu->backend->enter(vcpu, refusal);
		if (error)
			disable_on_this_cpu(vcpu);
	}
	refusal->cpu = vcpu->cpu;
	vcpu->in_guest_mode = !error;
	return error;
}

void veneer_leave_this_cpu(void)
{
	unload_on_this_cpu(NULL);
}

unsigned int veneer_count_cpus(void)
{
	unsigned int proven = 0;

	if (!loaded_backend || host_on_each_cpu(prove_on_this_cpu, &proven))
		return 0;
	return proven;
}

const struct backend *veneer_backend(void)
{
	return loaded_backend;
}
