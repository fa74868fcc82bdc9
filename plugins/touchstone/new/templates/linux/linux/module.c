/*
 * @NAME@ as a module: /dev/@NAME@ takes "load", "unload" or "query" in a line, and the next read gives the
 * answer, "ok KEY=VALUE ..." or "error -ERRNO why".
 */
#include <linux/cpu.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/uaccess.h>

static DEFINE_MUTEX(lock);
static bool loaded;
static char answer[128];

/* On every CPU at the same time, with interrupts off. Virtualise this CPU here. */
static void enter(void *unused)
{
}

/* On every CPU at the same time. Give this CPU back, with the guest's state of now, not of when it was loaded. */
static void leave(void *unused)
{
}

static void obey(const char *word)
{
	strscpy(answer, "ok\n", sizeof(answer));
	cpus_read_lock(); /* No CPU comes or goes meanwhile. */
	if (!strcmp(word, "load") && loaded) {
		snprintf(answer, sizeof(answer), "error %d it is loaded already\n", -EBUSY);
	} else if (!strcmp(word, "load")) {
		on_each_cpu(enter, NULL, 1);
		loaded = true;
	} else if (!strcmp(word, "unload") && !loaded) {
		snprintf(answer, sizeof(answer), "error %d it is not loaded\n", -ENOENT);
	} else if (!strcmp(word, "unload")) {
		on_each_cpu(leave, NULL, 1);
		loaded = false;
	} else if (!strcmp(word, "query")) {
		/* cpus: how many are in guest mode now. None, as long as enter() does nothing. */
		snprintf(answer, sizeof(answer), "ok loaded=%d name=@NAME@ version=0.1 cpus=0\n", loaded);
	} else {
		snprintf(answer, sizeof(answer), "error %d load, unload or query\n", -EINVAL);
	}
	cpus_read_unlock();
}

static ssize_t device_write(struct file *file, const char __user *from, size_t count, loff_t *at)
{
	char word[16] = "";

	if (count >= sizeof(word))
		return -EINVAL;
	if (copy_from_user(word, from, count))
		return -EFAULT;
	mutex_lock(&lock);
	obey(strim(word));
	mutex_unlock(&lock);
	*at = 0;
	return count;
}

static ssize_t device_read(struct file *file, char __user *to, size_t count, loff_t *at)
{
	ssize_t done;

	mutex_lock(&lock);
	done = simple_read_from_buffer(to, count, at, answer, strlen(answer));
	mutex_unlock(&lock);
	return done;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.read = device_read,
	.write = device_write,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "@NAME@",
	.fops = &operations,
	.mode = 0600,
};

static int __init start(void)
{
	return misc_register(&device);
}

static void __exit end(void)
{
	if (loaded)
		on_each_cpu(leave, NULL, 1);
	misc_deregister(&device);
}

module_init(start);
module_exit(end);
MODULE_DESCRIPTION("@NAME@, a hypervisor");
MODULE_LICENSE("Dual MIT/GPL");
