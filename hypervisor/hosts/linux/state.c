// SPDX-License-Identifier: MIT
/*
 * Loading and unloading under one lock, together with what Linux must be told or kept from doing.
 */
#include "log.h"
#include "state.h"
#include "cpus.h"
#include "kvm.h"
#include "memory.h"

#include <linux/cc_platform.h>
#include <linux/cpu.h>
#include <linux/cpufeature.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/string.h>
#include <linux/vmstat.h>

#include "core/lifecycle.h"
#include "core/query.h"

#pragma weak veneer_backend
#pragma weak veneer_exits
#pragma weak veneer_explain
#pragma weak veneer_load
#pragma weak veneer_query
#pragma weak veneer_trace
#pragma weak veneer_unload

/* Taken before hotplug is disabled, never in a hotplug callback. */
static DEFINE_MUTEX(lock);
/* Why Veneer cannot be loaded now (NULL: it can), and whether it was loaded when that began. */
static const char *suspended;
static bool load_on_resume;

static int refuse(int error, const char *reason, char *why)
{
	strscpy(why, reason, ANSWER_BYTES);
	pr_err("not loaded: %s\n", reason);
	return error;
}

/* Obstacles that the processor does not show and Linux knows of. */
static const char *find_obstacle(void)
{
	if (boot_cpu_has(X86_FEATURE_XENPV))
		return "this is a paravirtualised Xen guest, which has no virtualization hardware";
	if (cc_platform_has(CC_ATTR_MEM_ENCRYPT))
		return "memory is encrypted (SME or SEV), which Veneer does not support; mem_encrypt=off";
	return NULL;
}

static int load_locked(char *why)
{
	const char *obstacle = find_obstacle();
	struct refusal refusal;
	int error;

	why[0] = '\0';
	if (suspended)
		return refuse(-EBUSY, suspended, why);
	if (veneer_backend())
		return refuse(-EBUSY, "Veneer is loaded already", why);
	if (obstacle)
		return refuse(-ENODEV, obstacle, why);
	error = kvm_keep_out();
	if (error == -EBUSY)
		return refuse(-EBUSY, "KVM is loaded; rmmod kvm_intel or kvm_amd, then kvm", why);
	if (error)
		return refuse(error, "the place of /dev/kvm cannot be taken", why);

	cpu_hotplug_disable();
	cpus_number();
	error = veneer_load(&refusal);
	if (!error)
		kvm_hide_features();
	cpu_hotplug_enable();
	if (error) {
		kvm_let_in();
		refusal.cpu = cpus_linux_number(refusal.cpu);
		veneer_explain(&refusal, why, ANSWER_BYTES);
		pr_err("not loaded: %s\n", why);
		return error;
	}
	pr_info("loaded on %u CPUs, with %ld pages\n", num_online_cpus(), memory_pages());
	return 0;
}

static int unload_locked(char *why)
{
	struct refusal refusal;
	int error;

	why[0] = '\0';
	cpu_hotplug_disable();
	error = veneer_unload(&refusal);
	if (!error)
		kvm_show_features();
	cpu_hotplug_enable();
	if (error) {
		strscpy(why, refusal.reason, ANSWER_BYTES);
		return error;
	}
	kvm_let_in();
	pr_info("unloaded\n");
	return 0;
}

int state_load(char *why)
{
	int error;

	mutex_lock(&lock);
	error = load_locked(why);
	mutex_unlock(&lock);
	return error;
}

int state_unload(char *why)
{
	int error;

	mutex_lock(&lock);
	error = unload_locked(why);
	mutex_unlock(&lock);
	return error;
}

void state_suspend(const char *why)
{
	static char answer[ANSWER_BYTES];

	mutex_lock(&lock);
	if (!suspended) {
		suspended = why;
		load_on_resume = !unload_locked(answer);
	}
	mutex_unlock(&lock);
}

void state_resume(void)
{
	static char answer[ANSWER_BYTES];

	mutex_lock(&lock);
	suspended = NULL;
	/* A refusal is in the kernel's log. */
	if (load_on_resume)
		load_locked(answer);
	load_on_resume = false;
	mutex_unlock(&lock);
}

int state_query(char *answer)
{
	size_t used;
	int error;

	mutex_lock(&lock);
	error = veneer_query(global_zone_page_state(NR_FREE_PAGES), answer, ANSWER_BYTES);
	used = strlen(answer);
	scnprintf(answer + used, ANSWER_BYTES - used, " held-pages=%ld", memory_pages());
	mutex_unlock(&lock);
	return error;
}

static int find_cpu(unsigned int linux_cpu, char *answer)
{
	int cpu = veneer_backend() ? cpus_find(linux_cpu) : -1;

	if (cpu < 0)
		strscpy(answer, veneer_backend() ? "there is no such CPU" : "Veneer is not loaded",
			ANSWER_BYTES);
	return cpu;
}

int state_exits(unsigned int linux_cpu, char *answer)
{
	int cpu, error = -EINVAL;

	mutex_lock(&lock);
	cpu = find_cpu(linux_cpu, answer);
	if (cpu >= 0) {
		error = veneer_exits(cpu, answer, ANSWER_BYTES);
		if (error)
			strscpy(answer, "the CPU is offline", ANSWER_BYTES);
	}
	mutex_unlock(&lock);
	return error;
}

int state_trace(unsigned int linux_cpu, unsigned int count, char *answer)
{
	int cpu, error = -EINVAL;

	mutex_lock(&lock);
	cpu = find_cpu(linux_cpu, answer);
	if (cpu >= 0)
		error = veneer_trace(cpu, count, answer, ANSWER_BYTES);
	mutex_unlock(&lock);
	return error;
}
