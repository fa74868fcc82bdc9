/* SPDX-License-Identifier: MIT */
/* The answer to the verb `run` (PROTOCOL.md): what a probe ended with. */
#ifndef AGENT_OUTCOME_H
#define AGENT_OUTCOME_H

#include "line.h"
#include "probe.h"

/* Append the outcome of a probe to its answer. */
void outcome_add(struct line_writer *answer, const struct probe_request *probe,
		 const struct probe_outcome *outcome);

/* The keys of the general-purpose registers, numbered as in the encoding. */
extern const char *const outcome_gpr_names[16];

#endif
