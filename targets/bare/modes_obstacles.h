/* SPDX-License-Identifier: MIT */
/* What the modes are like, and why a probe cannot be run in one, or at a place (agent/place.h). */
#ifndef BARE_MODES_OBSTACLES_H
#define BARE_MODES_OBSTACLES_H

#include <stdbool.h>
#include <stdint.h>

struct cpu;
struct probe_request;

/* Whether every segment begins where the slot does, and addresses are relative to that. */
bool modes_has_8086_segments(const struct probe_request *request);
/* Whether the probe runs at CPL 3, as it does in virtual-8086 mode (SDM 3B 21.2.2). */
bool modes_is_user(const struct probe_request *request);
bool modes_has_paging(uint32_t mode);

/* NULL, or why it cannot be run on this CPU. */
const char *modes_find_obstacle(const struct probe_request *request, const struct cpu *cpu);

#endif
