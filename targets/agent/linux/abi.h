/* SPDX-License-Identifier: MIT */
/* What touchstone-agent asks of touchstone_agent.ko, through /dev/touchstone-agent. */
#ifndef AGENT_LINUX_ABI_H
#define AGENT_LINUX_ABI_H

#include "../probe.h"

#ifdef __KERNEL__
#include <linux/ioctl.h>
#else
#include <sys/ioctl.h>
#endif

#define TOUCHSTONE_DEVICE "touchstone-agent"

/* Changes with every change of a structure below, or of what it means. */
#define TOUCHSTONE_ABI 2

struct touchstone_info {
	uint32_t abi;	     /* in: the program's; out: the module's */
	uint32_t cpus;	     /* CPUs that probes can use, numbered from 0 */
	uint64_t slot[2];    /* CPU 0's slot for ring 0 and ring 3 */
	uint32_t number[64]; /* what Linux calls each of them */
};

struct touchstone_run {
	uint64_t cpus;	   /* who runs it, all at the same time */
	uint64_t request;  /* address of a struct probe_request; its own mask is not looked at */
	uint64_t outcomes; /* address of a struct probe_outcome per CPU of the mask */
	uint32_t request_size, outcome_size;
	uint32_t together; /* 0 or 1: they meet before they start. 0 wants exactly one CPU. */
	uint32_t reserved; /* 0 */
};

/* Errors: EPROTO if the ABI is another. */
#define TOUCHSTONE_INFO _IOWR('T', 0xd0, struct touchstone_info)
/* Errors: EINVAL for what no probe can be, ENXIO for a CPU that is gone. */
#define TOUCHSTONE_RUN _IOW('T', 0xd1, struct touchstone_run)

#endif
