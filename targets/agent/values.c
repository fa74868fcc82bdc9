/* SPDX-License-Identifier: MIT */
#include "values.h"

#include "line.h"

bool values_hex(const char **text, char separator, uint64_t *number)
{
	char part[17];
	unsigned int length = 0;
	const char *p = *text;

	while (*p && *p != separator) {
		if (length == sizeof(part) - 1)
			return false;
		part[length++] = *p++;
	}
	part[length] = '\0';
	*text = *p ? p + 1 : NULL;
	return line_hex(part, number);
}

bool values_pair(const char *value, char separator, uint64_t *first, uint64_t *second)
{
	return values_hex(&value, separator, first) && value && line_hex(value, second);
}

bool values_operand(const char *text, struct probe_value *value)
{
	static const char letters[] = {
		[PROBE_SCRATCH] = 's', [PROBE_CODE] = 'c', [PROBE_STACK] = 't'
	};

	value->base = PROBE_NUMBER;
	value->number = 0;
	for (uint32_t base = PROBE_SCRATCH; base <= PROBE_STACK; base++)
		if (*text == letters[base])
			value->base = base;
	if (value->base == PROBE_NUMBER || !text[1])
		return value->base == PROBE_NUMBER ? line_hex(text, &value->number) : true;

	bool negative = text[1] == '-';

	if (!line_hex(text + 1 + negative, &value->number))
		return false;
	if (negative)
		value->number = -value->number;
	return true;
}
