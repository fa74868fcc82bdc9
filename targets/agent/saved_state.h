/* SPDX-License-Identifier: MIT */
/* What a CPU is before a probe, and how it becomes that again: after the probe, or by a later `undo`. */
#ifndef AGENT_SAVED_STATE_H
#define AGENT_SAVED_STATE_H

#include "probe.h"

/* False, with the reason in the outcome: an MSR of the request cannot be read. */
bool saved_state_take(const struct probe_request *request, struct probe_machine *machine,
		      struct probe_outcome *outcome);
void saved_state_restore_idtr(const struct probe_machine *machine);
/* All but IDTR and MSRs; what cannot be restored is noted in the outcome. */
void saved_state_restore(const struct probe_machine *machine, struct probe_outcome *outcome);
/* The MSRs of the request, as the probe has left them. */
void saved_state_read_msrs(const struct probe_request *request, struct probe_outcome *outcome);
/* The same, and restore them. */
void saved_state_restore_msrs(const struct probe_request *request,
			      const struct probe_machine *machine, struct probe_outcome *outcome);

/*
 * The probe leaves its state: keep what the CPU was before, unless an earlier probe has left something.
 * False, with the reason in the outcome: too many MSRs have been left.
 */
bool saved_state_keep(struct probe_context *context, const struct probe_request *request,
		      const struct probe_machine *machine, struct probe_outcome *outcome);
/* Restore what probes have left since the last time. */
void saved_state_undo(struct probe_context *context, struct probe_outcome *outcome);

#endif
