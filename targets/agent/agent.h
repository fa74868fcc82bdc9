/* SPDX-License-Identifier: MIT */
/* The agent: it takes the bytes of requests, carries the requests out, and answers through platform.h. */
#ifndef AGENT_AGENT_H
#define AGENT_AGENT_H

#define AGENT_VERSION "1.0"

/* Send the event `ready`: the agent waits for requests. */
void agent_ready(void);
/* Take a byte from the controller. Carries out and answers the request that this byte completes. */
void agent_take(char byte);

#endif
