/* SPDX-License-Identifier: MIT */
/* One number for all that decides on an object. */
#ifndef COMPILER_HASH_H
#define COMPILER_HASH_H

#include "compilation.h"

/* The arguments, the source, the headers that it may include, and of a kernel which one it is. */
unsigned __int128 hash_of(const struct compilation *it, const char *compiler);

#endif
