/* SPDX-License-Identifier: MIT */
/* The keys `mode` and `page` of the verb `run` (PROTOCOL.md, "Modes and places"). */
#ifndef AGENT_PLACE_KEYS_H
#define AGENT_PLACE_KEYS_H

#include "error.h"
#include "place.h"

bool place_take_mode(const char *value, struct probe_place *place, struct agent_error *error);
bool place_take_page(const char *value, struct probe_place *place, struct agent_error *error);

#endif
