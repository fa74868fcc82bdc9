/* SPDX-License-Identifier: MIT */
/*
 * Included in front of every file of Veneer (-include): its wrappers of privileged instructions, and
 * CPUID, become functions of fake_processor.c. The real ones stay behind, under names that nobody
 * calls.
 */
#ifndef FAKE_X86_H
#define FAKE_X86_H

#define cpuid real_cpuid
#define cpuid_wide real_cpuid_wide
#define read_msr real_read_msr
#define write_msr real_write_msr
#define order_before_x2apic_write real_order_before_x2apic_write
#define read_cr0 real_read_cr0
#define write_cr0 real_write_cr0
#define read_cr2 real_read_cr2
#define write_cr2 real_write_cr2
#define read_cr3 real_read_cr3
#define read_cr4 real_read_cr4
#define write_cr4 real_write_cr4
#define read_dr real_read_dr
#define clear_breakpoints real_clear_breakpoints
#define read_dr6 real_read_dr6
#define write_dr6 real_write_dr6
#define read_dr7 real_read_dr7
#define raise_nmi real_raise_nmi
#define pause real_pause
#define raise_machine_check real_raise_machine_check
#define read_cs real_read_cs
#define read_ss real_read_ss
#define read_fs real_read_fs
#define read_gs real_read_gs
#define read_ldtr real_read_ldtr
#define read_tr real_read_tr
#define write_back_invalidate real_write_back_invalidate
#define vmcs_read real_vmcs_read
#define vmcs_read_into real_vmcs_read_into
#define vmcs_write real_vmcs_write
#define vmcs_write_safe real_vmcs_write_safe
#define vmclear real_vmclear
#define vmptrld real_vmptrld
#define vmxoff real_vmxoff
#define invept_all real_invept_all
#define invvpid_all real_invvpid_all
#define vmsave real_vmsave
#include "core/x86.h"
#include "svm/vmcb.h"
#include "vmx/vmcs.h"
#undef cpuid
#undef cpuid_wide
#undef read_msr
#undef write_msr
#undef order_before_x2apic_write
#undef read_cr0
#undef write_cr0
#undef read_cr2
#undef write_cr2
#undef read_cr3
#undef read_cr4
#undef write_cr4
#undef read_dr
#undef clear_breakpoints
#undef read_dr6
#undef write_dr6
#undef read_dr7
#undef raise_nmi
#undef pause
#undef raise_machine_check
#undef read_cs
#undef read_ss
#undef read_fs
#undef read_gs
#undef read_ldtr
#undef read_tr
#undef write_back_invalidate
#undef vmcs_read
#undef vmcs_read_into
#undef vmcs_write
#undef vmcs_write_safe
#undef vmclear
#undef vmptrld
#undef vmxoff
#undef invept_all
#undef invvpid_all
#undef vmsave

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d);
void cpuid_wide(u32 leaf, u32 subleaf, u64 *a, u64 *b, u64 *c, u64 *d);
u64 read_msr(u32 msr);
void write_msr(u32 msr, u64 value);
void order_before_x2apic_write(void);
u64 read_cr0(void);
void write_cr0(u64 value);
u64 read_cr2(void);
void write_cr2(u64 value);
u64 read_cr3(void);
u64 read_cr4(void);
void write_cr4(u64 value);
u64 read_dr(unsigned int number);
void clear_breakpoints(void);
u64 read_dr6(void);
void write_dr6(u64 value);
u64 read_dr7(void);
void raise_nmi(void);
#define pause fake_pause
void fake_pause(void);
void raise_machine_check(void);
u16 read_cs(void);
u16 read_ss(void);
u16 read_fs(void);
u16 read_gs(void);
u16 read_ldtr(void);
u16 read_tr(void);
void write_back_invalidate(void);
u64 vmcs_read(u64 field);
void vmcs_read_into(u64 field, u64 *value);
void vmcs_write(u64 field, u64 value);
bool vmcs_write_safe(u64 field, u64 value);
bool vmclear(u64 physical);
bool vmptrld(u64 physical);
void vmxoff(void);
void invept_all(void);
void invvpid_all(void);
void vmsave(u64 physical);

#endif
