/* SPDX-License-Identifier: MIT */
/*
 * The UEFI application that boots the OS: start the subject's program if there is one beside us, leave the boot
 * services, put the image where it is linked to, and enter it as a Multiboot loader does.
 */
#include "../uefi/subject.h"

#include <stdbool.h>
#include <stddef.h>

#include "handover.h"

#define MIB 0x100000ull
#define MAP_BYTES 0x8000
#define RANGES 256

/* uefi_entry.S: the image, and where it belongs. */
extern const char bare_image[], bare_image_end[];
__attribute__((noreturn)) void uefi_enter(uint32_t entry, const struct multiboot *multiboot);

static struct efi_system_table *system;
static struct efi_boot_services *boot;
static uint8_t map[MAP_BYTES];
static uint64_t map_size, descriptor_size;
static struct multiboot_range ranges[RANGES];
static struct multiboot_module module;
static struct multiboot multiboot;
static struct uefi_handover handover = { .magic = UEFI_HANDOVER_MAGIC };

static void say(const char *text)
{
	uint16_t wide[2] = { 0, 0 };

	for (; *text; text++) {
		wide[0] = (uint8_t)*text;
		system->console_out->output_string(system->console_out, wide);
	}
}

static efi_status fail(const char *what, efi_status status)
{
	say("touchstone: ");
	say(what);
	say(": EFI_STATUS ");
	for (int shift = 60; shift >= 0; shift -= 4) {
		char digit[2] = { "0123456789abcdef"[status >> shift & 15], '\0' };

		say(digit);
	}
	say("\r\n");
	return status;
}

static const uint16_t starting[] = u"Touchstone: starting the subject\r\n";
static const uint16_t subject_path[] = u"\\EFI\\SUBJECT\\SUBJECT.EFI";

/* The path of the disk that we are on, with the file's behind it (UEFI 2.10, 10.3.5.4). */
static const void *find_subject(efi_handle image)
{
	static const struct efi_guid loaded = EFI_LOADED_IMAGE_GUID, paths = EFI_DEVICE_PATH_GUID;
	static uint8_t path[512];
	struct efi_loaded_image *ours;
	struct efi_device_path *node;
	uint8_t *end = path;
	size_t size = sizeof(*node) + sizeof(subject_path);

	if (boot->handle_protocol(image, &loaded, (void **)&ours) ||
	    boot->handle_protocol(ours->device, &paths, (void **)&node))
		return NULL;
	while (node->type != EFI_END_DEVICE_PATH) {
		size_t length = node->length[0] | (size_t)node->length[1] << 8;

		if (length < sizeof(*node) ||
		    end + length + size + sizeof(*node) > path + sizeof(path))
			return NULL;
		__builtin_memcpy(end, node, length);
		end += length;
		node = (struct efi_device_path *)((uint8_t *)node + length);
	}
	*(struct efi_device_path *)end = (struct efi_device_path){
		EFI_MEDIA_DEVICE_PATH, EFI_MEDIA_FILE_PATH, { (uint8_t)size, (uint8_t)(size >> 8) }
	};
	__builtin_memcpy(end + sizeof(*node), subject_path, sizeof(subject_path));
	*(struct efi_device_path *)(end + size) = (struct efi_device_path){ EFI_END_DEVICE_PATH,
									    EFI_END_ENTIRE_PATH,
									    { sizeof(*node), 0 } };
	return path;
}

/* A program that refuses is no reason not to boot: the agent says so when it is asked to load the subject. */
static void start_subject(efi_handle image)
{
	const void *path = find_subject(image);
	efi_handle subject = NULL;

	if (!path)
		return;
	handover.step = UEFI_LOAD_IMAGE;
	handover.status = boot->load_image(0, image, path, NULL, 0, &subject);
	if (handover.status == EFI_NOT_FOUND)
		handover.step = UEFI_NO_SUBJECT;
	if (handover.status)
		return;
	/* Who dies from here on, until the OS says that it is there, has the subject. */
	system->console_out->output_string(system->console_out, starting);
	handover.step = UEFI_START_IMAGE;
	handover.status = boot->start_image(subject, NULL, NULL);
	if (!handover.status)
		handover.step = UEFI_STARTED;
}

