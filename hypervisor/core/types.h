/* SPDX-License-Identifier: MIT */
/* Integer types, errno values, and helpers that all of Veneer uses. */
#ifndef VENEER_TYPES_H
#define VENEER_TYPES_H

#ifdef __ASSEMBLER__
#define BIT_ULL_AT(n) (1 << (n))
#else
#define BIT_ULL_AT(n) (1ull << (n))

#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/stddef.h>
#include <linux/types.h>
#else
#include <stdbool.h>
#include <stddef.h>
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

/* Linux' numbers, since hosts pass them on unchanged. */
#define EPERM 1
#define EIO 5
#define ENOMEM 12
#define EBUSY 16
#define ENODEV 19
#define EINVAL 22
#endif

#define PAGE_BYTES 4096ull
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define likely_(x) __builtin_expect(!!(x), 1)
/*
 * Not inlined: a function that only jumps to it needs no stack frame. rarely_called is also kept
 * apart from the usual path.
 */
#define out_of_line __attribute__((noinline))
#define rarely_called __attribute__((noinline, cold))
/* For what each of a few handlers has a copy of, so that an exit takes no other call. */
#define always_inlined inline __attribute__((always_inline))
#define unlikely_(x) __builtin_expect(!!(x), 0)

#endif
#endif
