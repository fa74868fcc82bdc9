/* SPDX-License-Identifier: MIT */
/* The virtual machine control block (APM2 appendix B). */
#ifndef VENEER_SVM_VMCB_H
#define VENEER_SVM_VMCB_H

/* Offsets that assembly needs; asserted below. */
#define VMCB_RIP 0x578
#define VMCB_RSP 0x5d8
#define VMCB_RAX 0x5f8

#ifndef __ASSEMBLER__

#include "../core/types.h"

/* Control word at 0x0c (APM2 table B-1). */
#define INTERCEPT_CPUID BIT_ULL_AT(18)
#define INTERCEPT_INVD BIT_ULL_AT(22)
#define INTERCEPT_INVLPGA BIT_ULL_AT(26)
#define INTERCEPT_MSR BIT_ULL_AT(28)
#define INTERCEPT_SHUTDOWN BIT_ULL_AT(31)
/* Control word at 0x10. */
#define INTERCEPT_VMRUN BIT_ULL_AT(0)
#define INTERCEPT_VMMCALL BIT_ULL_AT(1)
#define INTERCEPT_VMLOAD BIT_ULL_AT(2)
#define INTERCEPT_VMSAVE BIT_ULL_AT(3)
#define INTERCEPT_STGI BIT_ULL_AT(4)
#define INTERCEPT_CLGI BIT_ULL_AT(5)
#define INTERCEPT_SKINIT BIT_ULL_AT(6)
#define INTERCEPT_XSETBV BIT_ULL_AT(13)

#define VMCB_NESTED_PAGING BIT_ULL_AT(0)
/* INVLPGB and TLBSYNC raise #UD in the guest without it. */
#define VMCB_INVLPGB BIT_ULL_AT(7)
#define VMCB_TLB_FLUSH_ALL 1

/* EVENTINJ and EXITINTINFO (APM2 15.20, 15.7.2). */
#define EVENT_EXCEPTION (3u << 8)
#define EVENT_ERROR_CODE (1u << 11)
#define EVENT_VALID (1u << 31)

/* Exit codes (APM2 appendix C). */
#define VMEXIT_EXCEPTION_GP 0x4d
#define VMEXIT_CPUID 0x72
#define VMEXIT_INVD 0x76
#define VMEXIT_INVLPGA 0x7a
#define VMEXIT_MSR 0x7c
#define VMEXIT_SHUTDOWN 0x7f
#define VMEXIT_VMRUN 0x80
#define VMEXIT_VMMCALL 0x81
#define VMEXIT_VMLOAD 0x82
#define VMEXIT_VMSAVE 0x83
#define VMEXIT_STGI 0x84
#define VMEXIT_CLGI 0x85
#define VMEXIT_SKINIT 0x86
#define VMEXIT_XSETBV 0x8d
#define VMEXIT_NPF 0x400
#define VMEXIT_INVALID (~0ull)

/* Attributes of CS (APM2 4.7.2). */
#define CS_LONG BIT_ULL_AT(9)
#define CS_DEFAULT_32 BIT_ULL_AT(10)

struct vmcb_segment {
	u16 selector;
	u16 attributes;
	u32 limit;
	u64 base;
};

struct vmcb {
	u32 intercept_cr;
	u32 intercept_dr;
	u32 intercept_exceptions;
	u32 intercept_misc1;
	u32 intercept_misc2;
	u8 reserved_014[0x40 - 0x14];
	u64 iopm_base;
	u64 msrpm_base;
	u64 tsc_offset;
	u32 asid;
	u8 tlb_control;
	u8 reserved_05d[3];
	u64 virtual_interrupt;
	u64 interrupt_shadow;
	u64 exit_code;
	u64 exit_info1;
	u64 exit_info2;
	u64 exit_int_info;
	u64 nested_control;
	u8 reserved_098[0xa8 - 0x98];
	u64 event_injection;
	u64 nested_cr3;
	u64 lbr_control;
	u64 clean_bits;
	/* 0 on a processor that does not save it (CPUID 8000000A EDX.NRIPS, APM2 15.7.1). */
	u64 next_rip;
	u8 reserved_0d0[0x400 - 0xd0];

	struct vmcb_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	u8 reserved_4a0[0x4cb - 0x4a0];
	u8 cpl;
	u32 reserved_4cc;
	u64 efer;
	u8 reserved_4d8[0x548 - 0x4d8];
	u64 cr4;
	u64 cr3;
	u64 cr0;
	u64 dr7;
	u64 dr6;
	u64 rflags;
	u64 rip;
	u8 reserved_580[0x5d8 - 0x580];
	u64 rsp;
	/* Switched where the processor has shadow stacks (APM2 table B-2). */
	u64 s_cet, ssp, interrupt_ssp_table;
	u64 rax;
	u64 star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 cr2;
	u8 reserved_648[0x668 - 0x648];
	u64 guest_pat;
	u64 debugctl;
	u8 reserved_678[0x6e0 - 0x678];
	u64 spec_ctrl;
	u8 reserved_6e8[0x1000 - 0x6e8];
};

_Static_assert(offsetof(struct vmcb, iopm_base) == 0x40, "vmcb.iopm_base");
_Static_assert(offsetof(struct vmcb, asid) == 0x58, "vmcb.asid");
_Static_assert(offsetof(struct vmcb, exit_code) == 0x70, "vmcb.exit_code");
_Static_assert(offsetof(struct vmcb, event_injection) == 0xa8, "vmcb.event_injection");
_Static_assert(offsetof(struct vmcb, next_rip) == 0xc8, "vmcb.next_rip");
_Static_assert(offsetof(struct vmcb, cpl) == 0x4cb, "vmcb.cpl");
_Static_assert(offsetof(struct vmcb, efer) == 0x4d0, "vmcb.efer");
_Static_assert(offsetof(struct vmcb, rip) == VMCB_RIP, "vmcb.rip");
_Static_assert(offsetof(struct vmcb, rsp) == VMCB_RSP, "vmcb.rsp");
_Static_assert(offsetof(struct vmcb, s_cet) == 0x5e0, "vmcb.s_cet");
_Static_assert(offsetof(struct vmcb, rax) == VMCB_RAX, "vmcb.rax");
_Static_assert(offsetof(struct vmcb, cr2) == 0x640, "vmcb.cr2");
_Static_assert(offsetof(struct vmcb, guest_pat) == 0x668, "vmcb.guest_pat");
_Static_assert(offsetof(struct vmcb, spec_ctrl) == 0x6e0, "vmcb.spec_ctrl");
_Static_assert(sizeof(struct vmcb) == 0x1000, "struct vmcb");

/* Store what VMRUN does not switch: FS, GS, TR, LDTR and the MSRs of system calls (APM3 VMSAVE). */
static inline void vmsave(u64 physical)
{
	asm volatile("vmsave" : : "a"(physical) : "memory");
}

#endif
#endif
