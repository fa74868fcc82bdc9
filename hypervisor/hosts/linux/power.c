// SPDX-License-Identifier: MIT
/*
 * Before suspend and hibernation, where CPUs lose the state that Veneer has set up, it is
 * unloaded, and loaded again after them. Before reboot, power-off and kexec it is unloaded too: a
 * kernel that starts on a CPU in guest mode would find that INIT does not work, and its memory in
 * use by Veneer.
 */
#include "power.h"
#include "state.h"

#include <linux/notifier.h>
#include <linux/reboot.h>
#include <linux/suspend.h>

static int on_suspend(struct notifier_block *block, unsigned long event, void *data)
{
	switch (event) {
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
	case PM_SUSPEND_PREPARE:
		state_suspend("the system is being suspended");
		break;
	case PM_POST_HIBERNATION:
	case PM_POST_RESTORE:
	case PM_POST_SUSPEND:
		state_resume();
		break;
	}
	return NOTIFY_DONE;
}

static int on_reboot(struct notifier_block *block, unsigned long event, void *data)
{
	state_suspend("the system is going down");
	return NOTIFY_DONE;
}

static struct notifier_block suspend_block = { .notifier_call = on_suspend };
static struct notifier_block reboot_block = { .notifier_call = on_reboot };

int power_start(void)
{
	int error = register_pm_notifier(&suspend_block);

	if (error)
		return error;
	error = register_reboot_notifier(&reboot_block);
	if (error)
		unregister_pm_notifier(&suspend_block);
	return error;
}

void power_stop(void)
{
	unregister_reboot_notifier(&reboot_block);
	unregister_pm_notifier(&suspend_block);
}
