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
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT "<OUTPUT>"
#define SUBJECT "<SUBJECT>"
/* What make quotes in a path, one way or another. */
#define QUOTED " \t\n\\#$%&|:;<>*?[]\"'"

struct text {
	char *data;
	size_t size;
};

struct compilation {
	char **arguments; /* of main(), without the program */
	const char *source;
	const char *output;
	char depends[PATH_MAX];
	char subject[PATH_MAX]; /* empty: none */
	bool kernel;		/* a file of a module for Linux */
};

#define KERNEL_DEPENDS "-Wp,-MMD,"

/* Folders in targets/ from which the sources in another one include headers. */
static const char *const beside[] = { "../agent", "../formats", "../uefi" };
#define BESIDE (sizeof(beside) / sizeof(*beside))

/* The hash is FNV-1a with 128 bits. */
static unsigned __int128 hash;

static void add_bytes(const void *data, size_t size)
{
	const unsigned __int128 prime = ((unsigned __int128)1 << 88) + 0x13b;
	const unsigned char *byte = data;

	while (size--)
		hash = (hash ^ *byte++) * prime;
}

static void add_word(const char *word)
{
	add_bytes(word, strlen(word) + 1);
}

static bool read_file(const char *path, struct text *text)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	ssize_t got;

	if (file < 0)
		return false;
	*text = (struct text){ 0 };
	if (fstat(file, &status) || !S_ISREG(status.st_mode) ||
	    !(text->data = malloc(status.st_size + 1))) {
		close(file);
		return false;
	}
	while (text->size < (size_t)status.st_size &&
	       (got = read(file, text->data + text->size, status.st_size - text->size)) > 0)
		text->size += got;
	close(file);
	text->data[text->size] = '\0';
	return text->size == (size_t)status.st_size;
}

static bool write_file(const char *path, const char *data, size_t size)
{
	int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	size_t put = 0;
	ssize_t got;

	if (file < 0)
		return false;
	while (put < size && (got = write(file, data + put, size - put)) > 0)
		put += got;
	return !close(file) && put == size;
}

static void add_file(const char *name, const char *path)
{
	struct text text;

	if (!read_file(path, &text))
		return;
	add_word(name);
	add_bytes(&text.size, sizeof(text.size));
	add_bytes(text.data, text.size);
	free(text.data);
}

/* All files of a pattern, by their names behind a folder. */
static void add_files(const char *folder, const char *pattern)
{
	char path[PATH_MAX];
	glob_t found;

	if (snprintf(path, sizeof(path), "%s/%s", folder, pattern) >= (int)sizeof(path))
		return;
	if (!glob(path, 0, NULL, &found))
		for (size_t i = 0; i < found.gl_pathc; i++)
			add_file(found.gl_pathv[i] + strlen(folder), found.gl_pathv[i]);
	globfree(&found);
	add_word("");
}

/* What is behind "FOLDER/" in a path, else NULL. */
static const char *inside(const char *folder, const char *path)
{
	size_t length = strlen(folder);

	return *folder && !strncmp(path, folder, length) && path[length] == '/' ? path + length + 1
										: NULL;
}

static bool ends(const char *text, const char *end)
{
	size_t length = strlen(text);

	return length >= strlen(end) && !strcmp(text + length - strlen(end), end);
}

static bool is_file(const char *path)
{
	struct stat status;

	return !stat(path, &status) && S_ISREG(status.st_mode);
}

/* The folder above the source that has this file; not above those of which the path says nothing. */
static void find_subject(struct compilation *it, const char *file)
{
	char path[2 * PATH_MAX], *slash;

	snprintf(it->subject, sizeof(it->subject), "%s", it->source);
	while ((slash = strrchr(it->subject, '/')) && slash != it->subject) {
		*slash = '\0';
		snprintf(path, sizeof(path), "%s/%s", it->subject, file);
		if (is_file(path))
			return;
		if (!strcmp(it->subject, "..") || ends(it->subject, "/.."))
			break;
	}
	it->subject[0] = '\0';
}

