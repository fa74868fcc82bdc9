/* SPDX-License-Identifier: MIT */
/* The keys of the verb `run` (PROTOCOL.md). */
#ifndef AGENT_RUN_H
#define AGENT_RUN_H

#include "error.h"
#include "line.h"
#include "probe.h"

/* Turn the keys of a request into a probe for a machine with `cpus` CPUs. */
bool run_parse(const struct line_request *line, unsigned int cpus, struct probe_request *probe,
	       struct agent_error *error);
/* The value of on=, which `nmi` and `counts` have, too: a mask of CPUs that exist. */
bool run_parse_mask(const char *value, unsigned int cpus, struct cpu_mask *mask,
		    struct agent_error *error);

#endif
