/* SPDX-License-Identifier: MIT */
/* Building a line of text without printf, for use in exits and in every host. */
#ifndef VENEER_TEXT_H
#define VENEER_TEXT_H

#include "types.h"

/* Always zero-terminated; text that does not fit is cut off. */
struct text {
	char *buffer;
	size_t size, used;
};

static inline void text_add(struct text *text, const char *string)
{
	while (*string && text->used + 1 < text->size)
		text->buffer[text->used++] = *string++;
	text->buffer[text->used] = '\0';
}

static inline void text_add_hex(struct text *text, u64 value)
{
	char digits[17];
	unsigned int first = 16;

	digits[16] = '\0';
	do {
		digits[--first] = "0123456789abcdef"[value & 15];
		value >>= 4;
	} while (value);
	text_add(text, digits + first);
}

static inline void text_add_decimal(struct text *text, u64 value)
{
	char digits[21];
	unsigned int first = 20;

	digits[20] = '\0';
	do {
		digits[--first] = '0' + value % 10;
		value /= 10;
	} while (value);
	text_add(text, digits + first);
}

/* " name=value" */
static inline void text_add_field(struct text *text, const char *name, u64 value)
{
	text_add(text, " ");
	text_add(text, name);
	text_add(text, "=");
	text_add_hex(text, value);
}

#endif