/* Whether this is a compilation of which all is known that decides on the object. */
static bool understood(struct compilation *it)
{
	bool compiles = false, lists = false;
	const char *previous = "", *depends = NULL;

	for (char **argument = it->arguments; *argument; previous = *argument++) {
		if (!strcmp(*argument, "-c"))
			compiles = true;
		if (!strcmp(*argument, "-MMD"))
			lists = true;
		if (!strncmp(*argument, KERNEL_DEPENDS, strlen(KERNEL_DEPENDS)))
			depends = *argument + strlen(KERNEL_DEPENDS);
		if (!strncmp(*argument, "-DIMAGE=", 8)) /* a file that is no header */
			return false;
		if (!strcmp(previous, "-o"))
			it->output = *argument;
		it->source = *argument;
	}
	it->kernel = depends;
	if (!compiles || lists == it->kernel || !it->output || !ends(it->output, ".o") ||
	    !is_file(it->source))
		return false;
	if (strpbrk(it->output, QUOTED) || strpbrk(it->source, QUOTED))
		return false;
	if (snprintf(it->depends, sizeof(it->depends), "%s", it->output) >=
		    (int)sizeof(it->depends) ||
	    strlen(it->source) >= sizeof(it->subject))
		return false;
	it->depends[strlen(it->depends) - 1] = 'd';
	find_subject(it, it->kernel ? "Kbuild" : "subject.mk");
	if (!it->kernel)
		return true;
	return snprintf(it->depends, sizeof(it->depends), "%s", depends) <
		       (int)sizeof(it->depends) &&
	       *it->subject == '/' && inside(it->subject, it->output) &&
	       inside(it->subject, depends);
}

static void add_place(void)
{
	char place[PATH_MAX];
	int slashes = 0;
	size_t i;

	if (!getcwd(place, sizeof(place)))
		err(1, "the working directory");
	for (i = strlen(place); i && slashes < 2; i--)
		slashes += place[i - 1] == '/';
	add_word(place + i); /* targets/bare, hosts/linux */
}

static void add_headers(const char *folder)
{
	add_files(folder, "*.[hS]");
	add_files(folder, "*/*.[hS]");
	add_files(folder, "*/*/*.[hS]");
}

/* Wherever the module lies; and the headers that are beside it. */
static void add_kernel_argument(const struct compilation *it, const char *argument)
{
	const char *at = strstr(argument, it->subject);

	if (!at) {
		add_word(argument);
		return;
	}
	add_bytes(argument, at - argument);
	add_word(SUBJECT);
	add_word(at + strlen(it->subject));
	if (!strncmp(argument, "-I", 2) && at == argument + 2)
		add_headers(at);
}

static void add_status(const char *path)
{
	struct stat status = { 0 };

	add_word(path);
	if (stat(path, &status))
		return;
	add_bytes(&status.st_size, sizeof(status.st_size));
	add_bytes(&status.st_mtim, sizeof(status.st_mtim));
}

/* The kernel in whose folder this is, and the compiler that was chosen for it. */
static void add_kernel(const char *compiler)
{
	char place[PATH_MAX];

	if (!getcwd(place, sizeof(place)))
		err(1, "the working directory");
	add_word(place);
	add_status(compiler);
	add_status("Module.symvers");
	add_file("", "include/generated/autoconf.h");
	add_file("", "include/generated/utsrelease.h");
}

/* The folder in which an option has headers looked for, else NULL. */
static const char *folder_of(const char *argument)
{
	size_t length = !strncmp(argument, "-I", 2) ? 2 : !strncmp(argument, "-iquote", 7) ? 7 : 0;

	return length && argument[length] ? argument + length : NULL;
}

static void add_argument(const struct compilation *it, const char *argument)
{
	const char *folder = folder_of(argument), *path = folder ? folder : argument;
	const char *inner = inside(it->subject, path);

	if (folder) {
		add_bytes(argument, folder - argument);
		add_word("");
	}
	if (!strcmp(argument, it->output)) {
		add_word(OUTPUT);
	} else if (*it->subject && !strcmp(path, it->subject)) {
		add_word(SUBJECT);
	} else if (inner && !folder) {
		add_word(SUBJECT "/");
		add_word(inner);
	} else {
		add_word(path);
		if (folder)
			add_files(path, "*.h");
	}
}

static void add_everything(const struct compilation *it, const char *compiler)
{
	hash = ((unsigned __int128)0x6c62272e07bb0142 << 64) | 0x62b821756295c58d;
	if (it->kernel) {
		add_kernel(compiler);
		for (char **argument = it->arguments; *argument; argument++)
			add_kernel_argument(it, *argument);
		add_word("");
		add_headers(it->subject);
		add_file("", it->source);
		return;
	}
	add_place();
	for (char **argument = it->arguments; *argument; argument++)
		add_argument(it, *argument);
	add_word("");
	add_files(".", "*.[hS]");
	for (size_t i = 0; i < BESIDE; i++)
		add_files(beside[i], "*.[hS]");
	add_file("", it->source);
	if (*it->subject)
		add_headers(it->subject);
}

