/* SPDX-License-Identifier: MIT */
/* Running a probe in a process of its own, which ends with it. */
#ifndef AGENT_HERE_ATTEMPT_H
#define AGENT_HERE_ATTEMPT_H

#include "../probe.h"

#define ATTEMPTS_MOST CPU_MASK_CPUS

/* A CPU that takes part, and how the probe ended there. */
struct attempt {
	int number;	    /* Linux's */
	unsigned int index; /* ours */
	struct probe_outcome outcome;
};

/* Memory that the processes of attempts share with this one; NULL, with errno. */
struct attempt *attempt_create(void);
/* Run the request on `count` CPUs, on all before this returns; none starts it before all are ready. */
void attempt_run(struct attempt *attempts, unsigned int count, const struct probe_request *request);

#endif
