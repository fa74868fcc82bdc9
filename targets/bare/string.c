/* SPDX-License-Identifier: MIT */
/* The four functions that gcc calls in freestanding programs, too (GCC manual, "Standards"). */
#include <stddef.h>

void *memcpy(void *to, const void *from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *a, const void *b, size_t size);

void *memcpy(void *to, const void *from, size_t size)
{
	void *result = to;
	size_t words = size / 8;

	size %= 8;
	asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
	asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
	return result;
}

void *memmove(void *to, const void *from, size_t size)
{
	char *d = to;
	const char *s = from;

	if (d <= s || d >= s + size)
		return memcpy(to, from, size);
	while (size--) {
		/* The barrier keeps the compiler from making this loop a call of memmove. */
		d[size] = s[size];
		asm volatile("" : : : "memory");
	}
	return to;
}

void *memset(void *to, int value, size_t size)
{
	void *result = to;
	size_t words = size / 8;

	size %= 8;
	asm volatile("rep stosq"
		     : "+D"(to), "+c"(words)
		     : "a"((unsigned char)value * 0x0101010101010101ull)
		     : "memory");
	asm volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
	return result;
}

int memcmp(const void *a, const void *b, size_t size)
{
	const unsigned char *p = a, *q = b;

	for (; size; size--, p++, q++)
		if (*p != *q)
			return *p < *q ? -1 : 1;
	return 0;
}
