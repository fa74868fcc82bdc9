// SPDX-License-Identifier: MIT
/*
 * The whole report of each exit that ends in one. Every field of the VMCS and of the VMCB has another number, as wide as it
 * can be, so that one that is taken for another, or cut, is seen. Fields are named here by their encodings (SDM 3D appendix
 * B) and offsets (APM2 appendix B).
 */
#include <string.h>
#include <sys/wait.h>
/* fake_x86.h has put another one in the place of x86.h's, and unistd.h has its own. */
#undef pause
#include <unistd.h>

#include "core/crash_report.h"
#include "core/host.h"
#include "fake_processor.h"
#include "svm/exit.h"
#include "vmx/exit.h"

#define UNIQUE(field) (0xfedc000000000123ull | (u64)(field) << 16)
#define CR2 0xaaaabbbbccccddddull
#define MORE 1024

static char expected[MORE];
static bool expects_report;

void host_die(const char *report)
{
	if (!expects_report) {
		fprintf(stderr, "died: %s\n", report);
		exit(2);
	}
	if (strcmp(report, expected)) {
		fprintf(stderr, "expected: %s\nbut: %s\n", expected, report);
		exit(1);
	}
	exit(0);
}

/* In a process of its own, since the first report is the last one. */
static void expect_report(struct vcpu *vcpu, void (*function)(struct vcpu *vcpu))
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	CHECK(child >= 0);
	if (!child) {
		expects_report = true;
		function(vcpu);
		fprintf(stderr, "no report, but expected: %s\n", expected);
		exit(1);
	}
	CHECK(waitpid(child, &status, 0) == child);
	CHECK(WIFEXITED(status) && !WEXITSTATUS(status));
}

static struct vcpu *enter_intel_as(unsigned int cpu)
{
	struct vcpu *vcpu;

	set_up_intel();
	vcpu = enter_intel();
	vcpu->cpu = cpu;
	fake_cr2 = CR2;
	for (u64 field = 0; field < COUNT_OF(fake_vmcs); field++)
		fake_vmcs[field] = UNIQUE(field);
	return vcpu;
}

static void expect_vmx_report(const char *why, u32 reason)
{
	struct vcpu *vcpu = enter_intel_as(19);
	const u64 rip = UNIQUE(0x681e);

	fake_vmcs[0x4402] = reason;
	snprintf(expected, sizeof(expected),
		 "veneer: %s rip=%llx rsp=0 cr2=%llx cpu=19 exit=%x guest-rip=%llx reason=%x "
		 "qualification=%llx event=%llx vectoring=%llx error=%llx physical=%llx "
		 "guest-rsp=%llx guest-cr3=%llx exits=%x:%llx",
		 why, rip, CR2, reason, rip, reason, UNIQUE(0x6400), UNIQUE(0x4404), UNIQUE(0x4408),
		 UNIQUE(0x4400), UNIQUE(0x2400), UNIQUE(0x681c), UNIQUE(0x6802), reason, rip);
	expect_report(vcpu, vmx_handle_exit);
	forget_vcpu();
}

/* VMRESUME fails behind an exit, whose information is still there. */
static void expect_resume_report(void)
{
	struct vcpu *vcpu = enter_intel_as(20);
	const u64 rip = UNIQUE(0x681e);

	fake_vmcs[0x4402] = REASON_CPUID;
	vmx_handle_exit(vcpu);
	snprintf(expected, sizeof(expected),
		 "veneer: VMRESUME failed rip=%llx rsp=0 cr2=%llx cpu=20 exit=%x guest-rip=%llx "
		 "reason=%x qualification=%llx event=%llx vectoring=%llx error=%llx physical=%llx "
		 "guest-rsp=%llx guest-cr3=%llx exits=%x:%llx",
		 rip, CR2, REASON_CPUID, rip, REASON_CPUID, UNIQUE(0x6400), UNIQUE(0x4404),
		 UNIQUE(0x4408), UNIQUE(0x4400), UNIQUE(0x2400), UNIQUE(0x681c), UNIQUE(0x6802),
		 REASON_CPUID, rip);
	expect_report(vcpu, vmx_resume_failed);
	forget_vcpu();
}

static void die_without_vmcs(struct vcpu *vcpu)
{
	die(vcpu, "fault", 1, 2);
}

/* A fault in host mode when the VMCS is no longer, or not yet, current: VMREAD would fail. */
static void expect_report_without_vmcs(void)
{
	struct refusal refusal = { 0 };
	struct vcpu *vcpu;

	set_up_intel();
	vcpu = allocate_intel();
	fake_cr2 = CR2;
	CHECK(!vcpu->backend->enable(vcpu, &refusal));
	snprintf(expected, sizeof(expected),
		 "veneer: fault rip=1 rsp=2 cr2=%llx cpu=0 exit=0 guest-rip=0 (no VMCS) exits=",
		 CR2);
	expect_report(vcpu, die_without_vmcs);
	forget_vcpu();
}

static void exit_svm(struct vcpu *vcpu)
{
	svm_handle_exit(vcpu, vcpu->vmcb);
}

static void expect_svm_report(const char *why, u64 code)
{
	struct vcpu *vcpu;
	u64 rip, *fields;

	set_up_amd();
	vcpu = enter_amd();
	vcpu->cpu = 21;
	fake_cr2 = CR2;
	fields = (u64 *)vcpu->vmcb;
	for (u64 offset = 0; offset < PAGE_BYTES; offset += 8)
		fields[offset / 8] = UNIQUE(offset);
	fields[0x70 / 8] = code;
	rip = UNIQUE(0x578);
	snprintf(expected, sizeof(expected),
		 "veneer: %s rip=%llx rsp=0 cr2=%llx cpu=21 exit=%x guest-rip=%llx exitcode=%llx "
		 "info1=%llx info2=%llx intinfo=%llx guest-rsp=%llx guest-cr3=%llx exits=%x:%llx",
		 why, rip, CR2, (u32)code, rip, code, UNIQUE(0x78), UNIQUE(0x80), UNIQUE(0x88),
		 UNIQUE(0x5d8), UNIQUE(0x550), (u32)code, rip);
	expect_report(vcpu, exit_svm);
	forget_vcpu();
}

void test_crash_reports(void)
{
	/* Exit reasons of SDM 3D appendix C, and exit codes of APM2 appendix C. */
	expect_vmx_report("guest triple fault", 2);
	expect_vmx_report("guest access outside of physical memory", 48);
	expect_vmx_report("guest access outside of physical memory", 49);
	expect_vmx_report("exit that nobody asked for", 1);
	expect_resume_report();
	expect_report_without_vmcs();
	expect_svm_report("guest triple fault", 0x7f);
	expect_svm_report("guest access outside of physical memory", 0x400);
	expect_svm_report("exit that nobody asked for", 0x60);
}
