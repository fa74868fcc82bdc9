/* SPDX-License-Identifier: MIT */
/* Calling code that is not ours, and that an exception may end without ending the OS. */
#ifndef BARE_GUARD_H
#define BARE_GUARD_H

#include <stdbool.h>

#include "cpu.h"

/* True if the function came back; else the vector is in guard_vector of this CPU. */
bool guard_call(void (*function)(void *), void *argument);
/* For an exception that nobody expects: whether it ends a guarded call, to whose end the frame then returns. */
bool guard_takes(struct probe_frame *frame);

#endif
