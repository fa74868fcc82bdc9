/* SPDX-License-Identifier: MIT */
/* Where the code of the subject lies that is linked into the image. */
#ifndef BARE_SUBJECT_TEXT_H
#define BARE_SUBJECT_TEXT_H

#include "../agent/probe.h"

/* link.ld. Without a subject both are the same address. */
extern char subject_text_start[], subject_text_end[];

/* Whether an exception was raised by the subject's own code. */
static inline bool rip_is_in_subject(const struct probe_frame *frame)
{
	return !(frame->cs & 3) && frame->rip >= (uint64_t)subject_text_start &&
	       frame->rip < (uint64_t)subject_text_end;
}

#endif
