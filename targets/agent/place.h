/* SPDX-License-Identifier: MIT */
/*
 * Modes and places: the processor's mode that a probe runs in, the linear address of its code, the base of its
 * code segment, and pages that are mapped in another way while it runs (PROTOCOL.md, "Modes and places").
 */
#ifndef AGENT_PLACE_H
#define AGENT_PLACE_H

#include "types.h"

#define PROBE_PAGE_MAX 8

enum probe_base {
	PROBE_NUMBER,
	PROBE_SCRATCH,
	PROBE_CODE,
	PROBE_STACK
};

struct probe_value {
	uint64_t number; /* the value, or the distance from the base modulo 2^64 */
	uint32_t base;
};

enum probe_mode {
	PROBE_LONG,
	PROBE_PAE_PAGING,
	PROBE_32_BIT_PAGING,
	PROBE_NO_PAGING,
	PROBE_REAL,
	PROBE_VIRTUAL_8086
};

/* A page whose entry in the page tables is changed while the probe runs. */
struct probe_page {
	struct probe_value address;
	uint64_t set, clear;
	bool aliased; /* it maps the frame of `alias`, else the one that it maps anyway, or a fresh one */
	struct probe_value alias;
};

struct probe_place {
	uint32_t mode;
	bool has_linear, has_base;
	uint64_t linear; /* of the code's first byte */
	uint64_t base;	 /* of the code segment */
	uint32_t page_count;
	struct probe_page page[PROBE_PAGE_MAX];
};

struct probe_context;
struct probe_request;

/*
 * What an operating system provides for probes that ask for a mode or a place. All run on the CPU of the probe,
 * with interrupts off.
 */
struct probe_places {
	/*
	 * Before anything else of a probe: set the context's slot, start, selectors, code_base and cr3.
	 * NULL, or why this machine cannot do it; then finish() is called all the same.
	 */
	const char *(*prepare)(struct probe_context *context, const struct probe_request *request);
	/* As probe_enter(), for modes other than long mode; with the part that an exception in long mode ends. */
	void (*enter)(struct probe_context *context);
	const char *enter_start, *enter_end;
	/* Behind the probe: undo what prepare() did. */
	void (*finish)(struct probe_context *context);
};

#endif
