/* SPDX-License-Identifier: MIT */
/*
 * What programs of ours use of the firmware: UEFI 2.10, chapters 4, 7, 9, 10, 13, and the MP services of PI 1.8, volume 2,
 * 13.4. What nobody here calls has no type.
 */
#ifndef UEFI_UEFI_H
#define UEFI_UEFI_H

#include <stdint.h>

#define EFIAPI __attribute__((ms_abi))

typedef uint64_t efi_status;
typedef void *efi_handle;

#define EFI_ERROR_BIT (1ull << 63)
#define EFI_SUCCESS 0ull
#define EFI_LOAD_ERROR (EFI_ERROR_BIT | 1)
#define EFI_UNSUPPORTED (EFI_ERROR_BIT | 3)
#define EFI_DEVICE_ERROR (EFI_ERROR_BIT | 7)
#define EFI_BUFFER_TOO_SMALL (EFI_ERROR_BIT | 5)
#define EFI_OUT_OF_RESOURCES (EFI_ERROR_BIT | 9)
#define EFI_NOT_FOUND (EFI_ERROR_BIT | 14)
#define EFI_ACCESS_DENIED (EFI_ERROR_BIT | 15)
#define EFI_ALREADY_STARTED (EFI_ERROR_BIT | 20)

struct efi_guid {
	uint32_t a;
	uint16_t b, c;
	uint8_t d[8];
};

#define EFI_LOADED_IMAGE_GUID                                          \
	{                                                              \
		0x5b1b31a1, 0x9562, 0x11d2,                            \
		{                                                      \
			0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b \
		}                                                      \
	}
#define EFI_DEVICE_PATH_GUID                                           \
	{                                                              \
		0x09576e91, 0x6d3f, 0x11d2,                            \
		{                                                      \
			0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b \
		}                                                      \
	}
#define EFI_FILE_SYSTEM_GUID                                           \
	{                                                              \
		0x964e5b22, 0x6459, 0x11d2,                            \
		{                                                      \
			0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b \
		}                                                      \
	}
#define EFI_MP_SERVICES_GUID                                           \
	{                                                              \
		0x3fdda605, 0xa76e, 0x4f46,                            \
		{                                                      \
			0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08 \
		}                                                      \
	}

enum efi_memory_type {
	EFI_RESERVED_MEMORY,
	EFI_LOADER_CODE,
	EFI_LOADER_DATA,
	EFI_BOOT_SERVICES_CODE,
	EFI_BOOT_SERVICES_DATA,
	EFI_RUNTIME_SERVICES_CODE,
	EFI_RUNTIME_SERVICES_DATA,
	EFI_CONVENTIONAL_MEMORY,
};

enum efi_allocate_type {
	EFI_ALLOCATE_ANY_PAGES,
	EFI_ALLOCATE_MAX_ADDRESS,
};

#define EFI_PAGE 4096ull
#define EFI_TPL_NOTIFY 16

struct efi_memory_descriptor {
	uint32_t type;
	uint64_t physical, virtual, pages, attributes;
};

struct efi_table_header {
	uint64_t signature;
	uint32_t revision, size, crc, reserved;
};

struct efi_text_output {
	void *reset;
	efi_status(EFIAPI *output_string)(struct efi_text_output *this, const uint16_t *text);
};

