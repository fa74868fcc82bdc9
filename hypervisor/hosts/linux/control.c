// SPDX-License-Identifier: MIT
/*
 * /dev/veneer, for root. One request per write, a line of text; then reads give
 * the answer, a line as well:
 *
 *	1 load			ok
 *	1 unload		ok
 *	1 query			ok loaded=1 name=veneer ...
 *	1 exits CPU		ok cpuid=3 ...
 *	1 trace CPU COUNT	ok exits=CODE:RIP:ECX|EAX,...
 *
 * The number is the version of this protocol. A request that fails makes the
 * write fail with its errno, and the answer is "error -ERRNO REASON". Who opens the
 * device has an answer of their own, which stays until the next request.
 */
#include "log.h"
#include "control.h"
#include "state.h"

#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#define PROTOCOL "1"
#define REQUEST_BYTES 64
#define WORDS_MOST 4

struct session {
	/* One request at a time of those who share a file. */
	struct mutex lock;
	size_t length, read;
	char reason[ANSWER_BYTES];
	char answer[ANSWER_BYTES + 32];
};

static int run_load(const unsigned int *numbers, char *reason)
{
	return state_load(reason);
}

static int run_unload(const unsigned int *numbers, char *reason)
{
	return state_unload(reason);
}

static int run_query(const unsigned int *numbers, char *reason)
{
	return state_query(reason);
}

static int run_exits(const unsigned int *numbers, char *reason)
{
	return state_exits(numbers[0], reason);
}

static int run_trace(const unsigned int *numbers, char *reason)
{
	return state_trace(numbers[0], numbers[1], reason);
}

static const struct verb {
	const char *name;
	int numbers;
	int (*run)(const unsigned int *numbers, char *reason);
} verbs[] = {
	{ .name = "load", .run = run_load },
	{ .name = "unload", .run = run_unload },
	{ .name = "query", .run = run_query },
	{ .name = "exits", .numbers = 1, .run = run_exits },
	{ .name = "trace", .numbers = 2, .run = run_trace },
};

static int complain(char *reason, const char *what)
{
	strscpy(reason, what, ANSWER_BYTES);
	return -EINVAL;
}

static bool is_text(const char *line, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (line[i] < ' ' || line[i] > '~')
			return false;
	}
	return true;
}

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (!strcmp(verbs[i].name, name))
			return &verbs[i];
	}
	return NULL;
}

static int run_line(char *line, char *reason)
{
	unsigned int numbers[WORDS_MOST] = { 0 };
	char *words[WORDS_MOST], *word;
	const struct verb *verb;
	int count = 0;

	while ((word = strsep(&line, " "))) {
		if (!*word)
			continue;
		if (count == WORDS_MOST)
			return complain(reason, "a request has at most four words");
		words[count++] = word;
	}
	if (count < 2 || strcmp(words[0], PROTOCOL))
		return complain(reason,
				"a request is '" PROTOCOL " VERB ...': no other version is spoken");
	verb = find_verb(words[1]);
	if (!verb)
		return complain(reason,
				"unknown verb: load, unload, query, exits and trace there are");
	if (count != verb->numbers + 2)
		return complain(reason, "wrong number of words: exits CPU, trace CPU COUNT");
	for (int i = 0; i < verb->numbers; i++) {
		if (kstrtouint(words[i + 2], 10, &numbers[i]))
			return complain(reason, "a CPU or a count is a decimal number");
	}
	return verb->run(numbers, reason);
}

static ssize_t control_write(struct file *file, const char __user *from, size_t size, loff_t *at)
{
	struct session *session = file->private_data;
	char line[REQUEST_BYTES];
	size_t used;
	int error;

	/* A line that is too long is refused below; what does not fit is not read. */
	used = min(size, sizeof(line) - 1);
	if (copy_from_user(line, from, used))
		return -EFAULT;
	line[used] = '\0';
	if (used && line[used - 1] == '\n')
		line[--used] = '\0';

	if (mutex_lock_interruptible(&session->lock))
		return -ERESTARTSYS;
	session->reason[0] = '\0';
	if (size >= sizeof(line))
		error = complain(session->reason, "a request has less than 64 characters");
	else if (!is_text(line, used))
		error = complain(session->reason, "a request is one line of printable ASCII");
	else
		error = run_line(line, session->reason);
	if (error)
		session->length = scnprintf(session->answer, sizeof(session->answer),
					    "error %d %s\n", error, session->reason);
	else
		session->length = scnprintf(session->answer, sizeof(session->answer), "ok%s\n",
					    session->reason);
	session->read = 0;
	mutex_unlock(&session->lock);
	return error ? error : (ssize_t)size;
}

static ssize_t control_read(struct file *file, char __user *to, size_t size, loff_t *at)
{
	struct session *session = file->private_data;

	if (mutex_lock_interruptible(&session->lock))
		return -ERESTARTSYS;
	size = min(size, session->length - session->read);
	if (copy_to_user(to, session->answer + session->read, size)) {
		mutex_unlock(&session->lock);
		return -EFAULT;
	}
	session->read += size;
	mutex_unlock(&session->lock);
	return size;
}

static int control_open(struct inode *inode, struct file *file)
{
	struct session *session;

	/* Checked here as well, since the mode of the device file can be changed. */
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	session = kzalloc(sizeof(*session), GFP_KERNEL);
	if (!session)
		return -ENOMEM;
	mutex_init(&session->lock);
	file->private_data = session;
	return stream_open(inode, file);
}

static int control_release(struct inode *inode, struct file *file)
{
	kfree(file->private_data);
	return 0;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = control_open,
	.read = control_read,
	.write = control_write,
	.release = control_release,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "veneer",
	.fops = &operations,
	.mode = 0600,
};

int control_start(void)
{
	return misc_register(&device);
}

void control_stop(void)
{
	misc_deregister(&device);
}
