/*
 * @NAME@ on the bare OS of Touchstone: the verbs that checks use. os.h and subject.h say what the OS
 * gives and wants; every function here is called on the boot CPU.
 */
#include "os.h"
#include "subject.h"

/* What 'negative errno' means here: the numbers are Linux'. */
#define EBUSY 16
#define ENOENT 2

static int loaded;

/* On every CPU at the same time, with interrupts off. Virtualise this CPU here. */
static void enter(void *unused)
{
	(void)unused;
}

/* On every CPU at the same time. Give this CPU back, with the guest's state of now, not of when it was loaded. */
static void leave(void *unused)
{
	(void)unused;
}

/* 0 when every CPU is virtualised; else nothing may have changed, and why says what stood in the way. */
static int load(const char *option, char *why, size_t size)
{
	(void)option;
	if (loaded) {
		os_snprintf(why, size, "it is loaded already");
		return -EBUSY;
	}
	os_on_every_cpu(enter, NULL);
	loaded = 1;
	return 0;
}

static int unload(char *why, size_t size)
{
	if (!loaded) {
		os_snprintf(why, size, "it is not loaded");
		return -ENOENT;
	}
	os_on_every_cpu(leave, NULL);
	loaded = 0;
	return 0;
}

/* cpus: how many are in guest mode now. None, as long as enter() does nothing. */
static int query(char *buffer, size_t size)
{
	os_snprintf(buffer, size, " loaded=%d name=@NAME@ version=0.1 cpus=0", loaded);
	return 0;
}

static const struct subject_ops @IDENTIFIER@ = {
	.name = "@NAME@",
	.load = load,
	.unload = unload,
	.query = query,
};

const struct subject_ops *const subject = &@IDENTIFIER@;
