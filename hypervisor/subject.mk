# SPDX-License-Identifier: MIT
# Veneer as targets/bare/Makefile links it into a bare image.
SUBJECT_NAME := veneer
# What every host needs, and how it is compiled; hosts/linux/Makefile reads it here as well.
VENEER_SOURCES := \
	core/completion.c core/context.c core/control_register.c core/counters.c core/cpuid.c core/crash_report.c core/decode.c \
	core/exit.c core/fault.c core/fault_entry.S core/host_state.c core/hypercall.c core/hypercall_stubs.S core/leave.S \
	core/lifecycle.c core/local_apic.c core/machine_check.c core/memory.c core/msr.c core/nmi.c core/obstacles.c core/query.c core/safe_instructions.S core/start_cpus.c core/system.c core/vcpus.c \
	svm/enter.S svm/exit.c svm/guest.c svm/setup.c svm/start.c svm/start_page.S \
	vmx/capabilities.c vmx/enter.S vmx/entry_checks.c vmx/ept.c vmx/exit.c vmx/guest.c vmx/leave.c vmx/mtrr.c vmx/reset.c \
	vmx/setup.c vmx/state.c vmx/unblock_nmis.S
SUBJECT_SOURCES := $(VENEER_SOURCES) hosts/bare/host.c hosts/bare/subject.c
SUBJECT_CFLAGS := -I$(SUBJECT_DIR)
