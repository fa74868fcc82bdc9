/* SPDX-License-Identifier: MIT */
/* What the agent needs from the OS that it runs on. Implemented once for each OS. */
#ifndef AGENT_PLATFORM_H
#define AGENT_PLATFORM_H

#include "probe.h"
#include "types.h"

/* "bare" or "linux". */
extern const char platform_os[];

/* CPUs that probes can use, numbered from 0, at most CPU_MASK_CPUS. */
unsigned int platform_cpus(void);

/* Address of CPU 0's slot for CPL 0 or 3. The slots of neighbouring CPUs are SLOT_STRIDE apart. */
uint64_t platform_slot(unsigned int cpl);

/* Send a complete line, preceded by LF if the console's last byte was not LF. */
void platform_send(const char *line, size_t length);

/*
 * Run a probe on the CPUs of a mask, all at the same time, and fill outcomes[0] for the lowest of
 * them, outcomes[1] for the next one and so on. together: no CPU starts the probe before all are ready.
 */
void platform_run(const struct cpu_mask *mask, bool together, const struct probe_request *request,
		  struct probe_outcome *outcomes);

/* NMIs that a CPU has taken since boot. */
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
 * The verb `work` (PROTOCOL.md). Returns 0 and " key=value" pairs in buffer, or a negative errno and the
 * reason in it; -EOPNOTSUPP if this OS has no processes. kinds is for START; rounds for WAIT; seconds
 * for WAIT and STOP.
 */
int platform_work(enum platform_work_verb verb, const char *kinds, unsigned int rounds,
		  unsigned int seconds, char *buffer, size_t size);
/* The verb `kvm` (PROTOCOL.md). Returns as platform_work() does. */
int platform_kvm(char *buffer, size_t size);

/*
 * The verb `payload` (PROTOCOL.md): call starting(), then hand the machine over and do not return. Else a negative errno
 * and the reason in buffer.
 */
int platform_payload(void (*starting)(void), char *buffer, size_t size);

/* Name of the subject in the image, "none" without one. */
const char *platform_subject_name(void);
/*
 * 0 and " key=value" pairs in buffer, or a negative errno and the reason in it; -ENODEV without a
 * subject. option may be NULL; cpu and count are for EXITS and TRACE. Where a context owns its CPU, LOAD and UNLOAD
 * call the subject's functions with the registers in `left.returned` of that CPU's context, if that is valid, and
 * note there with which of them they return.
 */
int platform_subject(enum platform_subject_verb verb, const char *option, unsigned int cpu,
		     unsigned int count, char *buffer, size_t size);

#endif
