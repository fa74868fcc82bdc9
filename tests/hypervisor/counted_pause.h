/* SPDX-License-Identifier: MIT */
/* Included in front of every file (-include): pause() of x86.h becomes a function of harness.c, which notes who waits. */
#ifndef COUNTED_PAUSE_H
#define COUNTED_PAUSE_H

#ifndef __ASSEMBLER__
#define pause real_pause
#include "core/x86.h"
#undef pause
#define pause fake_pause
void fake_pause(void);
#endif

#endif
