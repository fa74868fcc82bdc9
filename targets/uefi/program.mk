# SPDX-License-Identifier: MIT
# How a UEFI program of ours is made. Whoever includes this has CC, CFLAGS and OBJCOPY, and says where this directory is
# with UEFI (default: ../uefi).
UEFI ?= ../uefi
UEFI_APPLICATION := 10
# Its memory stays its own when an operating system has taken over.
UEFI_RUNTIME_DRIVER := 12
# The firmware loads it anywhere: it finds its code and data relative to RIP.
UEFI_CFLAGS = $(filter-out -fno-pic -fno-pie -mcmodel=small,$(CFLAGS)) -fpie -fshort-wchar

# $(call uefi_link,SUBSYSTEM,ELF,OBJECTS): make $@ of the objects. start.c knows one type of relocation.
define uefi_link
$(CC) -nostdlib -static-pie -Wl,--no-dynamic-linker -Wl,--build-id=none -Wl,-z,noexecstack -Wl,-z,norelro -Wl,-z,text \
	-Wl,--defsym=pe_subsystem=$(1) -Wl,-T,$(UEFI)/link.ld -o $(2) $(3)
@if LC_ALL=C readelf -rW $(2) | grep -E '^[0-9a-f]{16} ' | grep -v R_X86_64_RELATIVE; then \
	echo "$(2): relocations that targets/uefi/start.c does not know" >&2; exit 1; fi
$(OBJCOPY) -O binary $(2) $@
endef
