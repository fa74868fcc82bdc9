// SPDX-License-Identifier: MIT
#include "files.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool read_file(const char *path, struct text *text)
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

bool write_file(const char *path, const char *data, size_t size)
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

const char *inside(const char *folder, const char *path)
{
	size_t length = strlen(folder);

	return *folder && !strncmp(path, folder, length) && path[length] == '/' ? path + length + 1
										: NULL;
}

bool ends(const char *text, const char *end)
{
	size_t length = strlen(text);

	return length >= strlen(end) && !strcmp(text + length - strlen(end), end);
}

bool is_file(const char *path)
{
	struct stat status;

	return !stat(path, &status) && S_ISREG(status.st_mode);
}
