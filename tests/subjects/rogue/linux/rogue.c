// SPDX-License-Identifier: MIT
/*
 * It virtualises nothing, and does to the machine what a hypervisor with a grave fault does, as the word says that is
 * written to its parameter: tests/acceptance/test_rogues.py.
 */
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/smp.h>
#include <linux/string.h>

#define COM1 0x3f8
#define UART_IER 1
#define UART_MCR 4

static void spin(void *unused)
{
	local_irq_disable();
	for (;;)
		cpu_relax();
}

static int obey(const char *word, const struct kernel_param *parameter)
{
	unsigned int cpu;

	if (sysfs_streq(word, "park")) /* one CPU, not the one that answers */
		return smp_call_function_single(cpumask_last(cpu_online_mask), spin, NULL, 0);
	if (sysfs_streq(word, "park-all"))
		for_each_online_cpu(cpu) smp_call_function_single(cpu, spin, NULL, 0);
	if (sysfs_streq(word, "hang"))
		for (;;)
			msleep(1000);
	/* What the console says goes back to the sender: loopback mode, and no interrupt. */
	if (sysfs_streq(word, "serial")) {
		outb(0, COM1 + UART_IER);
		outb(0x10, COM1 + UART_MCR);
	}
	if (sysfs_streq(word, "panic"))
		panic("rogue");
	return 0;
}

static const struct kernel_param_ops operations = { .set = obey };

module_param_cb(does, &operations, NULL, 0200);
MODULE_DESCRIPTION("Touchstone's tests: a subject that harms the machine");
MODULE_LICENSE("Dual MIT/GPL");
