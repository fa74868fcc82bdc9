/* SPDX-License-Identifier: MIT */
/* What the command of a compilation says. */
#ifndef COMPILER_COMPILATION_H
#define COMPILER_COMPILATION_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/* What stands for them where objects of different places are compared. */
#define OUTPUT "<OUTPUT>"
#define SUBJECT "<SUBJECT>"

struct compilation {
	char **arguments; /* of main(), without the program */
	const char *source;
	const char *output;
	char depends[PATH_MAX];
	char subject[PATH_MAX]; /* empty: none */
	bool kernel;		/* a file of a module for Linux */
};

/* Folders in targets/ from which the sources in another one include headers; NULL behind the last. */
extern const char *const beside[];

/* Whether this is a compilation of which all is known that decides on the object. */
bool understood(struct compilation *it);

/* The folder in which an option has headers looked for, else NULL. */
const char *folder_of(const char *argument);

#endif
