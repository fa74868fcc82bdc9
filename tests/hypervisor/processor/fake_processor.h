/* SPDX-License-Identifier: MIT */
/* A processor that a test makes up: CPUID, MSRs, control registers and a VMCS, in a user-space process. */
#ifndef FAKE_PROCESSOR_H
#define FAKE_PROCESSOR_H

#include "core/vcpu.h"
#include "../check.h"

/* Nothing exists but what the two below set. CPUID of a leaf that was not set is 0. */
void forget_processor(void);
void set_cpuid(u32 leaf, u32 subleaf, u32 a, u32 b, u32 c, u32 d);
/* The MSR exists from now on. Access to one that does not is #GP, and ends the test where no fault is expected. */
void set_msr(u32 msr, u64 value);
u64 get_msr(u32 msr);

/* The current VMCS, by field. */
extern u64 fake_vmcs[0x8000];
extern u64 fake_cr0, fake_cr2, fake_cr4, fake_dr[4], fake_dr6;
extern u16 fake_cs, fake_ss;
/* How often INVEPT, INVVPID, VMXOFF, INT 18 and INT 2 were executed. */
extern unsigned int fake_invepts, fake_invvpids, fake_vmxoffs, fake_machine_checks, fake_nmis;
extern bool fake_vmxon_fails, fake_vmclear_fails, fake_vmptrld_fails;
/* What vmx_launch() and svm_launch() do and return; NULL: they enter guest mode. */
extern int (*fake_launch)(struct vcpu *vcpu);
/* VMWRITE refuses it, if it is one. */
extern u64 fake_missing_field;
#define NO_FIELD (~0ull)
/* Called in front of the next VMWRITE to the primary controls, as an NMI in host mode would be; once. */
extern void (*fake_interruption)(void);
/*
 * The value at an address when order_before_x2apic_write() was called in front of the last write of x2APIC mode's command
 * register.
 */
extern const u8 *fake_watched;
extern int fake_at_command;
#define NOT_ORDERED (-1)
/* Where the local APIC is. */
#define FAKE_APIC 0xfee00000ull

/* How often host_alloc() has memory; -1: as often as it is asked. */
extern int fake_allocations_left;
extern unsigned int fake_allocations_refused;

/* Map the memory of the host. Once, before everything else. */
void prepare_fake_host(void);

/*
 * Processors of this kind, on which Veneer can be loaded; a CPU of theirs, for which all is allocated; one that Veneer has
 * entered.
 */
struct vcpu *allocate_intel(void);
struct vcpu *allocate_amd(void);
struct vcpu *enter_intel(void);
struct vcpu *enter_amd(void);
void set_up_intel(void);
void set_up_amd(void);
void forget_vcpu(void);
/* Leave guest mode for good. */
void leave(struct vcpu *vcpu);
/* Whether a function ends in resume_context(). */
bool leaves(struct vcpu *vcpu, void (*function)(struct vcpu *vcpu));
/* An exit of 64-bit code at CPL 0, caused by an instruction of `length` bytes. */
void exit_by(struct vcpu *vcpu, u32 reason, u64 qualification, u32 information, u32 length);

void test_vmx_exits(void);
void test_memory_types(void);
void test_shadow_stacks(void);
void test_spec_ctrl(void);
void test_pebs(void);
void test_nmis(void);
void test_machine_checks(void);
void test_single_steps(void);
void test_init(void);
void test_unlocking(void);
void test_obstacles(void);
void test_features(void);
void test_starting_cpus(void);
void test_crash_reports(void);
void test_examined(void);
void test_entered_state(void);
void test_refused_entries(void);
void test_entry_checks(void);

/* What host_start_page() returns: NULL, or a page at this address. */
#define FAKE_START_PAGE 0x90000ull
extern void *fake_start_page;

#endif
