/* SPDX-License-Identifier: MIT */
/* What the agent needs from what it runs on. Implemented once per platform. */
#ifndef AGENT_PLATFORM_H
#define AGENT_PLATFORM_H

#include "probe.h"
#include "types.h"

/* "bare" or "linux". */
extern const char platform_os[];

/* CPUs that probes can use, numbered from 0, at most 64. */
unsigned int platform_cpus(void);

/* Address of CPU 0's slot as CPL 0 or 3 sees it; neighbours are SLOT_STRIDE apart. */
uint64_t platform_slot(unsigned int cpl);

/*
 * Send a complete line; at column 0, so behind an LF if something else is on the console's
 * last line.
 */
void platform_send(const char *line, size_t length);

/*
 * Run a probe on the CPUs of a mask, all at the same time, and fill outcomes[0] for the lowest of
 * them, outcomes[1] for the next one and so on.
 * together: they meet before they start.
 */
void platform_run(uint64_t mask, bool together, const struct probe_request *request,
		  struct probe_outcome *outcomes);

uint64_t platform_nmis(unsigned int cpu);
/* Send one NMI and wait until it was taken: 0, -ETIMEDOUT, or -EOPNOTSUPP. */
int platform_nmi(unsigned int cpu);

enum platform_subject_verb {
	SUBJECT_LOAD,
	SUBJECT_UNLOAD,
	SUBJECT_QUERY,
	SUBJECT_EXITS,
	SUBJECT_TRACE
};

enum platform_work_verb {
	WORK_START,
	WORK_WAIT,
	WORK_QUERY,
	WORK_STOP
};

/*
 * Processes that would notice if the machine beneath them changed: " key=value" pairs in buffer, or
 * a negative errno and the reason in it; -EOPNOTSUPP where there are no processes. kinds is for START;
 * rounds for WAIT; seconds for WAIT and STOP.
 */
int platform_work(enum platform_work_verb verb, const char *kinds, unsigned int rounds,
		  unsigned int seconds, char *buffer, size_t size);
/* Use the OS' own hypervisor, and answer in the same way. */
int platform_kvm(char *buffer, size_t size);

/* "none" if there is none. */
const char *platform_subject_name(void);
/*
 * 0 and " key=value" pairs in buffer, or a negative errno and the reason in it; -ENODEV without a
 * subject. option may be NULL; cpu and count are for EXITS and TRACE.
 */
int platform_subject(enum platform_subject_verb verb, const char *option, unsigned int cpu,
		     unsigned int count, char *buffer, size_t size);

#endif
