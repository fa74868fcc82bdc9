/* SPDX-License-Identifier: MIT */
/*
 * What a subject that is linked into a bare image provides. In the image without a subject, `subject` is NULL
 * (none.c). Every function is called on the boot CPU, and never in what os_on_every_cpu() and the like run. What a
 * subject does not have is NULL: unload, exits and trace may be. Its TOML file claims what it has (unloadable,
 * counters, trace).
 */
#ifndef BARE_SUBJECT_H
#define BARE_SUBJECT_H

#include <stddef.h>

struct subject_ops {
	const char *name;
	/*
	 * Return 0, or a negative errno (as Linux numbers them) and the reason as text in why.
	 * option is the value of the request's opt= key, or NULL.
	 */
	int (*load)(const char *option, char *why, size_t size);
	int (*unload)(char *why, size_t size);
	/*
	 * These write key=value pairs with a space between two, and return 0, or a negative errno.
	 * targets/agent/PROTOCOL.md has the keys.
	 */
	int (*query)(char *buffer, size_t size);
	int (*exits)(unsigned int cpu, char *buffer, size_t size);
	int (*trace)(unsigned int cpu, unsigned int count, char *buffer, size_t size);
};

extern const struct subject_ops *const subject;

/*
 * Where a subject keeps its last exits, for an autopsy that reads the memory of a dead machine. A subject
 * that records its exits in rings defines this variable; any other subject does not define it.
 *
 * cpus is the address of a pointer to an array of pointers, one per CPU, and
 * cpu_count the address of an unsigned int with their number. In what such a pointer
 * points to lie, at the given offsets, the number of exits so far (8 bytes) and the
 * ring: exit n, counted from 1, is in entry n % entries. An entry begins with {u64 rip; u32 code, eax, ecx}.
 */
struct subject_trace {
	unsigned long long version, cpus, cpu_count, exits_offset, ring_offset, entries, entry_size;
};

extern const struct subject_trace subject_trace;

#endif
