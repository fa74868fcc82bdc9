/* SPDX-License-Identifier: MIT */
#ifndef VENEER_REFUSAL_H
#define VENEER_REFUSAL_H

#include "types.h"

/* Why a CPU cannot be virtualised: a negative errno and a sentence. */
struct refusal {
	int error;
	unsigned int cpu;
	const char *reason;
	u64 detail;
	/* More values, if there are any: " name=value ..." */
	char evidence[160];
};

/* Fill in a refusal; returns its error. */
static inline int refuse_with(struct refusal *refusal, int error, const char *reason, u64 detail)
{
	*refusal = (struct refusal){ .error = error, .reason = reason, .detail = detail };
	return error;
}

#endif
