/* SPDX-License-Identifier: MIT */
#ifndef BARE_APIC_H
#define BARE_APIC_H

#include "../agent/probe.h"

/* Vectors of the OS' own interrupts (PROTOCOL.md names them). */
#define VECTOR_CONSOLE 0x24
#define VECTOR_WAKE 0xf0
#define VECTOR_TIMER 0xf1
#define VECTOR_SPURIOUS 0xff

/* Commands for apic_send() (SDM 3A 10.6.1). */
#define APIC_FIXED 0x4000u
#define APIC_NMI 0x4400u
#define APIC_INIT 0x4500u
#define APIC_STARTUP 0x4600u

/* Mask the PICs, and route the serial port's interrupt to this CPU. io_apic: 0 for the default address. */
void apic_init(uint64_t io_apic);
void apic_init_this_cpu(void);
/* The interrupt controllers as they were before apic_init(). Boot CPU only. */
void apic_leave(void);
uint8_t apic_id(void);
void apic_end_of_interrupt(void);
/* Send an inter-processor interrupt. Interrupts must be off. */
void apic_send(uint8_t apic_id, uint32_t command);
/* One interrupt VECTOR_TIMER after `count` ticks of the APIC's clock, of unknown frequency; 0 stops it. */
void apic_start_timer(uint32_t count);

/* See struct probe_apic. */
extern const struct probe_apic apic_of_probes;

#endif