struct efi_boot_services {
	struct efi_table_header header;
	void *raise_tpl, *restore_tpl;
	efi_status(EFIAPI *allocate_pages)(enum efi_allocate_type type, enum efi_memory_type memory,
					   uint64_t pages, uint64_t *address);
	efi_status(EFIAPI *free_pages)(uint64_t address, uint64_t pages);
	efi_status(EFIAPI *get_memory_map)(uint64_t *size, void *map, uint64_t *key,
					   uint64_t *descriptor_size, uint32_t *version);
	void *allocate_pool, *free_pool;
	efi_status(EFIAPI *create_event)(uint32_t type, uint64_t tpl, void *notify, void *context,
					 void **event);
	void *set_timer, *wait_for_event, *signal_event;
	efi_status(EFIAPI *close_event)(void *event);
	efi_status(EFIAPI *check_event)(void *event);
	void *install_protocol, *reinstall_protocol, *uninstall_protocol;
	efi_status(EFIAPI *handle_protocol)(efi_handle handle, const struct efi_guid *protocol,
					    void **interface);
	void *reserved, *register_notify, *locate_handle, *locate_device_path;
	efi_status(EFIAPI *install_configuration_table)(const struct efi_guid *name, void *table);
	efi_status(EFIAPI *load_image)(uint8_t boot_policy, efi_handle parent,
				       const void *device_path, const void *source, uint64_t size,
				       efi_handle *image);
	efi_status(EFIAPI *start_image)(efi_handle image, uint64_t *exit_data_size,
					uint16_t **exit_data);
	void *exit, *unload_image;
	efi_status(EFIAPI *exit_boot_services)(efi_handle image, uint64_t key);
	void *get_next_count;
	efi_status(EFIAPI *stall)(uint64_t microseconds);
	void *set_watchdog, *connect_controller, *disconnect_controller;
	void *open_protocol, *close_protocol, *open_information, *protocols_per_handle;
	void *locate_handle_buffer;
	efi_status(EFIAPI *locate_protocol)(const struct efi_guid *protocol, void *registration,
					    void **interface);
};

struct efi_configuration_table {
	struct efi_guid name;
	void *table;
};

struct efi_system_table {
	struct efi_table_header header;
	const uint16_t *vendor;
	uint32_t revision;
	efi_handle console_in_handle;
	void *console_in;
	efi_handle console_out_handle;
	struct efi_text_output *console_out;
	efi_handle standard_error_handle;
	struct efi_text_output *standard_error;
	void *runtime_services;
	struct efi_boot_services *boot_services;
	uint64_t configuration_tables;
	struct efi_configuration_table *configuration_table;
};

struct efi_loaded_image {
	uint32_t revision;
	efi_handle parent;
	struct efi_system_table *system_table;
	efi_handle device;
	void *file_path;
	void *reserved;
	uint32_t load_options_size;
	void *load_options;
	void *base;
	uint64_t size;
};

/* One node of a device path (10.3.1). */
struct efi_device_path {
	uint8_t type, subtype, length[2];
};

#define EFI_MEDIA_DEVICE_PATH 0x04
#define EFI_MEDIA_FILE_PATH 0x04
#define EFI_END_DEVICE_PATH 0x7f
#define EFI_END_ENTIRE_PATH 0xff

#define EFI_PROCESSOR_IS_BSP 1u
#define EFI_PROCESSOR_IS_ENABLED 2u

struct efi_processor_information {
	uint64_t id; /* of its local APIC */
	uint32_t status, location[3], location2[6];
};

struct efi_mp_services {
	efi_status(EFIAPI *get_number)(struct efi_mp_services *this, uint64_t *all,
				       uint64_t *enabled);
	efi_status(EFIAPI *get_information)(struct efi_mp_services *this, uint64_t number,
					    struct efi_processor_information *information);
	/* With no event, it returns when the procedure has returned on all CPUs but this one. */
	efi_status(EFIAPI *start_all)(struct efi_mp_services *this,
				      void(EFIAPI *procedure)(void *argument), uint8_t one_by_one,
				      void *event, uint64_t timeout, void *argument,
				      uint64_t **failed);
	efi_status(EFIAPI *start_this)(struct efi_mp_services *this,
				       void(EFIAPI *procedure)(void *argument), uint64_t number,
				       void *event, uint64_t timeout, void *argument,
				       uint8_t *finished);
	void *switch_bsp, *enable_disable;
	efi_status(EFIAPI *who_am_i)(struct efi_mp_services *this, uint64_t *number);
};

/* What a program of ours begins with (start.c); it has relocated itself. */
efi_status efi_main(efi_handle image, struct efi_system_table *system);

#endif
