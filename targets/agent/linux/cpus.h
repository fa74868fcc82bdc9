/* SPDX-License-Identifier: MIT */
/* The CPUs that one open agent uses, and running a probe on them. */
#ifndef AGENT_LINUX_CPUS_H
#define AGENT_LINUX_CPUS_H

#include "abi.h"
#include "space.h"

struct cpus {
	struct space space;
	unsigned int count;
	struct isolated_cpu *cpu[CPU_MASK_CPUS];
};

/* Allocate what probes need on every CPU that is online. 0, -ENOMEM, or -EOVERFLOW for more than CPU_MASK_CPUS. */
int cpus_create(struct cpus *cpus);
void cpus_destroy(struct cpus *cpus);

/* Run a probe and fill one outcome per CPU of the mask, lowest first. 0, or -ENXIO if one of them is offline. */
int cpus_run(struct cpus *cpus, const struct cpu_mask *mask, bool together,
	     const struct probe_request *request, struct probe_outcome *outcomes);

#endif
