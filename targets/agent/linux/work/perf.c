// SPDX-License-Identifier: MIT
/* A performance counter of cycles: each overflow raises an NMI, whose handler writes a sample. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "work.h"

#define PAGE 4096
/* Cycles between two samples, and samples of a round; the buffer has room for more. */
#define PERIOD 400000
#define SAMPLES 8
#define BUFFER_PAGES 8
/* Turns of the loop between two looks at the counter, and the maximum number of looks. */
#define TURNS 10000
#define LOOKS 100000

struct sample {
	struct perf_event_header header;
	uint64_t ip, period;
};

/* Counts the worker itself in user mode, so that the kernel's work for other processes does not count. */
static int open_counter(void)
{
	struct perf_event_attr attributes = {
		.type = PERF_TYPE_HARDWARE,
		.size = sizeof(attributes),
		.config = PERF_COUNT_HW_CPU_CYCLES,
		.sample_period = PERIOD,
		.sample_type = PERF_SAMPLE_IP | PERF_SAMPLE_PERIOD,
		.disabled = 1,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};

	return (int)syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static uint64_t spin(int counter)
{
	uint64_t cycles = 0;

	for (int look = 0; look < LOOKS && cycles < SAMPLES * PERIOD; look++) {
		for (volatile int i = 0; i < TURNS; i++)
			;
		if (read(counter, &cycles, sizeof(cycles)) != sizeof(cycles)) {
			work_fail("reading a counter: %s", strerror(errno));
			return 0;
		}
	}
	return cycles;
}

/* Count the samples in the buffer; *left_out: whether the kernel reports that samples were lost or throttled. */
static void count_records(const struct perf_event_mmap_page *head, uint64_t *samples,
			  bool *left_out)
{
	const unsigned char *data = (const unsigned char *)head + PAGE;
	uint64_t end = __atomic_load_n(&head->data_head, __ATOMIC_ACQUIRE);

	*samples = 0;
	*left_out = false;
	for (uint64_t at = 0; at < end;) {
		const struct perf_event_header *record = (const void *)(data + at);

		if (record->size < sizeof(*record) || record->size > end - at) {
			work_fail("a record of %u bytes at %lu of %lu", record->size,
				  (unsigned long)at, (unsigned long)end);
			return;
		}
		*samples += record->type == PERF_RECORD_SAMPLE;
		*left_out |= record->type == PERF_RECORD_THROTTLE ||
			     record->type == PERF_RECORD_LOST;
		at += record->size;
	}
}

static void sample(int counter)
{
	struct perf_event_mmap_page *head;
	uint64_t cycles, samples;
	bool left_out;

	head = mmap(NULL, (1 + BUFFER_PAGES) * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, counter,
		    0);
	if (head == MAP_FAILED) {
		work_fail("mapping the samples of a counter: %s", strerror(errno));
		return;
	}
	ioctl(counter, PERF_EVENT_IOC_ENABLE, 0);
	cycles = spin(counter);
	ioctl(counter, PERF_EVENT_IOC_DISABLE, 0);
	count_records(head, &samples, &left_out);
	if (cycles < SAMPLES * PERIOD)
		work_fail("a counter of cycles has counted to %lu only", (unsigned long)cycles);
	/* The last sample may still be missing, because its NMI comes late. Throttled samples are reported as such. */
	else if (samples + 1 < cycles / PERIOD && !left_out)
		work_fail("%lu samples for %lu cycles, one in %d: NMIs were lost",
			  (unsigned long)samples, (unsigned long)cycles, PERIOD);
	munmap(head, (1 + BUFFER_PAGES) * PAGE);
}

static void go_round(void)
{
	int counter = open_counter();

	if (counter < 0) {
		work_fail("perf_event_open: %s", strerror(errno));
		return;
	}
	sample(counter);
	close(counter);
}

static bool is_possible(char *why, size_t size)
{
	int counter = open_counter();

	if (counter < 0) {
		snprintf(why, size, "no hardware counter of cycles: perf_event_open: %s",
			 strerror(errno));
		return false;
	}
	close(counter);
	return true;
}

const struct work_kind work_perf = { .name = "perf", .possible = is_possible, .round = go_round };
