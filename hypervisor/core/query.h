/* SPDX-License-Identifier: MIT */
/* Veneer's answers to its hosts, as text that every host passes on unchanged. */
#ifndef VENEER_QUERY_H
#define VENEER_QUERY_H

#include "refusal.h"

/* How many entries of a trace fit into an answer. */
#define TRACE_MOST 48

/* The reason of a refusal as a sentence, with the CPU and the value that decided. */
void veneer_explain(const struct refusal *refusal, char *buffer, size_t size);

/* These write " key=value" pairs and return 0, or a negative errno. */
int veneer_query(u64 free_pages, char *buffer, size_t size);
int veneer_exits(unsigned int cpu, char *buffer, size_t size);
int veneer_trace(unsigned int cpu, unsigned int count, char *buffer, size_t size);

#endif
