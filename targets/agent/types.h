/* SPDX-License-Identifier: MIT */
/* The fixed-width types, in the bare image, in a user program and in a Linux module. */
#ifndef AGENT_TYPES_H
#define AGENT_TYPES_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif

#endif
