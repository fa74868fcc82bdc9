// SPDX-License-Identifier: MIT
/* Forks a child per round, on any CPU, and exchanges messages with it: creates and switches address spaces. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "work.h"

#define TURNS 8
#define STATUS 7

static uint64_t answer_to(uint64_t number)
{
	for (int i = 0; i < 50; i++)
		number = number * 6364136223846793005u + 1442695040888963407u;
	return number;
}

__attribute__((noreturn)) static void answer(int socket)
{
	uint64_t number;

	for (int turn = 0; turn < TURNS; turn++) {
		if (read(socket, &number, sizeof(number)) != sizeof(number))
			_exit(STATUS + 1);
		number = answer_to(number);
		if (write(socket, &number, sizeof(number)) != sizeof(number))
			_exit(STATUS + 2);
	}
	_exit(STATUS);
}

static void talk(int socket)
{
	for (int turn = 0; turn < TURNS; turn++) {
		uint64_t asked = work_random(), said;

		if (write(socket, &asked, sizeof(asked)) != sizeof(asked) ||
		    read(socket, &said, sizeof(said)) != sizeof(said)) {
			work_fail("turn %d with the child: %s", turn, strerror(errno));
			return;
		}
		if (said != answer_to(asked)) {
			work_fail("the child's answer to %#lx is %#lx, not %#lx",
				  (unsigned long)asked, (unsigned long)said,
				  (unsigned long)answer_to(asked));
			return;
		}
	}
}

static void go_round(void)
{
	int sockets[2], status;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets)) {
		work_fail("socketpair: %s", strerror(errno));
		return;
	}
	child = work_fork();
	if (!child) {
		close(sockets[0]);
		answer(sockets[1]);
	}
	close(sockets[1]);
	if (child > 0)
		talk(sockets[0]);
	close(sockets[0]);
	if (child < 0)
		return;
	status = work_await(child);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != STATUS)
		work_fail("the child ended with status %#x, not %#x", status, STATUS << 8);
}

const struct work_kind work_processes = { .name = "processes", .round = go_round };
