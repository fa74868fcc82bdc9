/* SPDX-License-Identifier: MIT */
/* Loading and unloading, as hosts ask for it. All of these are called from one context at a time, outside of any broadcast. */
#ifndef VENEER_LIFECYCLE_H
#define VENEER_LIFECYCLE_H

#include "refusal.h"

struct backend;

/*
 * Put every CPU under Veneer. 0; or a negative errno, the reason in *refusal,
 * and every CPU is as it was, unless the host did not reach them a second time to take them out: then veneer_backend() is set.
 */
int veneer_load(struct refusal *refusal);

/*
 * Take every CPU out again and free everything. 0; -EINVAL if Veneer is not loaded; or what the host says of CPUs that it cannot
 * reach: then Veneer is loaded as before.
 */
int veneer_unload(struct refusal *refusal);

/*
 * A CPU comes or goes while Veneer is loaded; called on it, interrupts off. The
 * first returns 0, or a negative errno and the CPU is as it was.
 */
int veneer_enter_this_cpu(struct refusal *refusal);
void veneer_leave_this_cpu(void);

/* CPUs that prove to be in guest mode, asked now. */
unsigned int veneer_count_cpus(void);

/* NULL while Veneer is not loaded. */
const struct backend *veneer_backend(void);

#endif
