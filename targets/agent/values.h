/* SPDX-License-Identifier: MIT */
/* What stands behind the keys of a request (PROTOCOL.md): numbers, pairs of them, and addresses of the slot. */
#ifndef AGENT_VALUES_H
#define AGENT_VALUES_H

#include "place.h"
#include "types.h"

/* Parse hexadecimal digits up to a separator, and set *text behind it, or to NULL at the end. */
bool values_hex(const char **text, char separator, uint64_t *number);
/* Two hexadecimal numbers with a separator between them. */
bool values_pair(const char *text, char separator, uint64_t *first, uint64_t *second);
/* A number, or an address of the slot: s10, c, t-8. */
bool values_operand(const char *text, struct probe_value *value);

#endif
