/* SPDX-License-Identifier: MIT */
/* Offsets into struct fpu_state for fpu_hold.S; fpu.c asserts them. */
#ifndef AGENT_WORK_FPU_H
#define AGENT_WORK_FPU_H

#define FPU_VECTOR 0x000
#define FPU_MASK 0x800
#define FPU_X87 0x840
#define FPU_MXCSR 0x8c0
#define FPU_CONTROL 0x8c4
#define FPU_CPUID 0x8c8

#ifndef __ASSEMBLER__
#include <stdint.h>

struct fpu_state {
	uint8_t vector[32][64]; /* XMM0-15: 16 bytes each; YMM0-15: 32; ZMM0-31: 64 */
	uint64_t mask[8];	/* k0-k7 */
	uint8_t x87[8][16];	/* ST0-7, 10 bytes each */
	uint32_t mxcsr;
	uint16_t control; /* the x87's control word */
	uint16_t reserved;
	uint32_t cpuid[4]; /* out: EAX, EBX, ECX, EDX of leaf 0 */
};

/*
 * Load all registers of one width; then execute CPUID and sched_yield() `turns` times; then store the
 * registers.
 */
void fpu_hold_sse(const struct fpu_state *given, struct fpu_state *found, uint64_t turns);
void fpu_hold_avx(const struct fpu_state *given, struct fpu_state *found, uint64_t turns);
void fpu_hold_avx512(const struct fpu_state *given, struct fpu_state *found, uint64_t turns);
#endif

#endif
