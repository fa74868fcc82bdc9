// SPDX-License-Identifier: MIT
/*
 * On SVM nothing tells a hypervisor of a start-up IPI, and an INIT, even if it is intercepted, stays pending and resets the
 * CPU as soon as host mode lets it (APM2 15.13.4). So an INIT takes a CPU out of guest mode, and Veneer takes it back when
 * it is started: writes to the local APIC exit, and a start-up IPI is sent with the number of Veneer's own page. There
 * the CPU enters host mode, and guest mode at the page that the OS has meant (svm/start.c).
 */
#include "start_cpus.h"

#include "completion.h"
#include "crash_report.h"
#include "decode.h"
#include "host.h"
#include "local_apic.h"
#include "memory.h"
#include "vcpus.h"

/* Interrupt command register (SDM 3A 11.6.1, APM2 16.5). */
#define COMMAND_LOW 0x300
#define COMMAND_HIGH 0x310
#define DELIVERY_MODE(command) ((command) >> 8 & 7)
#define DELIVERY_STARTUP 6
#define SHORTHAND(command) ((command) >> 18 & 3)
#define SHORTHAND_NONE 0
#define VECTOR_MASK 0xffu
#define EVERYBODY 0xffu
#define EVERYBODY_X2APIC ~0u

void remember_apic_id(struct vcpu *vcpu)
{
	vcpu->apic_id = this_apic_id();
}

struct vcpu *vcpu_of_apic_id(u32 id)
{
	for (unsigned int cpu = 0; cpu < vcpu_count; cpu++) {
		if (vcpus[cpu]->apic_id == id)
			return vcpus[cpu];
	}
	return NULL;
}

static volatile u32 *apic(u32 offset)
{
	return physical_to_host(LOCAL_APIC_ADDRESS + offset);
}

/* To be told by itself, where it starts: nobody looks at it before. */
static void tell(struct vcpu *vcpu, u8 vector)
{
	if (vcpu)
		__atomic_store_n(&vcpu->start_vector, vector, __ATOMIC_RELEASE);
}

/*
 * The command as it is to be sent. A CPU that does not wait for a start-up IPI ignores it. Destinations are physical:
 * a CPU after INIT has no logical one (APM2 16.6.1).
 */
static u32 redirect_startup(u32 command, u32 to, u32 everybody)
{
	u8 vector = command & VECTOR_MASK;

	if (DELIVERY_MODE(command) != DELIVERY_STARTUP)
		return command;
	if (SHORTHAND(command) == SHORTHAND_NONE && to != everybody) {
		tell(vcpu_of_apic_id(to), vector);
	} else {
		for (unsigned int cpu = 0; cpu < vcpu_count; cpu++)
			tell(vcpus[cpu], vector);
	}
	return (command & ~VECTOR_MASK) | (u32)((u64)host_start_page() >> 12);
}

/* In x2APIC mode the destination is the upper half (SDM 3A 11.12.9, APM2 16.11). */
u64 redirect_x2apic_command(u64 command)
{
	u32 to = command >> 32;

	command = redirect_startup((u32)command, to, EVERYBODY_X2APIC);
	/* The CPU that is started reads what tell() has stored. */
	order_before_x2apic_write();
	return (u64)to << 32 | command;
}

/* A write to the local APIC's page (APM2 15.25.6: nested page fault): the guest may read it, and not write. */
void handle_apic_write(struct vcpu *vcpu)
{
	struct store store;

	if (!decode_store(vcpu, &store))
		die(vcpu, "write to the local APIC by an instruction that is not known", vcpu->rip,
		    vcpu->apic_offset);
	if (vcpu->apic_offset == COMMAND_LOW)
		store.value = redirect_startup(store.value, *apic(COMMAND_HIGH) >> 24, EVERYBODY);
	*apic(vcpu->apic_offset) = store.value;
	vcpu->next_rip = vcpu->rip + store.length;
	complete_instruction(vcpu);
}
