/* SPDX-License-Identifier: MIT */
#include "payload.h"

#include "apic.h"
#include "console.h"
#include "os.h"
#include "x86.h"

#define PAGE 4096ul
#define USUAL_START 0x100000ul /* link.ld */
#define EINVAL 22
#define ENODEV 19

/* payload_entry.S */
__attribute__((noreturn)) void payload_enter(uint32_t entry, uint32_t information);

static bool may_start_cpus;

static const struct payload *find(void)
{
	const struct payload *found = (const void *)(PAYLOAD_GAP + (uint64_t)os_image_end);

	return (uint64_t)os_image_start != USUAL_START && found->magic == PAYLOAD_MAGIC ? found
											: NULL;
}

uint64_t payload_end(void)
{
	const struct payload *payload = find();

	return payload ? (uint64_t)payload + payload->size : (uint64_t)os_image_end;
}

void payload_find(void)
{
	may_start_cpus = find() && os_cpus() > 1;
}

void *os_start_page(void)
{
	return may_start_cpus ? (void *)START_PAGE : NULL;
}

/* Page 0 is not mapped; the start page, and what begins with the image, belongs to this OS and the subject. */
static bool is_free(const struct payload_segment *segment)
{
	uint64_t start = segment->address, end = start + segment->memory_size;

	return start >= PAGE && end <= (uint64_t)os_image_start &&
	       (end <= START_PAGE || start >= START_PAGE + PAGE);
}

static void copy(const struct payload *payload)
{
	for (uint32_t i = 0; i < payload->segment_count; i++) {
		const struct payload_segment *segment = &payload->segment[i];
		uint8_t *to = (uint8_t *)(uint64_t)segment->address;

		__builtin_memcpy(to, (const uint8_t *)payload + segment->offset,
				 segment->file_size);
		__builtin_memset(to + segment->file_size, 0,
				 segment->memory_size - segment->file_size);
	}
}

/* What cpu_init() has set, as a boot loader would have found it. */
static void reset_registers(void)
{
	if (x86_read_cr4() & CR4_OSXSAVE)
		asm volatile("xsetbv" : : "c"(0), "a"(1), "d"(0));
	asm volatile("fninit; ldmxcsr %0" : : "m"((const uint32_t){ 0x1f80 }));
	x86_wrmsr(MSR_STAR, 0);
	x86_wrmsr(MSR_LSTAR, 0);
	x86_wrmsr(MSR_CSTAR, 0);
	x86_wrmsr(MSR_FMASK, 0);
	x86_wrmsr(MSR_SYSENTER_CS, 0);
	x86_wrmsr(MSR_SYSENTER_ESP, 0);
	x86_wrmsr(MSR_SYSENTER_EIP, 0);
}

int payload_start(void (*starting)(void), char *why, size_t size)
{
	const struct payload *payload = find();

	if (!payload) {
		os_snprintf(why, size, "this machine was started without a payload");
		return -ENODEV;
	}
	for (uint32_t i = 0; i < payload->segment_count; i++) {
		if (is_free(&payload->segment[i]))
			continue;
		os_snprintf(
			why, size,
			"the segment at %x, %x bytes, is not between %lx and %lx, outside of page %x",
			payload->segment[i].address, payload->segment[i].memory_size, PAGE,
			(uint64_t)os_image_start, START_PAGE);
		return -EINVAL;
	}
	starting();
	console_leave();
	apic_leave();
	copy(payload);
	reset_registers();
	payload_enter(payload->entry, payload->information);
}
