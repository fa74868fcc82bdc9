/* SPDX-License-Identifier: MIT */
/* The agent: requests in, answers out. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#include "line.h"
#include "probe.h"

#define AGENT_VERSION "1.0"

/* A refusal of a request: the code word, and the text behind it. */
struct agent_error {
	const char *code;
	char text[160];
};

/* Announce that the agent waits for requests. */
void agent_ready(void);
/* Take a byte from the controller; carries out and answers the request that it completes. */
void agent_take(char byte);

/*
 * Fill the error with a code and a text made of up to three parts (NULL: none). Returns
 * false, for tail calls.
 */
bool agent_refuse(struct agent_error *error, const char *code, const char *first,
		  const char *second, const char *third);

/* Turn the keys of `run` into a probe. */
bool agent_parse_run(const struct line_request *line, unsigned int cpus,
		     struct probe_request *probe, struct agent_error *error);
/* The value of on=: a mask of existing CPUs. */
bool agent_parse_mask(const char *value, unsigned int cpus, uint64_t *mask,
		      struct agent_error *error);

/* Append what happened to a probe to its answer. */
void agent_add_outcome(struct line_writer *answer, const struct probe_request *probe,
		       const struct probe_outcome *outcome);

#endif
