/* SPDX-License-Identifier: MIT */
#ifndef BARE_PRINT_H
#define BARE_PRINT_H

#include <stdarg.h>
#include <stddef.h>

/* As vsnprintf, with the formats that os.h names; returns the length that it would need. */
int print_format(char *buffer, size_t size, const char *format, va_list arguments);

#endif
