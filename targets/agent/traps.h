/* SPDX-License-Identifier: MIT */
/* Exceptions and interrupts of a probe. probe.h declares probe_dispatch(), which traps.c has too. */
#ifndef AGENT_TRAPS_H
#define AGENT_TRAPS_H

#include "probe.h"

/* Before a probe, when the CPU's state has been saved: what the probe handles, and the local APIC. */
void traps_begin(struct probe_context *context, const struct probe_request *request);
/* Load an IDT of this CPU's own whose gates lead to the handlers of the request, if it has any. */
void traps_load_handlers(struct probe_context *context, const struct probe_request *request);
/* After it, with the agent's IDT: take back what the probe has left pending. */
void traps_end(struct probe_context *context);
/* Add the events that were noted to the outcome. */
void traps_report(const struct probe_context *context, struct probe_outcome *outcome);

#endif
