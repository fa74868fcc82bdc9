/* SPDX-License-Identifier: MIT */
/* Linked into the image that has no subject. */
#include "subject.h"

const struct subject_ops *const subject = NULL;
