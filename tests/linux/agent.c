// SPDX-License-Identifier: MIT
/*
 * With agent=1 on the kernel's command line: loads the agent's module, and runs its program at the second serial
 * port until it reads an end-of-transmission byte. This is done several times, with and without Veneer
 * and KVM.
 */
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "machine.h"

#define PORT "/dev/ttyS1"
#define CONTROL_D 4

/* No echo and no translation; the byte EOT, which the protocol does not use, ends the program's input. */
static int open_port(void)
{
	struct termios settings;
	int port = open(PORT, O_RDWR | O_NOCTTY | O_CLOEXEC);

	CHECK(port >= 0);
	CHECK(!tcgetattr(port, &settings));
	cfmakeraw(&settings);
	settings.c_lflag |= ICANON;
	settings.c_cflag |= CLOCAL;
	settings.c_cc[VEOF] = CONTROL_D;
	cfsetspeed(&settings, B115200);
	CHECK(!tcsetattr(port, TCSANOW, &settings));
	return port;
}

static pid_t start(const char *path, int standard_stream)
{
	pid_t child = fork();

	CHECK(child >= 0);
	if (child)
		return child;
	/* Not the high priority of this process: workers must not delay the kernel threads that run probes. */
	if (setpriority(PRIO_PROCESS, 0, 0))
		_exit(126);
	if (standard_stream >= 0 &&
	    (dup2(standard_stream, STDIN_FILENO) < 0 || dup2(standard_stream, STDOUT_FILENO) < 0))
		_exit(126);
	execl(path, path, (char *)NULL);
	_exit(127);
}

static pid_t start_agent(void)
{
	/* Opened once, so that bytes that arrive between two agents are kept for the next one. */
	static int port = -1;

	if (port < 0)
		port = open_port();
	return start("/touchstone-agent", port);
}

/* The program must exit with status 0. */
static bool has_ended(pid_t child, int options)
{
	int status;
	pid_t ended = waitpid(child, &status, options);

	CHECK(ended == child || (!ended && options == WNOHANG));
	if (ended && status)
		fail("the program has ended with status %x", status);
	return ended;
}

static void serve(void)
{
	has_ended(start_agent(), 0);
}

static void test_alone(void)
{
	CHECK(!insert("/modules/touchstone_agent.ko"));
	CHECK(!insert_kvm());
	serve();
	remove_kvm();
}

/* Invalid requests, which the agent's program never sends to the module. */
static void test_bad_requests(void)
{
	has_ended(start("/abi-check", -1), 0);
}

static void test_under_veneer(void)
{
	CHECK(!insert("/modules/veneer.ko"));
	order("1 load");
	serve();
	expect_loaded(online_cpus());
	order("1 unload");
	expect_unloaded();
}

static void test_around_loading(void)
{
	pid_t agent = start_agent();
	int times;

	for (times = 0; !has_ended(agent, WNOHANG); times++) {
		order("1 load");
		order("1 unload");
	}
	expect_unloaded();
	printf("# Veneer came and went %d times under its probes\n", times);
}

/* The agent numbers CPUs without gaps, also if one is offline. */
static void test_without_a_cpu(void)
{
	set_online(1, false);
	serve();
	set_online(1, true);
}

static void test_remove(void)
{
	CHECK(!remove_module("touchstone_agent"));
	CHECK(access("/dev/touchstone-agent", F_OK));
}

const struct test agent_tests[] = {
	{ "agent-alone", test_alone },
	{ "agent-bad-requests", test_bad_requests },
	{ "agent-under-veneer", test_under_veneer },
	{ "agent-around-loading", test_around_loading },
	{ "agent-without-a-cpu", test_without_a_cpu },
	{ "agent-remove", test_remove },
	{ NULL, NULL },
};
