// SPDX-License-Identifier: MIT
/* The device /dev/touchstone-agent. One process at a time may open it; its memory is allocated at open and freed at close. */
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/overflow.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "cpus.h"
#include "request.h"

static DEFINE_MUTEX(lock);
static struct cpus *current_cpus;

static int agent_open(struct inode *inode, struct file *file)
{
	struct cpus *cpus;
	int error = 0;

	/* A probe runs in ring 0: whoever may run one could load a module as well. */
	if (!capable(CAP_SYS_MODULE))
		return -EPERM;
	if (mutex_lock_interruptible(&lock))
		return -EINTR;
	if (current_cpus) {
		error = -EBUSY;
		goto out;
	}
	cpus = kzalloc(sizeof(*cpus), GFP_KERNEL);
	error = cpus ? cpus_create(cpus) : -ENOMEM;
	if (error)
		kfree(cpus);
	else
		current_cpus = cpus;
out:
	mutex_unlock(&lock);
	return error;
}

static int agent_release(struct inode *inode, struct file *file)
{
	mutex_lock(&lock);
	cpus_destroy(current_cpus);
	kfree(current_cpus);
	current_cpus = NULL;
	mutex_unlock(&lock);
	return 0;
}

static long tell_info(struct touchstone_info __user *user)
{
	struct touchstone_info info = {
		.abi = TOUCHSTONE_ABI,
		.cpus = current_cpus->count,
		.slot = { SLOT_SUPERVISOR_BASE, SLOT_USER_BASE },
	};
	unsigned int i;
	u32 abi;

	for (i = 0; i < current_cpus->count; i++)
		info.number[i] = current_cpus->cpu[i]->number;
	if (get_user(abi, &user->abi) || copy_to_user(user, &info, sizeof(info)))
		return -EFAULT;
	return abi == TOUCHSTONE_ABI ? 0 : -EPROTO;
}

static long run_probe(const struct touchstone_run *run)
{
	unsigned int count = cpu_mask_count(&run->cpus);
	struct probe_request *request;
	struct probe_outcome *outcomes;
	long error;

	if (run->request_size != sizeof(*request) || run->outcome_size != sizeof(*outcomes))
		return -EPROTO;
	if (run->together > 1 || run->reserved || !count || (!run->together && count != 1))
		return -EINVAL;
	if (cpu_mask_beyond(&run->cpus, current_cpus->count))
		return -ENXIO;
	request = memdup_user((const void __user *)run->request, sizeof(*request));
	if (IS_ERR(request))
		return PTR_ERR(request);
	/* Zeroed, because members that are not filled in are copied to user space, too. */
	outcomes = kvcalloc(count, sizeof(*outcomes), GFP_KERNEL);
	if (!outcomes)
		error = -ENOMEM;
	else if (!request_valid(request))
		error = -EINVAL;
	else
		error = cpus_run(current_cpus, &run->cpus, run->together, request, outcomes);
	if (!error && copy_to_user((void __user *)run->outcomes, outcomes,
				   array_size(count, sizeof(*outcomes))))
		error = -EFAULT;
	kvfree(outcomes);
	kfree(request);
	return error;
}

static long agent_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct touchstone_run run;
	long error;

	if (mutex_lock_interruptible(&lock))
		return -EINTR;
	switch (command) {
	case TOUCHSTONE_INFO:
		error = tell_info((struct touchstone_info __user *)argument);
		break;
	case TOUCHSTONE_RUN:
		error = copy_from_user(&run, (const void __user *)argument, sizeof(run))
				? -EFAULT
				: run_probe(&run);
		break;
	default:
		error = -ENOTTY;
	}
	mutex_unlock(&lock);
	return error;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = agent_open,
	.release = agent_release,
	.unlocked_ioctl = agent_ioctl,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = TOUCHSTONE_DEVICE,
	.mode = 0600,
	.fops = &operations,
};

static int __init agent_init(void)
{
	int error = isolation_init();

	return error ? error : misc_register(&device);
}

static void __exit agent_exit(void)
{
	misc_deregister(&device);
}

module_init(agent_init);
module_exit(agent_exit);

MODULE_DESCRIPTION("Runs Touchstone's probes");
MODULE_LICENSE("Dual MIT/GPL");
