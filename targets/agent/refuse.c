/* SPDX-License-Identifier: MIT */
#include "refuse.h"

#include "digits.h"

static char *append(struct probe_outcome *outcome, char *to, const char *text)
{
	while (*text && to < outcome->why + sizeof(outcome->why) - 1)
		*to++ = *text++;
	*to = '\0';
	return to;
}

bool refuse(struct probe_outcome *outcome, const char *reason)
{
	append(outcome, outcome->why, reason);
	outcome->refused = true;
	return false;
}

bool refuse_value(struct probe_outcome *outcome, const char *what, uint64_t value,
		  const char *reason)
{
	char digits[DIGITS_MAX + 1], *to;

	digits[digits_write(digits, value, 16, 1)] = '\0';
	to = append(outcome, outcome->why, what);
	to = append(outcome, to, digits);
	append(outcome, to, reason);
	outcome->refused = true;
	return false;
}
