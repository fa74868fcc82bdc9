/* SPDX-License-Identifier: MIT */
#ifndef AGENT_LINUX_REQUEST_H
#define AGENT_LINUX_REQUEST_H

#include "../probe.h"

/* Whether every field of a request that came from a program is one that probe_run() can work with. */
bool request_valid(const struct probe_request *request);

#endif
