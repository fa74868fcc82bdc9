// SPDX-License-Identifier: MIT
/*
 * The registers of x87, SSE, AVX and AVX-512 must keep their values over preemption and over instructions that
 * exit, and a sum that is computed with them must be the same in every round.
 */
#define _GNU_SOURCE
#include "fpu.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "work.h"

#define TURNS 40
#define MXCSR_MASKS 0x1f80
#define CONTROL_DEFAULT 0x037f

_Static_assert(offsetof(struct fpu_state, vector) == FPU_VECTOR, "fpu.h");
_Static_assert(offsetof(struct fpu_state, mask) == FPU_MASK, "fpu.h");
_Static_assert(offsetof(struct fpu_state, x87) == FPU_X87, "fpu.h");
_Static_assert(offsetof(struct fpu_state, mxcsr) == FPU_MXCSR, "fpu.h");
_Static_assert(offsetof(struct fpu_state, control) == FPU_CONTROL, "fpu.h");
_Static_assert(offsetof(struct fpu_state, cpuid) == FPU_CPUID, "fpu.h");

static struct fpu_state given, found;

static const struct width {
	const char *name;
	void (*hold)(const struct fpu_state *given, struct fpu_state *found, uint64_t turns);
	int registers;
	size_t bytes;
	int masks;
} sse = { "XMM", fpu_hold_sse, 16, 16, 0 }, avx = { "YMM", fpu_hold_avx, 16, 32, 0 },
  avx512 = { "ZMM", fpu_hold_avx512, 32, 64, 8 };

static const struct width *widest(void)
{
	/* __builtin_cpu_supports() takes XCR0 into account. */
	if (__builtin_cpu_supports("avx512f"))
		return &avx512;
	return __builtin_cpu_supports("avx") ? &avx : &sse;
}

static void choose_values(const struct width *width)
{
	memset(&given, 0, sizeof(given));
	memset(&found, 0, sizeof(found));
	for (int i = 0; i < width->registers; i++) {
		for (size_t at = 0; at < width->bytes; at += 8) {
			uint64_t number = work_random();

			memcpy(given.vector[i] + at, &number, sizeof(number));
		}
	}
	for (int i = 0; i < width->masks; i++)
		given.mask[i] = work_random() & 0xffff;
	for (int i = 0; i < 8; i++) {
		long double number = (long double)(int64_t)work_random() / 3;

		memcpy(given.x87[i], &number, 10);
	}
	/* Random rounding control; for SSE, denormals-are-zero, too. */
	given.control = CONTROL_DEFAULT | (uint16_t)(work_random() & 0xc00);
	given.mxcsr = MXCSR_MASKS | (uint32_t)(work_random() & 0xe000);
}

static void compare(const char *name, int number, const void *wanted, const void *is, size_t bytes)
{
	uint64_t first[2];
	size_t at;

	if (!memcmp(wanted, is, bytes))
		return;
	for (at = 0; at + 8 < bytes; at += 8)
		if (memcmp((const char *)wanted + at, (const char *)is + at, 8))
			break;
	memset(first, 0, sizeof(first));
	memcpy(&first[0], (const char *)wanted + at, bytes - at < 8 ? bytes - at : 8);
	memcpy(&first[1], (const char *)is + at, bytes - at < 8 ? bytes - at : 8);
	work_fail("%s%d has changed while it was kept: %#lx at byte %zu was %#lx", name, number,
		  (unsigned long)first[1], at, (unsigned long)first[0]);
}

static void compare_all(const struct width *width)
{
	for (int i = 0; i < width->registers; i++)
		compare(width->name, i, given.vector[i], found.vector[i], width->bytes);
	for (int i = 0; i < width->masks; i++)
		compare("k", i, &given.mask[i], &found.mask[i], 8);
	for (int i = 0; i < 8; i++)
		compare("ST", i, given.x87[i], found.x87[i], 10);
	if (given.control != found.control)
		work_fail("the x87's control word was %#x and is %#x", given.control,
			  found.control);
	if ((given.mxcsr ^ found.mxcsr) & 0xffc0)
		work_fail("MXCSR was %#x and is %#x", given.mxcsr, found.mxcsr);
}

/* CPUID leaf 0 and two sums, of the worker's first round. */
static void compare_with_first(void)
{
	static struct {
		uint32_t cpuid[4];
		double sum;
		long double long_sum;
		bool known;
	} first;
	double sum = 0, x = 1.5;
	long double long_sum = 0;

	for (int i = 1; i < 2000; i++) {
		x = x * 1.0000001 + 1.0 / i;
		sum += x / 3.0;
		long_sum += 1.0L / i;
	}
	if (!first.known) {
		memcpy(first.cpuid, found.cpuid, sizeof(first.cpuid));
		first.sum = sum;
		first.long_sum = long_sum;
		first.known = true;
	}
	if (sum != first.sum)
		work_fail("a sum of doubles is %a, and was %a", sum, first.sum);
	if (long_sum != first.long_sum)
		work_fail("a sum of long doubles is %La, and was %La", long_sum, first.long_sum);
	for (int i = 0; i < 4; i++)
		if (found.cpuid[i] != first.cpuid[i])
			work_fail("register %d of CPUID's leaf 0 is %#x, and was %#x", i,
				  found.cpuid[i], first.cpuid[i]);
}

static void go_round(void)
{
	const struct width *width = widest();

	choose_values(width);
	width->hold(&given, &found, TURNS);
	compare_all(width);
	compare_with_first();
}

const struct work_kind work_fpu = { .name = "fpu", .round = go_round };
