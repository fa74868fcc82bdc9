/* SPDX-License-Identifier: MIT */
/* Messages to the kernel's log. Included first, since it says how pr_err() and pr_info() begin. */
#ifndef VENEER_LINUX_LOG_H
#define VENEER_LINUX_LOG_H

#define pr_fmt(fmt) "veneer: " fmt

#include <linux/printk.h>

#endif
