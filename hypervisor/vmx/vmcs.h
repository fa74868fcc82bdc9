/* SPDX-License-Identifier: MIT */
/* Fields of the virtual-machine control structure (SDM 3D appendix B) and the instructions that reach it. */
#ifndef VENEER_VMX_VMCS_H
#define VENEER_VMX_VMCS_H

/* ES, CS, SS, DS, FS, GS, LDTR, TR, in the order in which their fields follow each other. */
#define SEGMENT_ES 0
#define SEGMENT_CS 1
#define SEGMENT_SS 2
#define SEGMENT_DS 3
#define SEGMENT_FS 4
#define SEGMENT_GS 5
#define SEGMENT_LDTR 6
#define SEGMENT_TR 7
#define SEGMENTS 8
#define GUEST_SELECTOR(segment) (0x0800 + 2 * (segment))
#define GUEST_LIMIT(segment) (0x4800 + 2 * (segment))
#define GUEST_ACCESS_RIGHTS(segment) (0x4814 + 2 * (segment))
#define GUEST_BASE(segment) (0x6806 + 2 * (segment))

#define VMCS_VPID 0x0000
#define HOST_ES_SELECTOR 0x0c00
#define HOST_CS_SELECTOR 0x0c02
#define HOST_SS_SELECTOR 0x0c04
#define HOST_DS_SELECTOR 0x0c06
#define HOST_FS_SELECTOR 0x0c08
#define HOST_GS_SELECTOR 0x0c0a
#define HOST_TR_SELECTOR 0x0c0c

#define VMCS_MSR_BITMAP 0x2004
#define VMCS_EXIT_MSR_STORE 0x2006
#define VMCS_EXIT_MSR_LOAD 0x2008
#define VMCS_ENTRY_MSR_LOAD 0x200a
#define VMCS_TSC_OFFSET 0x2010
#define VMCS_EPT_POINTER 0x201a
#define VMCS_XSS_EXITING_BITMAP 0x202c
#define VMCS_PCONFIG_EXITING_BITMAP 0x203e
#define VMCS_GUEST_PHYSICAL_ADDRESS 0x2400
#define VMCS_LINK_POINTER 0x2800
#define VMCS_GUEST_DEBUGCTL 0x2802
#define VMCS_GUEST_PAT 0x2804
#define VMCS_GUEST_EFER 0x2806
#define VMCS_HOST_PAT 0x2c00
#define VMCS_HOST_EFER 0x2c02

#define VMCS_PIN_CONTROLS 0x4000
#define VMCS_PRIMARY_CONTROLS 0x4002
#define VMCS_EXCEPTION_BITMAP 0x4004
#define VMCS_PAGE_FAULT_MASK 0x4006
#define VMCS_PAGE_FAULT_MATCH 0x4008
#define VMCS_CR3_TARGET_COUNT 0x400a
#define VMCS_EXIT_CONTROLS 0x400c
#define VMCS_EXIT_MSR_STORE_COUNT 0x400e
#define VMCS_EXIT_MSR_LOAD_COUNT 0x4010
#define VMCS_ENTRY_CONTROLS 0x4012
#define VMCS_ENTRY_MSR_LOAD_COUNT 0x4014
#define VMCS_ENTRY_EVENT 0x4016
#define VMCS_ENTRY_ERROR_CODE 0x4018
#define VMCS_SECONDARY_CONTROLS 0x401e
#define VMCS_INSTRUCTION_ERROR 0x4400
#define VMCS_EXIT_REASON 0x4402
#define VMCS_EXIT_EVENT 0x4404
#define VMCS_VECTORING_EVENT 0x4408
#define VMCS_INSTRUCTION_LENGTH 0x440c
#define VMCS_INSTRUCTION_INFORMATION 0x440e
#define VMCS_GUEST_GDTR_LIMIT 0x4810
#define VMCS_GUEST_IDTR_LIMIT 0x4812
#define VMCS_GUEST_INTERRUPTIBILITY 0x4824
#define VMCS_GUEST_ACTIVITY 0x4826
#define VMCS_GUEST_SYSENTER_CS 0x482a
#define VMCS_HOST_SYSENTER_CS 0x4c00

