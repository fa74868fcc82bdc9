// SPDX-License-Identifier: MIT
/* A periodic timer, of which no expiry may be lost or early, and sleeps, which must be long enough. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "work.h"

#define SECOND 1000000000ll
#define INTERVAL 1000000ll
#define SLEEP 300000ll
#define READS 4

/* By a system call. The kind `vdso` tests the vDSO. */
static int64_t now(void)
{
	struct timespec time;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &time);
	return time.tv_sec * SECOND + time.tv_nsec;
}

static struct timespec as_time(int64_t nanoseconds)
{
	return (struct timespec){ .tv_sec = nanoseconds / SECOND, .tv_nsec = nanoseconds % SECOND };
}

/* How often a timer whose first expiry is at `first` has expired by `time`. */
static int64_t expiries(int64_t first, int64_t time)
{
	return time < first ? 0 : (time - first) / INTERVAL + 1;
}

static void count_expiries(int timer)
{
	int64_t first = now() + INTERVAL, total = 0;
	struct itimerspec setting = { .it_interval = as_time(INTERVAL),
				      .it_value = as_time(first) };

	if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &setting, NULL)) {
		work_fail("timerfd_settime: %s", strerror(errno));
		return;
	}
	for (int i = 0; i < READS; i++) {
		int64_t before = now(), after;
		uint64_t count;

		if (read(timer, &count, sizeof(count)) != sizeof(count)) {
			work_fail("reading a timer: %s", strerror(errno));
			return;
		}
		after = now();
		total += (int64_t)count;
		if (total < expiries(first, before))
			work_fail("a timer has expired %ld times, but %ld intervals are over",
				  (long)total, (long)expiries(first, before));
		if (total > expiries(first, after))
			work_fail("a timer has expired %ld times, but only %ld intervals are over",
				  (long)total, (long)expiries(first, after));
	}
}

static void sleep_long_enough(void)
{
	struct timespec time = as_time(SLEEP);
	int64_t before = now(), slept;
	int error = clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);

	slept = now() - before;
	if (error)
		work_fail("clock_nanosleep: %s", strerror(error));
	else if (slept < SLEEP)
		work_fail("a sleep of %lld ns took %ld ns", SLEEP, (long)slept);
}

static void go_round(void)
{
	int timer = timerfd_create(CLOCK_MONOTONIC, 0);

	if (timer < 0) {
		work_fail("timerfd_create: %s", strerror(errno));
		return;
	}
	count_expiries(timer);
	close(timer);
	sleep_long_enough();
}

const struct work_kind work_timers = { .name = "timers", .round = go_round };
