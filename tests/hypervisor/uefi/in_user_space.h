/* SPDX-License-Identifier: MIT */
/* Included in front of Veneer's UEFI host (-include): no interrupts to switch off. */
#ifndef IN_USER_SPACE_H
#define IN_USER_SPACE_H

/* It declares another pause(). */
#include <unistd.h>

#define pause pause_processor
#define disable_interrupts real_disable_interrupts
#define enable_interrupts real_enable_interrupts
#include "core/x86.h"
#undef disable_interrupts
#undef enable_interrupts

static inline void disable_interrupts(void)
{
}

static inline void enable_interrupts(void)
{
}

#endif
