/* SPDX-License-Identifier: MIT */
/* The ioctls of /dev/touchstone-agent, with which touchstone-agent uses touchstone_agent.ko. */
#ifndef AGENT_LINUX_ABI_H
#define AGENT_LINUX_ABI_H

#include "../probe.h"

#ifdef __KERNEL__
#include <linux/ioctl.h>
#else
#include <sys/ioctl.h>
#endif

#define TOUCHSTONE_DEVICE "touchstone-agent"

/* To be incremented when a structure below or its meaning changes. */
#define TOUCHSTONE_ABI 5

struct touchstone_info {
	uint32_t abi;			/* in: the program's; out: the module's */
	uint32_t cpus;			/* CPUs that probes can use, numbered from 0 */
	uint64_t slot[2];		/* CPU 0's slot for ring 0 and ring 3 */
	uint32_t number[CPU_MASK_CPUS]; /* Linux's number of each of them */
};

struct touchstone_run {
	struct cpu_mask cpus; /* those that run it at the same time */
	uint64_t request;     /* address of a struct probe_request; its member cpus is ignored */
	uint64_t outcomes;    /* address of a struct probe_outcome per CPU of the mask */
	uint32_t request_size, outcome_size;
	uint32_t together; /* 1: no CPU starts before all are ready. 0: exactly one CPU in the mask */
	uint32_t reserved; /* 0 */
};

/* Errors: EPROTO if the module's ABI is not the program's. */
#define TOUCHSTONE_INFO _IOWR('T', 0xd0, struct touchstone_info)
/* Errors: EINVAL for an invalid request, ENXIO for a CPU that is offline. */
#define TOUCHSTONE_RUN _IOW('T', 0xd1, struct touchstone_run)

#endif
