/* SPDX-License-Identifier: MIT */
/* The list of the files that an object depends on, as the compiler writes it. */
#ifndef COMPILER_DEPENDS_H
#define COMPILER_DEPENDS_H

#include <stdbool.h>
#include <stdio.h>

#include "compilation.h"

/* The list with words for the output and the subject. False: not all was compared. */
bool generalize(const struct compilation *it, char *list, FILE *to);

/* The reverse. */
void specialize(const struct compilation *it, const char *list, FILE *to);

#endif
