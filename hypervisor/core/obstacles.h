/* SPDX-License-Identifier: MIT */
#ifndef VENEER_OBSTACLES_H
#define VENEER_OBSTACLES_H

#include "refusal.h"

/* Does the OS use something on this CPU that Veneer cannot take over? 0, or refusal->error. Changes nothing. */
int find_obstacle_of_os(struct refusal *refusal);

#endif
