/* SPDX-License-Identifier: MIT */
/* What Veneer says of itself, as text: every host hands the same words on. */
#ifndef VENEER_QUERY_H
#define VENEER_QUERY_H

#include "refusal.h"

/* The most entries of a trace that fit where it is asked for. */
#define TRACE_MOST 48

/* Why it was refused: a sentence, the CPU, and the value that decided. */
void veneer_explain(const struct refusal *refusal, char *buffer, size_t size);

/* These write " key=value" pairs and return 0, or a negative errno. */
int veneer_query(u64 free_pages, char *buffer, size_t size);
int veneer_exits(unsigned int cpu, char *buffer, size_t size);
int veneer_trace(unsigned int cpu, unsigned int count, char *buffer, size_t size);

#endif