/* What the program offers to the operating system: a configuration table of its own. */
static void find_services(void)
{
	static const struct efi_guid name = UEFI_SUBJECT_GUID;
	const struct efi_configuration_table *table = system->configuration_table;

	for (uint64_t i = 0; i < system->configuration_tables; i++)
		if (!__builtin_memcmp(&table[i].name, &name, sizeof(name)))
			handover.subject = (uint64_t)table[i].table;
}

static efi_status find_cpus(void)
{
	static const struct efi_guid guid = EFI_MP_SERVICES_GUID;
	struct efi_processor_information one;
	struct efi_mp_services *mp;
	uint64_t all, enabled;
	efi_status status = boot->locate_protocol(&guid, NULL, (void **)&mp);

	if (!status)
		status = mp->get_number(mp, &all, &enabled);
	for (uint64_t i = 0; !status && i < all; i++) {
		status = mp->get_information(mp, i, &one);
		if (!status && one.status & EFI_PROCESSOR_IS_ENABLED &&
		    handover.cpu_count < OS_MAX_CPUS)
			handover.apic_id[handover.cpu_count++] = (uint8_t)one.id;
	}
	return status;
}

/* The firmware's own code and data are free once the boot services are left; our own is not. */
static bool is_usable(uint32_t type)
{
	return type == EFI_CONVENTIONAL_MEMORY || type == EFI_BOOT_SERVICES_CODE ||
	       type == EFI_BOOT_SERVICES_DATA;
}

/* Neighbours of one kind become one range. False: too many of them. */
static bool fill_ranges(void)
{
	struct multiboot_range *last = NULL;

	for (uint64_t at = 0; at < map_size; at += descriptor_size) {
		const struct efi_memory_descriptor *one = (const void *)(map + at);
		uint32_t type = is_usable(one->type) ? MULTIBOOT_USABLE : MULTIBOOT_RESERVED;

		if (last && last->type == type && last->base + last->length == one->physical) {
			last->length += one->pages * EFI_PAGE;
			continue;
		}
		last = last ? last + 1 : ranges;
		if (last == ranges + RANGES)
			return false;
		*last = (struct multiboot_range){
			.size = sizeof(*last) - sizeof(last->size),
			.base = one->physical,
			.length = one->pages * EFI_PAGE,
			.type = type,
		};
	}
	multiboot.map_address = (uint32_t)(uint64_t)ranges;
	multiboot.map_length = (uint32_t)((char *)(last + 1) - (char *)ranges);
	return true;
}

static efi_status read_map(uint64_t *key)
{
	uint32_t version;

	map_size = sizeof(map);
	return boot->get_memory_map(&map_size, map, key, &descriptor_size, &version);
}

static bool has_room(uint64_t start, uint64_t end)
{
	for (const struct multiboot_range *one = ranges;
	     (char *)one < (char *)ranges + multiboot.map_length; one++)
		if (one->type == MULTIBOOT_USABLE && one->base <= start &&
		    one->base + one->length >= end)
			return true;
	return false;
}

efi_status efi_main(efi_handle image, struct efi_system_table *table)
{
	uint64_t key, size = (uint64_t)(bare_image_end - bare_image);
	efi_status status;

	system = table;
	boot = table->boot_services;
	if ((uint64_t)bare_image_end >> 32)
		return fail("this application was loaded above 4 GiB", EFI_UNSUPPORTED);
	start_subject(image);
	find_services();
	status = find_cpus();
	if (status)
		return fail("finding the CPUs with the firmware's MP services", status);
	status = read_map(&key);
	if (status)
		return fail("reading the memory map", status);
	if (!fill_ranges() || !has_room(MIB, MIB + size))
		return fail("the memory at 1 MiB is not free", EFI_OUT_OF_RESOURCES);
	/* The first attempt may change the map; the second may not (UEFI 2.10, 7.4.6). */
	status = boot->exit_boot_services(image, key);
	if (status) {
		status = read_map(&key);
		if (!status)
			status = boot->exit_boot_services(image, key);
		if (status)
			return fail("ExitBootServices", status);
	}
	asm volatile("cli");
	fill_ranges();
	module.start = (uint32_t)(uint64_t)&handover;
	module.end = module.start + sizeof(handover);
	multiboot.modules = (uint32_t)(uint64_t)&module;
	multiboot.module_count = 1;
	multiboot.flags = MULTIBOOT_HAS_MAP | MULTIBOOT_HAS_MODULES;
	__builtin_memcpy((void *)MIB, bare_image, size);
	uefi_enter((uint32_t)MIB, &multiboot);
}
