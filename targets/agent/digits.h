/* SPDX-License-Identifier: MIT */
#ifndef AGENT_DIGITS_H
#define AGENT_DIGITS_H

#include "types.h"

/* Digits that a 64-bit number can have, in base 10. */
#define DIGITS_MAX 20

/*
 * Write a number in base 10 or 16 (lower case), with zeros in front up to `width` digits (at most
 * DIGITS_MAX). Returns the number of digits; no NUL is written behind them.
 */
static inline unsigned int digits_write(char *text, uint64_t number, unsigned int base,
					unsigned int width)
{
	uint64_t rest = number;
	unsigned int count = 0;

	do
		count++;
	while (rest /= base);
	if (count < width)
		count = width;
	for (unsigned int i = count; i--; number /= base)
		text[i] = "0123456789abcdef"[number % base];
	return count;
}

#endif
