/* SPDX-License-Identifier: MIT */
/*
 * Parsing and writing lines of the agent's protocol (PROTOCOL.md). No I/O, no state outside of the
 * structures, no libc.
 */
#ifndef AGENT_LINE_H
#define AGENT_LINE_H

#include "cpu_mask.h"
#include "types.h"

#define LINE_MAX_REQUEST 4096
#define LINE_MAX_PAIRS 64
#define LINE_NONCE_SIZE 8

enum line_status {
	LINE_OK,
	LINE_NOTHING, /* no request: the line is log text, or not complete yet */
	LINE_TOO_LONG,
	LINE_SYNTAX,
	LINE_CHECKSUM,
	LINE_VERSION,
};

struct line_pair {
	const char *key;
	const char *value;
};

struct line_request {
	char nonce[LINE_NONCE_SIZE + 1]; /* "-", or 8 hex digits */
	uint64_t id;
	const char *verb;
	unsigned int pairs;
	struct line_pair pair[LINE_MAX_PAIRS];
	const char *why; /* for LINE_SYNTAX: what is wrong, as a phrase */
};

/* Collects bytes until they are a line. */
struct line_reader {
	size_t length;
	size_t complete; /* length of the line in text, once there is one */
	bool too_long;
	char text[LINE_MAX_REQUEST + 2]; /* a CR and the final NUL */
};

/* A line that is being written. What does not fit is cut off, and sets `overflow`. */
struct line_writer {
	char *text;
	size_t length;
	size_t size;
	bool overflow;
};

uint16_t line_crc(const char *text, size_t length);

/*
 * Take one byte. LINE_OK: it completed a request, which is in reader->text without its line end and
 * terminated with NUL, until the next call. LINE_TOO_LONG: it completed a request that is
 * longer than allowed. LINE_NOTHING otherwise.
 */
enum line_status line_take(struct line_reader *reader, char byte);

/*
 * Parse a request. Writes NULs into the text, to which the pointers in `request` lead
 * afterwards. LINE_NOTHING: the text does not begin with '@'.
 */
enum line_status line_parse(char *text, size_t length, struct line_request *request);

/* Parse numbers and bytes in the protocol's notation; false if the text is not in it. */
bool line_hex(const char *text, uint64_t *number);
/* Up to CPU_MASK_CPUS / 4 hexadecimal digits. */
bool line_mask(const char *text, struct cpu_mask *mask);
bool line_decimal(const char *text, uint64_t *number);
bool line_bytes(const char *text, size_t digits, uint8_t *bytes);
size_t line_length(const char *text);
bool line_equal(const char *a, const char *b);

void line_start(struct line_writer *writer, char *buffer, size_t size);
void line_add(struct line_writer *writer, const char *text);
/* Like line_add, but a byte that the protocol forbids becomes '?'. */
void line_add_printable(struct line_writer *writer, const char *text);
void line_add_hex(struct line_writer *writer, const char *key, uint64_t number);
void line_add_hex_wide(struct line_writer *writer, const char *key, uint64_t number,
		       unsigned int digits);
void line_add_decimal(struct line_writer *writer, const char *key, uint64_t number);
/* Two digits for each byte, but zNN for NN zeros, if there are more than one. */
void line_add_bytes(struct line_writer *writer, const char *key, const uint8_t *bytes,
		    size_t count);
/* Append checksum and LF, which fit even if the line overflowed. Returns the length. */
size_t line_finish(struct line_writer *writer);

#endif
