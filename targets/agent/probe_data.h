/* SPDX-License-Identifier: MIT */
/* The slot and the registers that a probe starts with, and what is reported of its end. No privileged instruction. */
#ifndef AGENT_PROBE_DATA_H
#define AGENT_PROBE_DATA_H

#include "probe.h"

/* A value as code of the probe uses it: an address is an offset in its segment. */
uint64_t probe_resolve(const struct probe_context *context, const struct probe_request *request,
		       const struct probe_value *value);
/* Whether the probe runs elsewhere than at its offset in the code area, or in another mode than long mode. */
bool probe_needs_place(const struct probe_request *request);
void probe_fill_slot(struct probe_context *context, const struct probe_request *request);
/* context->start is set. */
void probe_fill_registers(struct probe_context *context, const struct probe_request *request);
/* All but the events, from context->end. */
void probe_report(const struct probe_context *context, const struct probe_request *request,
		  struct probe_outcome *outcome);

#endif
