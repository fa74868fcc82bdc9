/* SPDX-License-Identifier: MIT */
/* Why a request was refused, as the agent answers it. */
#ifndef AGENT_ERROR_H
#define AGENT_ERROR_H

#include "types.h"

struct agent_error {
	const char *code; /* the answer's code= (PROTOCOL.md) */
	char text[160];
};

/*
 * Fill in a code, and a text that is made of up to three parts (NULL: none). Returns false, so that a
 * function that returns whether it succeeded can return this call.
 */
bool agent_refuse(struct agent_error *error, const char *code, const char *first,
		  const char *second, const char *third);

#endif
