// SPDX-License-Identifier: MIT
/*
 * The addresses of Veneer's sections in the module; part of the core, since crash reports ask for
 * them in host mode.
 */
#include "core/host.h"

/* core.lds */
extern const char veneer_text_start[], veneer_text_end[], veneer_rodata_start[],
	veneer_rodata_end[], veneer_data_start[], veneer_data_end[];

bool host_image(unsigned int part, const char **start, const char **end)
{
	static const char *const parts[][2] = {
		{ veneer_text_start, veneer_text_end },
		{ veneer_rodata_start, veneer_rodata_end },
		{ veneer_data_start, veneer_data_end },
	};

	if (part >= COUNT_OF(parts))
		return false;
	*start = parts[part][0];
	*end = parts[part][1];
	return true;
}

/* A CPU that goes offline leaves guest mode before (hotplug.c). */
void *host_start_page(void)
{
	return NULL;
}
