/* SPDX-License-Identifier: MIT */
#ifndef VENEER_LINUX_MEMORY_H
#define VENEER_LINUX_MEMORY_H

/* The number of pages that Veneer holds. */
long memory_pages(void);

#endif
