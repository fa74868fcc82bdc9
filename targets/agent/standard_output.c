/* SPDX-License-Identifier: MIT */
/* The line of an agent that is a program: its standard output. */
#include <err.h>
#include <errno.h>
#include <unistd.h>

#include "platform.h"

void platform_send(const char *line, size_t length)
{
	while (length) {
		ssize_t sent = write(STDOUT_FILENO, line, length);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			err(1, "standard output");
		line += sent;
		length -= (size_t)sent;
	}
}
