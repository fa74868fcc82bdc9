/* SPDX-License-Identifier: MIT */
/* Which probes an ordinary program can run, so that the answer is the processor's and not the kernel's. */
#ifndef AGENT_HERE_POSSIBLE_H
#define AGENT_HERE_POSSIBLE_H

#include "../probe.h"

/* False, with the reason in the outcome. */
bool possible_to_run(const struct probe_request *request, struct probe_outcome *outcome);
/* The same for the end of a probe: false, with the reason, if Linux hides or changes what the processor said. */
bool possible_to_report(const struct probe_context *context, struct probe_outcome *outcome);

#endif
