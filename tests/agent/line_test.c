/* SPDX-License-Identifier: MIT */
/* Unit tests of targets/agent/line.c in user space. Exits with 1 after naming every failure. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "line.h"

static int failures;

static void check(bool holds, const char *what, const char *which)
{
	if (holds)
		return;
	printf("FAILED: %s: %s\n", what, which);
	failures++;
}

/* The status of a line that arrived in one piece, and the request in it. */
static enum line_status parse(const char *line, struct line_request *request)
{
	/* On the heap and without a spare byte, so that AddressSanitizer detects an access behind its end. */
	size_t length = strlen(line);
	char *text = malloc(length + 1);
	static char *kept;

	memcpy(text, line, length + 1);
	free(kept);
	kept = text;
	return line_parse(text, length, request);
}

static void test_crc(void)
{
	char number[8];

	check(line_crc("123456789", 9) == 0x29b1, "CRC-16/CCITT-FALSE", "check value");
	check(line_crc("", 0) == 0xffff, "CRC-16/CCITT-FALSE", "nothing");
	snprintf(number, sizeof(number), "%x", line_crc("A", 1));
	check(!strcmp(number, "b915"), "CRC-16/CCITT-FALSE", number);
}

static void test_parse_status(void)
{
	static const struct {
		const char *line;
		enum line_status status;
	} cases[] = {
		{ "", LINE_NOTHING },
		{ "some log text #1234", LINE_NOTHING },
		{ "=1 0badcafe 1 ok #0000", LINE_NOTHING },
		{ "@1 - 1 hello nonce=0badcafe #-", LINE_OK },
		{ "@1 0badcafe 1 run #-", LINE_OK },
		{ "@1  0badcafe  1  run  code=90   #-", LINE_OK },
		{ "@1 0badcafe 18446744073709551615 run #-", LINE_OK },
		{ "@1 0badcafe 1 run a= #-", LINE_OK },
		{ "@1 0badcafe 1 run text=a=b #-", LINE_OK },
		{ "@1 0badcafe 1 run x=#5 #-", LINE_OK },
		{ "@", LINE_SYNTAX },
		{ "@x", LINE_SYNTAX },
		{ "@ 1", LINE_SYNTAX },
		{ "@1", LINE_SYNTAX },
		{ "@1 #-", LINE_SYNTAX },
		{ "@1 0badcafe #-", LINE_SYNTAX },
		{ "@1 0badcafe 1 #-", LINE_SYNTAX },
		{ "@1 0badcafe 1 run", LINE_SYNTAX },
		{ "@1 0badcafe 1 run#-", LINE_SYNTAX },
		{ "@1 0badcafe 1 run #", LINE_SYNTAX },
		{ "@1 0badcafe 1 run #12", LINE_SYNTAX },
		{ "@1 0badcafe 1 run #ABCD", LINE_SYNTAX },
		{ "@1 0badcafe 1 run #12345", LINE_SYNTAX },
		{ "@1 0badcafe 1 run #- ", LINE_SYNTAX },
		{ "@1 badcafe 1 run #-", LINE_SYNTAX },
		{ "@1 0badcafe0 1 run #-", LINE_SYNTAX },
		{ "@1 0BADCAFE 1 run #-", LINE_SYNTAX },
		{ "@1 -- 1 run #-", LINE_SYNTAX },
		{ "@1 0badcafe 1a run #-", LINE_SYNTAX },
		{ "@1 0badcafe -1 run #-", LINE_SYNTAX },
		{ "@1 0badcafe 18446744073709551616 run #-", LINE_SYNTAX },
		{ "@1 0badcafe 1 run code #-", LINE_SYNTAX },
		{ "@1 0badcafe 1 run =90 #-", LINE_SYNTAX },
		{ "@1 0badcafe 1 run a\tb=1 #-", LINE_SYNTAX },
		{ "@1 0badcafe 1 run a=\x80 #-", LINE_SYNTAX },
		{ "@1 0badcafe 1 run #0000", LINE_CHECKSUM },
		{ "@2 0badcafe 1 run #-", LINE_VERSION },
		{ "@11 0badcafe 1 run #-", LINE_VERSION },
		{ "@2", LINE_VERSION },
		{ "@999999999999999999999 whatever it looks like", LINE_VERSION },
	};
	struct line_request request;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		enum line_status status = parse(cases[i].line, &request);

		check(status == cases[i].status, "status", cases[i].line);
		check(status != LINE_SYNTAX || request.why, "a reason", cases[i].line);
	}
}

