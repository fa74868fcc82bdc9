/* SPDX-License-Identifier: MIT */
/*
 * How a subject that is linked into a bare image makes itself known. The image
 * without one links none.c instead, whose `subject` is NULL. Everything
 * is called on the boot CPU, outside of any broadcast.
 */
#ifndef BARE_SUBJECT_H
#define BARE_SUBJECT_H

#include <stddef.h>

struct subject_ops {
	const char *name;
	/*
	 * 0, or a negative errno (as Linux numbers them) with the reason as
	 * text in why. option is the request's opt= word, or NULL.
	 */
	int (*load)(const char *option, char *why, size_t size);
	int (*unload)(char *why, size_t size);
	/* These write " key=value" pairs and return 0, or a negative errno. */
	int (*query)(char *buffer, size_t size);
	int (*exits)(unsigned int cpu, char *buffer, size_t size);
	int (*trace)(unsigned int cpu, unsigned int count, char *buffer, size_t size);
};

extern const struct subject_ops *const subject;

#endif
