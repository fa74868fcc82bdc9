/* SPDX-License-Identifier: MIT */
/* The gates of a probe's own handlers. probe.h declares probe_dispatch(), which traps.c has too. */
#ifndef AGENT_TRAPS_H
#define AGENT_TRAPS_H

#include "probe.h"

/* Load an IDT of this CPU's own whose gates lead to the handlers of the request, if it has any. */
void traps_load_handlers(struct probe_context *context, const struct probe_request *request);

#endif
