// SPDX-License-Identifier: MIT
#include "console.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "serial.h"
#include "virtio.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t used = PTHREAD_COND_INITIALIZER; /* a CPU has used a device */
static uint8_t line[4096];
static size_t length;

void console_lock(void)
{
	pthread_mutex_lock(&lock);
}

void console_unlock(void)
{
	pthread_cond_signal(&used);
	pthread_mutex_unlock(&lock);
}

void console_write(const void *bytes, size_t count)
{
	for (size_t done = 0; done < count;) {
		ssize_t now = write(STDOUT_FILENO, (const char *)bytes + done, count - done);

		if (now < 0 && errno != EINTR)
			_exit(1); /* nobody listens any more */
		done += now > 0 ? (size_t)now : 0;
	}
}

void console_write_by_lines(uint8_t byte)
{
	line[length++] = byte;
	if (byte != '\n' && length < sizeof(line))
		return;
	console_write(line, length);
	length = 0;
}

void console_flush(void)
{
	console_lock();
	console_write(line, length);
	length = 0;
	console_unlock();
}

/* The guest takes its input from COM1 until it has set up the virtio console. */
static size_t give(const uint8_t *bytes, size_t count)
{
	return virtio_is_set_up() ? virtio_give(bytes, count) : serial_give(bytes, count);
}

void console_serve(void)
{
	uint8_t bytes[4096];
	ssize_t count;

	while ((count = read(STDIN_FILENO, bytes, sizeof(bytes))) > 0 ||
	       (count < 0 && errno == EINTR)) {
		pthread_mutex_lock(&lock);
		for (ssize_t done = 0; done < count;) {
			size_t now = give(bytes + done, (size_t)(count - done));

			done += (ssize_t)now;
			if (!now)
				pthread_cond_wait(&used, &lock);
		}
		pthread_mutex_unlock(&lock);
	}
	exit(0);
}