static void test_parse_fields(void)
{
	struct line_request request;
	char line[64];

	parse("@1 0badcafe 7 run code=90 on=f mem=0:00 mem=8:ff t= #-", &request);
	check(!strcmp(request.nonce, "0badcafe") && request.id == 7 && !strcmp(request.verb, "run"),
	      "fields", "head");
	check(request.pairs == 5, "fields", "number of pairs");
	check(!strcmp(request.pair[0].key, "code") && !strcmp(request.pair[0].value, "90"),
	      "fields", "first");
	check(!strcmp(request.pair[3].key, "mem") && !strcmp(request.pair[3].value, "8:ff"),
	      "fields", "repeated");
	check(!strcmp(request.pair[4].key, "t") && !*request.pair[4].value, "fields",
	      "empty value");

	/* With its checksum, and with one bit of it wrong. */
	uint16_t crc = line_crc("@1 - 3 x a=1", 12);

	snprintf(line, sizeof(line), "@1 - 3 x a=1 #%04x", crc);
	check(parse(line, &request) == LINE_OK, "checksum", line);
	snprintf(line, sizeof(line), "@1 - 3 x a=1 #%04x", crc ^ 1);
	check(parse(line, &request) == LINE_CHECKSUM, "checksum", line);
}

static void test_parse_many_pairs(void)
{
	char line[LINE_MAX_REQUEST + 1] = "@1 - 1 x";
	struct line_request request;

	for (int i = 0; i < LINE_MAX_PAIRS; i++)
		strcat(line, " k=v");

	size_t length = strlen(line);

	strcpy(line + length, " #-");
	check(parse(line, &request) == LINE_OK && request.pairs == LINE_MAX_PAIRS, "pairs",
	      "as many as there may be");
	strcpy(line + length, " k=v #-");
	check(parse(line, &request) == LINE_SYNTAX, "pairs", "one too many");
}

/* Feed bytes; the status of the last one. */
static enum line_status feed(struct line_reader *reader, const char *bytes, size_t length)
{
	enum line_status status = LINE_NOTHING;

	for (size_t i = 0; i < length; i++) {
		status = line_take(reader, bytes[i]);
		check(status == LINE_NOTHING || i + 1 == length, "reader", "a line before its end");
	}
	return status;
}

static void test_reader(void)
{
	struct line_reader *reader = calloc(1, sizeof(*reader));
	char *big = malloc(LINE_MAX_REQUEST + 3);

	check(feed(reader, "@abc\n", 5) == LINE_OK && reader->complete == 4, "reader", "a line");
	check(!strcmp(reader->text, "@abc"), "reader", "its text");
	check(feed(reader, "@abc\r\n", 6) == LINE_OK && !strcmp(reader->text, "@abc"), "reader",
	      "CR LF");
	check(feed(reader, "@a\r\r\n", 5) == LINE_OK && !strcmp(reader->text, "@a\r"), "reader",
	      "one CR is ignored");
	check(feed(reader, "log\n", 4) == LINE_NOTHING, "reader", "log text");
	check(feed(reader, "\n", 1) == LINE_NOTHING, "reader", "an empty line");
	check(feed(reader, "\r\n", 2) == LINE_NOTHING, "reader", "CR LF alone");
	check(feed(reader, "x@1\n", 4) == LINE_NOTHING, "reader", "@ inside of log text");
	check(feed(reader, "@\0b\n", 4) == LINE_OK && reader->complete == 3, "reader",
	      "NUL in a line");

	memset(big, '@', LINE_MAX_REQUEST + 3);
	big[LINE_MAX_REQUEST] = '\n';
	check(feed(reader, big, LINE_MAX_REQUEST + 1) == LINE_OK, "reader", "4096 bytes");
	check(reader->complete == LINE_MAX_REQUEST, "reader", "length of 4096 bytes");
	big[LINE_MAX_REQUEST] = '\r';
	big[LINE_MAX_REQUEST + 1] = '\n';
	check(feed(reader, big, LINE_MAX_REQUEST + 2) == LINE_OK, "reader", "4096 bytes, CR LF");
	big[LINE_MAX_REQUEST] = '@';
	check(feed(reader, big, LINE_MAX_REQUEST + 2) == LINE_TOO_LONG, "reader", "4097 bytes");
	for (int i = 0; i < 100000; i++)
		line_take(reader, i ? 'x' : '@');
	check(feed(reader, "\n", 1) == LINE_TOO_LONG, "reader", "100000 bytes");
	for (int i = 0; i < 100000; i++)
		line_take(reader, 'x');
	check(feed(reader, "\n", 1) == LINE_NOTHING, "reader", "100000 bytes of log text");
	check(feed(reader, "@ok\n", 4) == LINE_OK && !strcmp(reader->text, "@ok"), "reader",
	      "the line after it");
	free(big);
	free(reader);
}

