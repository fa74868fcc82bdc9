/* SPDX-License-Identifier: MIT */
#include "line.h"

#include "digits.h"

/* Room for " #XXXX" and LF, which line_finish() always needs. */
#define TRAILER 7

uint16_t line_crc(const char *text, size_t length)
{
	/* CRC-16/CCITT-FALSE, four bits at a time. */
	static const uint16_t table[16] = {
		0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
		0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef,
	};
	uint16_t crc = 0xffff;

	for (size_t i = 0; i < length; i++) {
		uint8_t byte = (uint8_t)text[i];

		crc = (uint16_t)(crc << 4) ^ table[(crc >> 12) ^ (byte >> 4)];
		crc = (uint16_t)(crc << 4) ^ table[(crc >> 12) ^ (byte & 15)];
	}
	return crc;
}

enum line_status line_take(struct line_reader *reader, char byte)
{
	if (byte != '\n') {
		if (reader->length <= LINE_MAX_REQUEST)
			reader->text[reader->length++] = byte;
		else
			reader->too_long = true;
		return LINE_NOTHING;
	}

	size_t length = reader->length;
	bool too_long = reader->too_long;
	bool request = length && reader->text[0] == '@';

	reader->length = 0;
	reader->too_long = false;
	if (!too_long && length && reader->text[length - 1] == '\r')
		length--;
	reader->text[length] = '\0';
	reader->complete = length;
	if (!request)
		return LINE_NOTHING;
	return too_long || length > LINE_MAX_REQUEST ? LINE_TOO_LONG : LINE_OK;
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

bool line_hex(const char *text, uint64_t *number)
{
	uint64_t value = 0;
	size_t i;

	for (i = 0; text[i]; i++) {
		int digit = digit_value(text[i]);

		if (digit < 0 || value >> 60)
			return false;
		value = value << 4 | (unsigned int)digit;
	}
	*number = value;
	return i > 0;
}

bool line_mask(const char *text, struct cpu_mask *mask)
{
	size_t length = line_length(text);

	*mask = (struct cpu_mask){ .word = { 0 } };
	if (!length || length > CPU_MASK_CPUS / 4)
		return false;
	for (size_t i = 0; i < length; i++) {
		int digit = digit_value(text[length - 1 - i]);

		if (digit < 0)
			return false;
		mask->word[i / 16] |= (uint64_t)digit << i % 16 * 4;
	}
	return true;
}

bool line_decimal(const char *text, uint64_t *number)
{
	uint64_t value = 0;
	size_t i;

	for (i = 0; text[i]; i++) {
		uint64_t digit = (uint64_t)(text[i] - '0');

		if (text[i] < '0' || text[i] > '9' || value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*number = value;
	return i > 0;
}

bool line_bytes(const char *text, size_t count, uint8_t *bytes)
{
	for (size_t i = 0; i + 1 < count; i += 2) {
		int high = digit_value(text[i]), low = digit_value(text[i + 1]);

		if (high < 0 || low < 0)
			return false;
		*bytes++ = (uint8_t)(high << 4 | low);
	}
	return count % 2 == 0;
}

size_t line_length(const char *text)
{
	size_t length = 0;

	while (text[length])
		length++;
	return length;
}

bool line_equal(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

static enum line_status syntax(struct line_request *request, const char *why)
{
	request->why = why;
	return LINE_SYNTAX;
}

/* The next word of the line, terminated with NUL; NULL behind the last word. */
static char *next_word(char **rest)
{
	char *word = *rest;

	while (*word == ' ')
		word++;
	if (!*word)
		return NULL;

	char *end = word;

	while (*end && *end != ' ')
		end++;
	*rest = *end ? end + 1 : end;
	*end = '\0';
	return word;
}

/* Check the checksum at the end of the line, and cut it off. */
static enum line_status check_end(char *text, size_t length, struct line_request *request)
{
	size_t end = length;

	while (end && text[end - 1] != '#')
		end--;
	if (end < 2 || text[end - 2] != ' ')
		return syntax(request, "no checksum at the end (#XXXX, or #- by hand)");

	const char *sum = text + end;
	uint64_t crc;

	if (!line_equal(sum, "-")) {
		if (length - end != 4 || !line_hex(sum, &crc))
			return syntax(request, "the checksum is not 4 lower-case hex digits");
		if (crc != line_crc(text, end - 2))
			return LINE_CHECKSUM;
	}
	text[end - 2] = '\0';
	return LINE_OK;
}

static bool take_nonce(const char *word, struct line_request *request)
{
	uint64_t unused;
	size_t length = line_length(word);

	if (!line_equal(word, "-") && (length != LINE_NONCE_SIZE || !line_hex(word, &unused)))
		return false;
	for (size_t i = 0; i <= length; i++)
		request->nonce[i] = word[i];
	return true;
}

static enum line_status take_pairs(char *rest, struct line_request *request)
{
	char *word;

	while ((word = next_word(&rest))) {
		char *equals = word;

		while (*equals && *equals != '=')
			equals++;
		if (!*equals || equals == word)
			return syntax(request, "something after the verb is not key=value");
		if (request->pairs == LINE_MAX_PAIRS)
			return syntax(request, "more than 64 keys");
		*equals = '\0';
		request->pair[request->pairs++] =
			(struct line_pair){ .key = word, .value = equals + 1 };
	}
	return LINE_OK;
}

enum line_status line_parse(char *text, size_t length, struct line_request *request)
{
	char *rest = text + 1, *word;

	request->pairs = 0;
	request->why = NULL;
	request->verb = NULL;
	if (!length || text[0] != '@')
		return LINE_NOTHING;
	for (size_t i = 0; i < length; i++)
		if (text[i] < ' ' || text[i] > '~')
			return syntax(request, "a byte that is not printable ASCII");

	/* Check the version first: the rest of the line may have another syntax in another version. */
	if (text[1] != '1' || (text[2] && text[2] != ' ')) {
		const char *p = text + 1;

		while (*p >= '0' && *p <= '9')
			p++;
		return p > text + 1 && (*p == ' ' || !*p)
			       ? LINE_VERSION
			       : syntax(request, "no version behind the @");
	}

	enum line_status status = check_end(text, length, request);

	if (status != LINE_OK)
		return status;
	next_word(&rest);
	word = next_word(&rest);
	if (!word || !take_nonce(word, request))
		return syntax(request, "the nonce is not 8 lower-case hex digits, nor -");
	word = next_word(&rest);
	if (!word || !line_decimal(word, &request->id))
		return syntax(request, "the id is not a decimal number");
	request->verb = next_word(&rest);
	if (!request->verb)
		return syntax(request, "no verb");
	return take_pairs(rest, request);
}

void line_start(struct line_writer *writer, char *buffer, size_t size)
{
	*writer = (struct line_writer){ .text = buffer, .size = size };
}

static void add_byte(struct line_writer *writer, char byte)
{
	if (writer->length + TRAILER < writer->size)
		writer->text[writer->length++] = byte;
	else
		writer->overflow = true;
}

void line_add(struct line_writer *writer, const char *text)
{
	while (*text)
		add_byte(writer, *text++);
}

void line_add_printable(struct line_writer *writer, const char *text)
{
	for (; *text; text++)
		add_byte(writer, *text < ' ' || *text > '~' ? '?' : *text);
}

static void add_key(struct line_writer *writer, const char *key)
{
	add_byte(writer, ' ');
	line_add(writer, key);
	add_byte(writer, '=');
}

static void add_number(struct line_writer *writer, uint64_t number, unsigned int base,
		       unsigned int width)
{
	char digits[DIGITS_MAX];
	unsigned int count = digits_write(digits, number, base, width);

	for (unsigned int i = 0; i < count; i++)
		add_byte(writer, digits[i]);
}

void line_add_hex_wide(struct line_writer *writer, const char *key, uint64_t number,
		       unsigned int width)
{
	add_key(writer, key);
	add_number(writer, number, 16, width);
}

void line_add_hex(struct line_writer *writer, const char *key, uint64_t number)
{
	line_add_hex_wide(writer, key, number, 1);
}

void line_add_decimal(struct line_writer *writer, const char *key, uint64_t number)
{
	add_key(writer, key);
	add_number(writer, number, 10, 1);
}

void line_add_bytes(struct line_writer *writer, const char *key, const uint8_t *bytes, size_t count)
{
	size_t zeros;

	add_key(writer, key);
	for (size_t i = 0; i < count; i += zeros ? zeros : 1) {
		for (zeros = 0; i + zeros < count && zeros < 0xff && !bytes[i + zeros];)
			zeros++;
		if (zeros > 1)
			line_add(writer, "z");
		add_number(writer, zeros > 1 ? zeros : bytes[i], 16, 2);
	}
}

size_t line_finish(struct line_writer *writer)
{
	uint16_t crc = line_crc(writer->text, writer->length);
	char *end = writer->text + writer->length;

	*end++ = ' ';
	*end++ = '#';
	end += digits_write(end, crc, 16, 4);
	*end = '\n';
	writer->length += TRAILER;
	return writer->length;
}
