/* SPDX-License-Identifier: MIT */
/*
 * Lines of the agent's protocol (PROTOCOL.md): taken apart, put together,
 * checked. No I/O, no state outside of the structures, no libc.
 */
#ifndef AGENT_LINE_H
#define AGENT_LINE_H

#include "types.h"

#define LINE_MAX_REQUEST 4096
#define LINE_MAX_PAIRS 64
#define LINE_NONCE_SIZE 8

enum line_status {
	LINE_OK,
	LINE_NOTHING, /* log text, or the line is not complete yet */
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

/* A line under construction; what does not fit is cut off and remembered. */
struct line_writer {
	char *text;
	size_t length;
	size_t size;
	bool overflow;
};

uint16_t line_crc(const char *text, size_t length);

/*
 * Take one byte. LINE_OK: reader->text holds a complete line, without its end
 * and terminated with NUL, until the next byte is given. LINE_TOO_LONG: a request ended that was
 * longer than allowed. Otherwise LINE_NOTHING.
 */
enum line_status line_take(struct line_reader *reader, char byte);

/*
 * Take a request apart. Writes NULs into the text, to which the request points
 * afterwards. LINE_NOTHING: it does not begin with '@'.
 */
enum line_status line_parse(char *text, size_t length, struct line_request *request);

/* Numbers and bytes as the protocol writes them; false if text is anything else. */
bool line_hex(const char *text, uint64_t *number);
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
void line_add_bytes(struct line_writer *writer, const char *key, const uint8_t *bytes,
		    size_t count);
/* Append checksum and LF. Returns the length; a line that overflowed is cut, but well-formed. */
size_t line_finish(struct line_writer *writer);

#endif
