/* SPDX-License-Identifier: MIT */
/* Why a probe is not run, in its outcome. */
#ifndef AGENT_REFUSE_H
#define AGENT_REFUSE_H

#include "probe.h"

/* Both return false. `what` is a key up to its '='; `value` is written in hex between it and `reason`. */
bool refuse(struct probe_outcome *outcome, const char *reason);
bool refuse_value(struct probe_outcome *outcome, const char *what, uint64_t value,
		  const char *reason);

#endif