/* Whether a file is in a folder of -I, in which the headers were compared. */
static bool searched(const struct compilation *it, const char *path)
{
	for (char **argument = it->arguments; *argument; argument++) {
		const char *folder = folder_of(*argument);
		const char *name = folder ? inside(folder, path) : NULL;

		if (name && !strchr(name, '/'))
			return true;
	}
	return false;
}

/* How many folders down a path leads, whose "x/.." lead nowhere; -1 if it leaves where it begins. */
static int depth_of(const char *path)
{
	int depth = 0;

	for (const char *slash; (slash = strchr(path, '/')); path = slash + 1) {
		depth += slash - path == 2 && !strncmp(path, "..", 2) ? -1 : 1;
		if (depth < 0)
			return -1;
	}
	return depth;
}

/*
 * Whether a file is one of the kernel's or of the compiler's, or beside the module: in it, or in a folder
 * of -I that is named by where the module is. The kernel's are where it is itself, or in a folder of -I.
 */
static bool known_to_kernel(const struct compilation *it, const char *path)
{
	const char *inner = inside(it->subject, path), *rest;

	if (!inner) {
		if (*path != '/')
			return !strstr(path, "../");
		if (!strncmp(path, "/usr/lib/gcc/", 13))
			return true;
	}
	if (inner && depth_of(inner) >= 0)
		return ends(path, ".h") && depth_of(inner) <= 2;
	for (char **argument = it->arguments; *argument; argument++) {
		rest = strncmp(*argument, "-I", 2) ? NULL : inside(*argument + 2, path);
		if (rest && depth_of(rest) >= 0 && (!inner || depth_of(rest) <= 2))
			return true;
	}
	return false;
}

/* Whether a file that the object depends on was compared. */
static bool compared(const struct compilation *it, const char *path)
{
	const char *inner;

	if (!strcmp(path, it->output) || !strcmp(path, it->source))
		return true;
	if (it->kernel)
		return known_to_kernel(it, path);
	if (!ends(path, ".h") && !ends(path, ".S"))
		return false;
	if (!strchr(path, '/'))
		return true;
	if ((inner = inside(it->subject, path)))
		return depth_of(inner) >= 0 && depth_of(inner) <= 2;
	for (size_t i = 0; i < BESIDE; i++)
		if ((inner = inside(beside[i], path)))
			return !strchr(inner, '/');
	return ends(path, ".h") && searched(it, path);
}

/* The list of what the object depends on, with words for the output and the subject. False: not all was compared. */
static bool generalize(const struct compilation *it, char *list, FILE *to)
{
	for (char *word = list; *word; word += strcspn(word, " \n")) {
		size_t gap = strspn(word, " \n"), length;
		const char *inner;
		char path[PATH_MAX];
		bool target;

		fwrite(word, 1, gap, to);
		word += gap;
		length = strcspn(word, " \n");
		if (!length || length >= sizeof(path))
			continue;
		target = word[length - 1] == ':';
		snprintf(path, sizeof(path), "%.*s", (int)(length - target), word);
		if (!strcmp(path, "\\"))
			fputs(path, to);
		else if (!(target && it->kernel) && !compared(it, path))
			return false;
		else if (!strcmp(path, it->output))
			fputs(OUTPUT, to);
		else if ((inner = inside(it->subject, path)))
			fprintf(to, SUBJECT "/%s", inner);
		else
			fputs(path, to);
		if (target)
			fputc(':', to);
	}
	return true;
}

/* The reverse of generalize(). */
static void specialize(const struct compilation *it, const char *list, FILE *to)
{
	while (*list) {
		size_t plain = strcspn(list, "<");

		fwrite(list, 1, plain, to);
		list += plain;
		if (!strncmp(list, OUTPUT, strlen(OUTPUT))) {
			fputs(it->output, to);
			list += strlen(OUTPUT);
		} else if (!strncmp(list, SUBJECT, strlen(SUBJECT))) {
			fputs(it->subject, to);
			list += strlen(SUBJECT);
		} else if (*list) {
			fputc(*list++, to);
		}
	}
}

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
	int status;

	arguments[0] = real_compiler(arguments[0]);
	if (count < 2 || !objects || strlen(objects) + 64 > PATH_MAX || !understood(&it)) {
		execv(arguments[0], arguments);
		err(127, "%s", arguments[0]);
	}
	add_everything(&it, arguments[0]);
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
