/* SPDX-License-Identifier: MIT */
#include "print.h"

#include <stdbool.h>
#include <stdint.h>

#include "../agent/digits.h"
#include "os.h"

struct output {
	char *text;
	size_t size, length;
};

static void put(struct output *out, char c)
{
	if (out->length + 1 < out->size)
		out->text[out->length] = c;
	out->length++;
}

static void put_number(struct output *out, uint64_t number, unsigned int base, bool negative,
		       char pad, int width)
{
	char digits[DIGITS_MAX];
	int count = (int)digits_write(digits, number, base, 1);

	if (negative && pad == '0')
		put(out, '-');
	for (int i = count + negative; i < width; i++)
		put(out, pad);
	if (negative && pad != '0')
		put(out, '-');
	for (int i = 0; i < count; i++)
		put(out, digits[i]);
}

static void put_string(struct output *out, const char *text, int width)
{
	int length = 0;

	for (text = text ? text : "(null)"; *text; text++, length++)
		put(out, *text);
	for (; length < width; length++)
		put(out, ' ');
}

int print_format(char *buffer, size_t size, const char *format, va_list arguments)
{
	struct output out = { .text = buffer, .size = size };

	for (const char *p = format; *p; p++) {
		char pad = ' ';
		int width = 0, longs = 0;

		if (*p != '%') {
			put(&out, *p);
			continue;
		}
		for (p++; *p == '0' || *p == '-'; p++)
			pad = *p == '0' ? '0' : pad;
		for (; *p >= '0' && *p <= '9'; p++)
			width = width * 10 + *p - '0';
		for (; *p == 'l' || *p == 'z'; p++)
			longs++;

		switch (*p) {
		case 'd': {
			int64_t number = longs ? va_arg(arguments, int64_t)
					       : va_arg(arguments, int);

			put_number(&out, number < 0 ? -(uint64_t)number : (uint64_t)number, 10,
				   number < 0, pad, width);
			break;
		}
		case 'u':
		case 'x': {
			uint64_t number = longs ? va_arg(arguments, uint64_t)
						: va_arg(arguments, unsigned int);

			put_number(&out, number, *p == 'x' ? 16 : 10, false, pad, width);
			break;
		}
		case 'p':
			put_string(&out, "0x", 0);
			put_number(&out, (uint64_t)va_arg(arguments, void *), 16, false, pad,
				   width);
			break;
		case 's':
			put_string(&out, va_arg(arguments, const char *), width);
			break;
		case 'c':
			put(&out, (char)va_arg(arguments, int));
			break;
		case '\0':
			p--;
			break;
		default:
			put(&out, *p);
		}
	}
	if (size)
		buffer[out.length < size ? out.length : size - 1] = '\0';
	return (int)out.length;
}

int os_snprintf(char *buffer, size_t size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);

	int length = print_format(buffer, size, format, arguments);

	va_end(arguments);
	return length;
}