#define VMCS_CR0_MASK 0x6000
#define VMCS_CR4_MASK 0x6002
#define VMCS_CR0_SHADOW 0x6004
#define VMCS_CR4_SHADOW 0x6006
#define VMCS_EXIT_QUALIFICATION 0x6400
#define VMCS_GUEST_CR0 0x6800
#define VMCS_GUEST_CR3 0x6802
#define VMCS_GUEST_CR4 0x6804
#define VMCS_GUEST_GDTR_BASE 0x6816
#define VMCS_GUEST_IDTR_BASE 0x6818
#define VMCS_GUEST_DR7 0x681a
#define VMCS_GUEST_RSP 0x681c
#define VMCS_GUEST_RIP 0x681e
#define VMCS_GUEST_RFLAGS 0x6820
#define VMCS_GUEST_PENDING_DEBUG 0x6822
#define VMCS_GUEST_SYSENTER_ESP 0x6824
#define VMCS_GUEST_SYSENTER_EIP 0x6826
#define VMCS_HOST_CR0 0x6c00
#define VMCS_HOST_CR3 0x6c02
#define VMCS_HOST_CR4 0x6c04
#define VMCS_HOST_FS_BASE 0x6c06
#define VMCS_HOST_GS_BASE 0x6c08
#define VMCS_HOST_TR_BASE 0x6c0a
#define VMCS_HOST_GDTR_BASE 0x6c0c
#define VMCS_HOST_IDTR_BASE 0x6c0e
#define VMCS_HOST_SYSENTER_ESP 0x6c10
#define VMCS_HOST_SYSENTER_EIP 0x6c12
#define VMCS_HOST_RSP 0x6c14
#define VMCS_HOST_RIP 0x6c16

/* Pin-based controls (SDM 3C 25.6.1). */
#define PIN_NMI_EXITING (1u << 3)
#define PIN_VIRTUAL_NMIS (1u << 5)
/* Primary processor-based controls (SDM 3C 25.6.2). */
#define PRIMARY_NMI_WINDOW (1u << 22)
#define PRIMARY_MSR_BITMAPS (1u << 28)
#define PRIMARY_SECONDARY_CONTROLS (1u << 31)
/* Secondary processor-based controls. */
#define SECONDARY_EPT (1u << 1)
#define SECONDARY_RDTSCP (1u << 3)
#define SECONDARY_VPID (1u << 5)
#define SECONDARY_UNRESTRICTED_GUEST (1u << 7)
#define SECONDARY_INVPCID (1u << 12)
#define SECONDARY_XSAVES (1u << 20)
#define SECONDARY_USER_WAIT (1u << 26)
#define SECONDARY_PCONFIG (1u << 27)
/* VM-exit controls (SDM 3C 25.7.1). */
#define EXIT_SAVE_DEBUG (1u << 2)
#define EXIT_HOST_64_BIT (1u << 9)
#define EXIT_SAVE_PAT (1u << 18)
#define EXIT_LOAD_PAT (1u << 19)
#define EXIT_SAVE_EFER (1u << 20)
#define EXIT_LOAD_EFER (1u << 21)
/* VM-entry controls (SDM 3C 25.8.1). */
#define ENTRY_LOAD_DEBUG (1u << 2)
#define ENTRY_IA32E_GUEST (1u << 9)
#define ENTRY_LOAD_PAT (1u << 14)
#define ENTRY_LOAD_EFER (1u << 15)

/* Access rights (SDM 3C 25.4.1); busy is a TSS. */
#define RIGHTS_BUSY (1u << 1)
#define RIGHTS_PRESENT (1u << 7)
#define RIGHTS_LONG (1u << 13)
#define RIGHTS_DEFAULT_32 (1u << 14)
#define RIGHTS_UNUSABLE (1u << 16)
/* Present, and accessed or busy: code, data, LDT and TSS after INIT (SDM 3A table 9-1). */
#define RIGHTS_CODE 0x9bu
#define RIGHTS_DATA 0x93u
#define RIGHTS_LDT 0x82u
#define RIGHTS_BUSY_TSS 0x8bu

/* Interruptibility state (SDM 3C 25.4.2). */
#define BLOCKED_BY_STI (1u << 0)
#define BLOCKED_BY_MOV_SS (1u << 1)
#define BLOCKED_BY_NMI (1u << 3)

