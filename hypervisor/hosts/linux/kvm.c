// SPDX-License-Identifier: MIT
/*
 * KVM and Veneer want the same hardware. Until Linux 6.12 KVM takes it with the
 * first virtual machine and not when it is loaded, and then does not ask whether it
 * is still there: a kvm_amd from before Veneer would run into #GP and #UD. So
 * Veneer takes the place of /dev/kvm while it is loaded: it gets it only if there is
 * no KVM, and nobody gets a virtual machine until it has left.
 */
#include "linux.h"

#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>

static int refuse_open(struct inode *inode, struct file *file)
{
	return -EBUSY;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = refuse_open,
};

static struct miscdevice place = {
	.minor = KVM_MINOR,
	.name = "kvm-kept-out-by-veneer",
	.fops = &operations,
	.mode = 0600,
};

int kvm_keep_out(void)
{
	return misc_register(&place);
}

void kvm_let_in(void)
{
	misc_deregister(&place);
}
