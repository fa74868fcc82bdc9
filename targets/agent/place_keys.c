/* SPDX-License-Identifier: MIT */
#include "place_keys.h"

#include "line.h"
#include "values.h"

bool place_take_mode(const char *value, struct probe_place *place, struct agent_error *error)
{
	static const char *const modes[] = {
		[PROBE_LONG] = "long",
		[PROBE_PAE_PAGING] = "pae-paging",
		[PROBE_32_BIT_PAGING] = "32-bit-paging",
		[PROBE_NO_PAGING] = "no-paging",
		[PROBE_REAL] = "real",
		[PROBE_VIRTUAL_8086] = "virtual-8086",
	};

	for (uint32_t i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
		if (!line_equal(value, modes[i]))
			continue;
		place->mode = i;
		return true;
	}
	return agent_refuse(
		error, "argument",
		"mode: long, pae-paging, 32-bit-paging, no-paging, real or virtual-8086", NULL,
		NULL);
}

/* The part of a value up to ':', which may be more than a number; *text is then behind it, or NULL. */
static bool take_part(const char **text, struct probe_value *value)
{
	char part[24];
	size_t length = 0;
	const char *p = *text;

	while (*p && *p != ':') {
		if (length == sizeof(part) - 1)
			return false;
		part[length++] = *p++;
	}
	part[length] = '\0';
	*text = *p ? p + 1 : NULL;
	return length && values_operand(part, value);
}

bool place_take_page(const char *value, struct probe_place *place, struct agent_error *error)
{
	struct probe_page *page = &place->page[place->page_count];
	const char *why = NULL;

	if (place->page_count == PROBE_PAGE_MAX)
		return agent_refuse(error, "argument", "page: at most 8 pages", NULL, NULL);
	page->aliased = false;
	if (!take_part(&value, &page->address) || !value || !values_hex(&value, ':', &page->set) ||
	    !value || !values_hex(&value, ':', &page->clear))
		why = "page: ADDRESS:SET:CLEAR or ADDRESS:SET:CLEAR:ADDRESS, as in s1000:0:1";
	else if (page->set & page->clear)
		why = "page: a bit that is to be set and cleared";
	else if (value) {
		page->aliased = true;
		if (!take_part(&value, &page->alias) || value)
			why = "page: the second address is a number, or s, c or t with an offset";
	}
	if (why)
		return agent_refuse(error, "argument", why, NULL, NULL);
	place->page_count++;
	return true;
}