/* Pending debug exceptions (SDM 3C table 25-4): at least one of bits 3:0 is of an enabled breakpoint. */
#define PENDING_ENABLED_BREAKPOINT (1u << 12)

#define ACTIVITY_ACTIVE 0
#define ACTIVITY_WAIT_FOR_SIPI 3

/* VM-entry interruption information and its like (SDM 3C 25.8.3, 25.9.2, 25.9.3). */
#define EVENT_TYPE (7u << 8)
#define EVENT_TYPE_NMI (2u << 8)
#define EVENT_TYPE_EXCEPTION (3u << 8)
#define EVENT_ERROR_CODE (1u << 11)
#define EVENT_VALID (1u << 31)

/* Bit 31 of the exit reason: there was no exit, the entry failed (SDM 3C 25.9.1). */
#define REASON_ENTRY_FAILURE (1u << 31)
#define REASON_BASIC(reason) ((reason)&0xffff)

/* Basic exit reasons (SDM 3D appendix C). */
#define REASON_EXCEPTION_OR_NMI 0
#define REASON_TRIPLE_FAULT 2
#define REASON_INIT 3
#define REASON_SIPI 4
#define REASON_NMI_WINDOW 8
#define REASON_TASK_SWITCH 9
#define REASON_CPUID 10
#define REASON_GETSEC 11
#define REASON_INVD 13
#define REASON_VMCALL 18
#define REASON_VMCLEAR 19
#define REASON_VMLAUNCH 20
#define REASON_VMPTRLD 21
#define REASON_VMPTRST 22
#define REASON_VMREAD 23
#define REASON_VMRESUME 24
#define REASON_VMWRITE 25
#define REASON_VMXOFF 26
#define REASON_VMXON 27
#define REASON_CR_ACCESS 28
#define REASON_RDMSR 31
#define REASON_WRMSR 32
#define REASON_MACHINE_CHECK 41
#define REASON_EPT_VIOLATION 48
#define REASON_EPT_MISCONFIGURATION 49
#define REASON_INVEPT 50
#define REASON_INVVPID 53
#define REASON_XSETBV 55
#define REASON_SEAMCALL 76
#define REASON_TDCALL 77
#define REASON_RDMSRLIST 78
#define REASON_WRMSRLIST 79
#define REASON_RDMSR_IMMEDIATE 84
#define REASON_WRMSRNS_IMMEDIATE 85

#ifndef __ASSEMBLER__

#include "../core/types.h"

/* For fields that exist, with a current VMCS: cannot fail. */
static inline u64 vmcs_read(u64 field)
{
	u64 value;

	asm volatile("vmread %1, %0" : "=r"(value) : "r"(field) : "cc");
	return value;
}

/* The same, stored directly into memory. */
static inline void vmcs_read_into(u64 field, u64 *value)
{
	asm volatile("vmread %1, %0" : "=m"(*value) : "r"(field) : "cc");
}

static inline void vmcs_write(u64 field, u64 value)
{
	asm volatile("vmwrite %1, %0" : : "r"(field), "rm"(value) : "cc");
}

/* False: the processor does not have the field, or no VMCS is current. */
static inline bool vmcs_write_safe(u64 field, u64 value)
{
	bool failed;

	asm volatile("vmwrite %2, %1" : "=@ccbe"(failed) : "r"(field), "rm"(value));
	return !failed;
}

static inline bool vmclear(u64 physical)
{
	bool failed;

	asm volatile("vmclear %1" : "=@ccbe"(failed) : "m"(physical) : "memory");
	return !failed;
}

static inline bool vmptrld(u64 physical)
{
	bool failed;

	asm volatile("vmptrld %1" : "=@ccbe"(failed) : "m"(physical) : "memory");
	return !failed;
}

static inline void vmxoff(void)
{
	asm volatile("vmxoff" : : : "cc", "memory");
}

/* All contexts; the operand is 16 bytes long and must be 0 (SDM 3C 31.3). */
static inline void invept_all(void)
{
	const u64 operand[2] = { 0, 0 };

	asm volatile("invept %0, %1" : : "m"(operand), "r"(2ull) : "cc", "memory");
}

static inline void invvpid_all(void)
{
	const u64 operand[2] = { 0, 0 };

	asm volatile("invvpid %0, %1" : : "m"(operand), "r"(2ull) : "cc", "memory");
}

#endif
#endif
