/* SPDX-License-Identifier: MIT */
/* The verbs of a subject that a UEFI firmware has loaded (agent/platform.h: platform_subject()). */
#ifndef BARE_FIRMWARE_SUBJECT_H
#define BARE_FIRMWARE_SUBJECT_H

#include "../agent/platform.h"
#include "handover.h"

int firmware_subject(const struct uefi_handover *handover, enum platform_subject_verb verb,
		     unsigned int cpu, unsigned int count, char *buffer, size_t size);

#endif