static void test_numbers(void)
{
	uint64_t number;
	uint8_t bytes[2];

	check(line_hex("0", &number) && number == 0, "hex", "0");
	check(line_hex("ffffffffffffffff", &number) && number == UINT64_MAX, "hex", "the largest");
	check(line_hex("0c0000000000000000", &number) == false, "hex",
	      "more than 64 bits behind a zero");
	check(line_hex("0c000000000000000", &number) && number == 0xc000000000000000, "hex",
	      "17 digits, the first a zero");
	check(!line_hex("10000000000000000", &number), "hex", "65 bits");
	check(!line_hex("", &number) && !line_hex("0x1", &number) && !line_hex("A", &number), "hex",
	      "no number");
	check(line_decimal("18446744073709551615", &number) && number == UINT64_MAX, "decimal",
	      "the largest");
	check(!line_decimal("18446744073709551616", &number), "decimal", "one more");
	check(!line_decimal("", &number) && !line_decimal("a", &number) &&
		      !line_decimal("+1", &number),
	      "decimal", "no number");
	check(line_bytes("00ff", 4, bytes) && bytes[0] == 0 && bytes[1] == 0xff, "bytes", "two");
	check(line_bytes("", 0, bytes), "bytes", "none");
	check(!line_bytes("0", 1, bytes) && !line_bytes("0g", 2, bytes) &&
		      !line_bytes("FF", 2, bytes),
	      "bytes", "wrong");
}

static void test_masks(void)
{
	static const unsigned int cpus[] = { 0, 3, 63, 64, 71, 128, 255 };
	char all[CPU_MASK_CPUS / 4 + 2];
	struct cpu_mask mask;

	check(line_mask("5", &mask) && cpu_mask_has(&mask, 0) && !cpu_mask_has(&mask, 1) &&
		      cpu_mask_has(&mask, 2) && cpu_mask_count(&mask) == 2,
	      "mask", "the first word");
	check(line_mask("80f0000000000000001", &mask) && cpu_mask_has(&mask, 0) &&
		      cpu_mask_has(&mask, 64 + 11) && cpu_mask_count(&mask) == 6,
	      "mask", "two words");
	check(cpu_mask_below(&mask, 64) == 1 && cpu_mask_below(&mask, 65) == 2 &&
		      cpu_mask_below(&mask, 68) == 5 && cpu_mask_below(&mask, 0) == 0,
	      "mask", "below");
	check(cpu_mask_beyond(&mask, 75) && !cpu_mask_beyond(&mask, 76), "mask", "beyond");
	memset(all, 'f', sizeof(all));
	all[CPU_MASK_CPUS / 4] = '\0';
	check(line_mask(all, &mask) && cpu_mask_count(&mask) == CPU_MASK_CPUS, "mask", "all CPUs");
	all[CPU_MASK_CPUS / 4] = 'f';
	all[CPU_MASK_CPUS / 4 + 1] = '\0';
	check(!line_mask(all, &mask), "mask", "one digit more");
	check(!line_mask("", &mask) && !line_mask("F", &mask) && !line_mask("0x1", &mask), "mask",
	      "no number");
	for (size_t i = 0; i < sizeof(cpus) / sizeof(*cpus); i++) {
		mask = cpu_mask_of(cpus[i]);
		check(cpu_mask_has(&mask, cpus[i]) && cpu_mask_count(&mask) == 1 &&
			      !cpu_mask_below(&mask, cpus[i]) &&
			      cpu_mask_below(&mask, cpus[i] + 1) == 1,
		      "mask", "one CPU");
	}
}

