/* SPDX-License-Identifier: MIT */
#ifndef AGENT_LINUX_REQUEST_H
#define AGENT_LINUX_REQUEST_H

#include "../probe.h"

/* Whether probe_run() can safely carry out this request from user space. */
bool request_valid(const struct probe_request *request);

#endif
