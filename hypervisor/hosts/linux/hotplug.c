// SPDX-License-Identifier: MIT
/*
 * CPU hotplug while Veneer is loaded. state.c loads and unloads only with hotplug disabled, so
 * that veneer_backend() cannot change during these callbacks.
 */
#include "log.h"
#include "hotplug.h"
#include "cpus.h"
#include "kvm.h"

#include <linux/cpuhotplug.h>
#include <linux/percpu.h>

#include "core/lifecycle.h"

#pragma weak veneer_backend
#pragma weak veneer_enter_this_cpu
#pragma weak veneer_leave_this_cpu

/*
 * In the STARTING section a callback runs on the new CPU itself, interrupts off,
 * before any task does, and its counterpart on a dying one after the last.
 * That section has no dynamic states; this one belongs to a timer of another
 * architecture and is free on x86 (cpuhp_setup_state() refuses a taken one).
 */
#define STATE_ON_CPU CPUHP_AP_ARM_TWD_STARTING

static DEFINE_PER_CPU(struct refusal, refused);
static int prepare_state, online_state;

/* On another CPU, before it starts: was it numbered when Veneer was loaded? */
static int prepare(unsigned int cpu)
{
	if (!veneer_backend() || cpus_find(cpu) >= 0)
		return 0;
	pr_err("CPU %u was not present when Veneer was loaded, and cannot come before it is unloaded\n",
	       cpu);
	return -EBUSY;
}

/* STARTING callbacks must not fail: online() reports the error. */
static int enter(unsigned int cpu)
{
	struct refusal *refusal = this_cpu_ptr(&refused);

	refusal->error = 0;
	if (veneer_backend() && !veneer_enter_this_cpu(refusal))
		kvm_hide_features_of(cpu);
	return 0;
}

static int leave(unsigned int cpu)
{
	if (veneer_backend())
		veneer_leave_this_cpu();
	return 0;
}

/*
 * In a thread of the new CPU, before it gets any other task: the last point where the CPU can be
 * refused.
 */
static int online(unsigned int cpu)
{
	const struct refusal *refusal = this_cpu_ptr(&refused);

	if (refusal->error)
		pr_err("CPU %u cannot be virtualised, and stays offline: %s, value %llx%s\n", cpu,
		       refusal->reason, refusal->detail, refusal->evidence);
	return refusal->error;
}

int hotplug_start(void)
{
	int error;

	prepare_state =
		cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN, "veneer:prepare", prepare, NULL);
	if (prepare_state < 0)
		return prepare_state;
	error = cpuhp_setup_state_nocalls(STATE_ON_CPU, "veneer:enter", enter, leave);
	if (error)
		goto remove_prepare;
	online_state =
		cpuhp_setup_state_nocalls(CPUHP_AP_ONLINE_DYN, "veneer:online", online, NULL);
	if (online_state >= 0)
		return 0;
	error = online_state;
	cpuhp_remove_state_nocalls(STATE_ON_CPU);
remove_prepare:
	cpuhp_remove_state_nocalls(prepare_state);
	return error;
}

void hotplug_stop(void)
{
	cpuhp_remove_state_nocalls(online_state);
	cpuhp_remove_state_nocalls(STATE_ON_CPU);
	cpuhp_remove_state_nocalls(prepare_state);
}