static void test_writer(void)
{
	static const uint8_t bytes[] = { 0x00, 0xab };
	static const uint8_t zeros[] = { 0, 0, 1, 0, 2, 0, 0, 0 };
	static const uint8_t many[0xff + 3] = { 0 };
	struct line_writer writer;
	char buffer[128];

	line_start(&writer, buffer, sizeof(buffer));
	line_add(&writer, "=1 - 0 ok");
	line_add_hex(&writer, "h", 0);
	line_add_hex(&writer, "H", UINT64_MAX);
	line_add_hex_wide(&writer, "w", 0xe, 2);
	line_add_decimal(&writer, "d", 0);
	line_add_decimal(&writer, "D", UINT64_MAX);
	line_add_bytes(&writer, "b", bytes, sizeof(bytes));
	line_add_bytes(&writer, "z", zeros, sizeof(zeros));
	line_add_bytes(&writer, "m", many, sizeof(many));
	line_add_bytes(&writer, "o", many, 0xff + 1);
	line_add(&writer, " text=");
	line_add_printable(&writer, "a\n\x80~");

	size_t length = line_finish(&writer);
	const char *expected =
		"=1 - 0 ok h=0 H=ffffffffffffffff w=0e d=0 D=18446744073709551615 b=00ab "
		"z=z02010002z03 m=zffz03 o=zff00 text=a??~";
	char whole[160];

	snprintf(whole, sizeof(whole), "%s #%04x\n", expected,
		 line_crc(expected, strlen(expected)));
	check(length == strlen(whole) && !memcmp(buffer, whole, length), "writer", "everything");
	check(!writer.overflow, "writer", "no overflow");

	/* For every size of the buffer, the line stays in it and is well-formed. */
	for (size_t size = 7; size < 40; size++) {
		char *small = malloc(size);

		line_start(&writer, small, size);
		line_add(&writer, "=1 0badcafe 12345 ok rip=0");
		length = line_finish(&writer);
		check(length <= size && small[length - 1] == '\n' && small[length - 6] == '#',
		      "writer", "a small buffer");
		check(writer.overflow == (size < 33), "writer", "overflow is remembered");
		free(small);
	}
}

static uint32_t random_state = 1;

static uint32_t random_below(uint32_t limit)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state % limit;
}

/* Damaged lines must give a status of the enum, with no access outside of the line. */
static void test_damaged_lines(void)
{
	static const char *const seeds[] = {
		"@1 - 1 hello nonce=0badcafe #-",
		"@1 0badcafe 2 run code=0fa2 on=f once=1 rax=s10 mem=0:00ff read=0:8 #-",
		"@1 0badcafe 3 subject do=trace cpu=0 n=5 #1234",
	};
	unsigned int accepted = 0;

	for (int round = 0; round < 300000; round++) {
		const char *seed = seeds[random_below(3)];
		size_t length = strlen(seed);
		char *text = malloc(length + 1);
		struct line_request request;

		memcpy(text, seed, length + 1);
		for (uint32_t changes = random_below(4); changes; changes--)
			text[random_below((uint32_t)length)] = (char)random_below(256);
		if (!random_below(4))
			length = random_below((uint32_t)length + 1);
		text = realloc(text, length + 1);
		text[length] = '\0';

		enum line_status status = line_parse(text, length, &request);

		check(status == LINE_OK || status == LINE_NOTHING || status == LINE_SYNTAX ||
			      status == LINE_CHECKSUM || status == LINE_VERSION,
		      "damaged", "status");
		if (status == LINE_OK) {
			accepted++;
			check(request.verb > text && request.verb < text + length, "damaged",
			      "verb inside");
			for (unsigned int i = 0; i < request.pairs; i++)
				check(request.pair[i].key > request.verb &&
					      request.pair[i].value > request.pair[i].key &&
					      request.pair[i].value +
							      strlen(request.pair[i].value) <
						      text + length + 1,
				      "damaged", "pair inside");
		}
		free(text);
	}
	/* Some damaged lines must still be valid, or only refusals were tested. */
	check(accepted > 1000, "damaged", "enough lines are still good");
}

int main(void)
{
	test_crc();
	test_parse_status();
	test_parse_fields();
	test_parse_many_pairs();
	test_reader();
	test_numbers();
	test_masks();
	test_writer();
	test_damaged_lines();
	if (failures)
		printf("%d failures\n", failures);
	return failures ? 1 : 0;
}
