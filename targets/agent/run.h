/* SPDX-License-Identifier: MIT */
/* The verb `run` (PROTOCOL.md): its keys, and the keys of its answer. */
#ifndef AGENT_RUN_H
#define AGENT_RUN_H

#include "error.h"
#include "line.h"
#include "probe.h"

/* Turn the keys of a request into a probe for a machine with `cpus` CPUs. */
bool run_parse(const struct line_request *line, unsigned int cpus, struct probe_request *probe,
	       struct agent_error *error);
/* The value of on=, which `nmi` and `counts` have, too: a mask of CPUs that exist. */
bool run_parse_mask(const char *value, unsigned int cpus, uint64_t *mask,
		    struct agent_error *error);

/* Parse hexadecimal digits up to a separator, and set *text behind it, or to NULL at the end. */
bool run_hex_part(const char **text, char separator, uint64_t *number);
/* A number, or an address of the slot: s10, c, t-8 (PROTOCOL.md). */
bool run_value(const char *text, struct probe_value *value);

/* Append the outcome of a probe to its answer. */
void run_add_outcome(struct line_writer *answer, const struct probe_request *probe,
		     const struct probe_outcome *outcome);

#endif
