// SPDX-License-Identifier: MIT
/*
 * gcc's -fsanitize-coverage=trace-pc calls this at the beginning of every
 * basic block. One byte per address of the image says that it was reached.
 */
#include "os.h"

#define COVERAGE_BYTES (1 << 20)

unsigned char coverage_hits[COVERAGE_BYTES];

void __sanitizer_cov_trace_pc(void);

void __sanitizer_cov_trace_pc(void)
{
	unsigned long offset = (char *)__builtin_return_address(0) - os_image_start;

	if (offset < COVERAGE_BYTES)
		coverage_hits[offset] = 1;
}
