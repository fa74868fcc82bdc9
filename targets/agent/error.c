/* SPDX-License-Identifier: MIT */
#include "error.h"

bool agent_refuse(struct agent_error *error, const char *code, const char *first,
		  const char *second, const char *third)
{
	const char *parts[] = { first, second, third };
	size_t length = 0;

	error->code = code;
	for (unsigned int i = 0; i < 3; i++)
		for (const char *p = parts[i]; p && *p && length < sizeof(error->text) - 1; p++)
			error->text[length++] = *p;
	error->text[length] = '\0';
	return false;
}
