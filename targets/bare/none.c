/* SPDX-License-Identifier: MIT */
/* The image without a hypervisor in it. */
#include "subject.h"

const struct subject_ops *const subject = NULL;
