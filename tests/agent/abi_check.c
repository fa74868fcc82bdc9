/* SPDX-License-Identifier: MIT */
/* Requests that the module must refuse, each with its error. Prints the requests that it did not refuse. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "abi.h"

static struct probe_request request;
static struct probe_outcome outcomes[64];
static struct touchstone_run run;
static int device, failures;

/* A valid request. */
static void good(void)
{
	memset(&request, 0, sizeof(request));
	request.code[0] = 0x90;
	request.code_size = 1;
	request.code_bits = 64;
	request.rflags = 2;
	run = (struct touchstone_run){
		.cpus = cpu_mask_of(0),
		.request = (uintptr_t)&request,
		.outcomes = (uintptr_t)outcomes,
		.request_size = sizeof(request),
		.outcome_size = sizeof(*outcomes),
	};
}

static void refused(const char *what, int error)
{
	int result = ioctl(device, TOUCHSTONE_RUN, &run);

	if ((result < 0 ? errno : 0) != error) {
		printf("%s: %s, not %s\n", what, strerror(result < 0 ? errno : 0), strerror(error));
		failures++;
	}
	good();
}

int main(void)
{
	struct touchstone_info info = { .abi = TOUCHSTONE_ABI + 1 };

	device = open("/dev/" TOUCHSTONE_DEVICE, O_RDWR);
	if (device < 0) {
		perror("open");
		return 1;
	}
	if (!ioctl(device, TOUCHSTONE_INFO, &info) || errno != EPROTO || info.abi != TOUCHSTONE_ABI)
		printf("another ABI was taken\n"), failures++;
	if (!ioctl(device, _IO('T', 0xd7)) || errno != ENOTTY)
		printf("an unknown command was taken\n"), failures++;

	good();
	refused("a good one", 0);
	run.cpus = (struct cpu_mask){ .word = { 0 } };
	refused("no CPU", EINVAL);
	cpu_mask_add(&run.cpus, 1);
	refused("two CPUs in turn", EINVAL);
	run.cpus = cpu_mask_of(CPU_MASK_CPUS - 1);
	refused("a CPU that there is not", ENXIO);
	run.request_size--;
	refused("a request of another size", EPROTO);
	run.outcome_size++;
	refused("an outcome of another size", EPROTO);
	run.together = 2;
	refused("together", EINVAL);
	run.reserved = 1;
	refused("reserved", EINVAL);
	run.request = 0;
	refused("no request", EFAULT);
	run.outcomes = (uintptr_t)main;
	refused("outcomes in what cannot be written", EFAULT);
	run.outcomes = 0xffff888000000000;
	refused("outcomes in the kernel", EFAULT);
	request.cpl = 1;
	refused("ring 1", EINVAL);
	request.code_bits = 8;
	refused("8-bit code", EINVAL);
	request.rflags |= 0x200;
	refused("IF", EINVAL);
	request.rflags |= 1 << 17;
	refused("VM", EINVAL);
	request.code_size = 0;
	refused("no code", EINVAL);
	request.code_size = PROBE_CODE_MAX + 1;
	refused("too much code", EINVAL);
	request.at = SLOT_CODE_SIZE;
	refused("code behind its area", EINVAL);
	request.at = UINT32_MAX;
	refused("code far behind its area", EINVAL);
	request.gpr[3].base = PROBE_STACK + 1;
	refused("a value relative to nothing", EINVAL);
	request.dr[7].base = PROBE_STACK + 1;
	refused("a debug register relative to nothing", EINVAL);
	request.dr_given = 1 << 4;
	refused("DR4", EINVAL);
	request.msr_count = PROBE_MSR_MAX + 1;
	refused("too many MSRs", EINVAL);
	request.msr_count = 1;
	request.msr[0].start = PROBE_MSR_BITS + 1;
	refused("an MSR that starts in no way", EINVAL);
	request.msr_count = 1;
	request.msr[0].value.base = PROBE_STACK + 1;
	refused("an MSR relative to nothing", EINVAL);
	request.handler_count = PROBE_HANDLER_MAX + 1;
	refused("too many handlers", EINVAL);
	request.handler_count = 1;
	request.handler[0].offset = (uint16_t)request.code_size;
	refused("a handler behind the code", EINVAL);
	request.handler_count = 1;
	request.handler[0].kind = PROBE_HANDLER_NOT_PRESENT + 1;
	refused("a handler of no kind", EINVAL);
	request.memory_count = PROBE_MEM_MAX + 1;
	refused("too many pieces of memory", EINVAL);
	request.memory_count = 1;
	request.memory[0] = (struct probe_memory){ .offset = SLOT_SCRATCH_SIZE, .size = 1 };
	refused("memory behind the scratch area", EINVAL);
	request.memory_count = 1;
	request.memory[0] = (struct probe_memory){ .size = 1, .data = PROBE_DATA_MAX };
	refused("memory from behind the data", EINVAL);
	request.read_size = PROBE_READ_MAX + 1;
	refused("too much to read", EINVAL);
	request.read_offset = SLOT_SCRATCH_SIZE;
	request.read_size = 1;
	refused("reading behind the scratch area", EINVAL);
	*(uint8_t *)&request.seeded = 2;
	refused("a bool of 2", EINVAL);
	if (!failures)
		printf("all refused\n");
	return failures > 0;
}
