// SPDX-License-Identifier: MIT
/*
 * gcc for the tests, which build many images and modules of the same sources, and of copies of
 * Veneer that differ in a file: what has been compiled is taken again. objects.py builds this and
 * puts it in front of the real one, which gets all that is not known to be safe. It is a program
 * and no script because it runs a hundred times for an image.
 *
 *   TESTS_GCC       the real one; TESTS_GCC_12 if this is called as gcc-12, which the kernel's build
 *                   may want, and so on
 *   TESTS_OBJECTS   folder of the cache, for that version of it; it is there
 *
 * An object depends on the arguments, its source, and all headers in the folder where it is
 * compiled, some folders beside it, the folders of -I and -iquote, and its subject. A subject is what has a
 * subject.mk; where that lies is left out of the comparison. Debugging information then names the
 * copy that was compiled first: Touchstone shows the last two parts of a path.
 *
 * The kernel's build compiles a module in the folder of the kernel, from wherever the module lies: its
 * Kbuild stands for subject.mk then. The kernel's own headers are those of a package, unpacked, and are
 * told by where they are and how that kernel is configured.
 */
#include <err.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compilation.h"
#include "depends.h"
#include "files.h"
#include "hash.h"

static bool take(const struct compilation *it, const char *kept_object, const char *kept_list)
{
	struct text object, list, made;
	FILE *to;

	if (!read_file(kept_object, &object) || !read_file(kept_list, &list))
		return false;
	to = open_memstream(&made.data, &made.size);
	specialize(it, list.data, to);
	if (fclose(to))
		return false;
	return write_file(it->output, object.data, object.size) &&
	       write_file(it->depends, made.data, made.size);
}

/* A file of the cache is there whole or not at all. */
static void keep_file(const char *path, const struct text *text)
{
	char new[PATH_MAX + 32];

	snprintf(new, sizeof(new), "%s.%d", path, getpid());
	if (!write_file(new, text->data, text->size) || rename(new, path))
		unlink(new);
}

static void keep(const struct compilation *it, const char *kept_object, const char *kept_list)
{
	struct text object, list, made;
	bool all;
	FILE *to;

	if (!read_file(it->output, &object) || !read_file(it->depends, &list))
		return;
	to = open_memstream(&made.data, &made.size);
	all = generalize(it, list.data, to);
	if (fclose(to) || !all)
		return;
	keep_file(kept_list, &made);
	keep_file(kept_object, &object);
}

static int compile(char **command)
{
	pid_t child = fork();
	int status;

	if (child < 0)
		err(1, "fork");
	if (!child) {
		execv(command[0], command);
		err(127, "%s", command[0]);
	}
	while (waitpid(child, &status, 0) < 0)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The compiler that this one stands for, by the name that it was called by. */
static char *real_compiler(const char *called)
{
	char name[64];
	const char *slash = strrchr(called, '/'), *version;

	version = strchr(slash ? slash : called, '-');
	if (snprintf(name, sizeof(name), "TESTS_GCC%s%s", version ? "_" : "",
		     version ? version + 1 : "") >= (int)sizeof(name))
		errx(1, "called as %s", called);
	if (!getenv(name))
		errx(1, "%s does not name the compiler", name);
	return getenv(name);
}

int main(int count, char **arguments)
{
	const char *objects = getenv("TESTS_OBJECTS");
	char kept_object[PATH_MAX], kept_list[PATH_MAX];
	struct compilation it = { .arguments = arguments + 1 };
	unsigned __int128 hash;
	int status;

	arguments[0] = real_compiler(arguments[0]);
	if (count < 2 || !objects || strlen(objects) + 64 > PATH_MAX || !understood(&it)) {
		execv(arguments[0], arguments);
		err(127, "%s", arguments[0]);
	}
	hash = hash_of(&it, arguments[0]);
	sprintf(kept_object, "%s/%016lx%016lx.o", objects, (unsigned long)(hash >> 64),
		(unsigned long)hash);
	snprintf(kept_list, sizeof(kept_list), "%s", kept_object);
	kept_list[strlen(kept_list) - 1] = 'd';
	if (take(&it, kept_object, kept_list))
		return 0;
	status = compile(arguments);
	if (!status)
		keep(&it, kept_object, kept_list);
	return status;
}
