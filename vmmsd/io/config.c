/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/io/config.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_FILE_BYTES = 64 << 10, SECTION_BYTES = 64 };

struct reader {
    const char *path;
    unsigned line;
    char section[SECTION_BYTES];
    vmms_config_fn *set;
    void *opaque;
};

static int complain(const struct reader *reader, struct hv_error **reterr, const char *what)
{
    return hv_error_set(reterr, -EINVAL, "config.line", "%s:%u: %s", reader->path, reader->line,
                        what);
}

/* Without white space around it; text is changed. */
static char *trim(char *text)
{
    size_t length;

    text += strspn(text, " \t\r");
    length = strlen(text);
    while (length > 0 && strchr(" \t\r", text[length - 1]))
        text[--length] = '\0';
    return text;
}

static int read_section(struct reader *reader, char *line, struct hv_error **reterr)
{
    size_t length = strlen(line);

    if (line[length - 1] != ']' || length < 3)
        return complain(reader, reterr, "A section is written [name].");
    if (length - 2 >= sizeof(reader->section))
        return complain(reader, reterr, "The section's name is too long.");
    (void)snprintf(reader->section, sizeof(reader->section), "%.*s", (int)(length - 2), line + 1);
    return 0;
}

static int read_value(struct reader *reader, char *line, struct hv_error **reterr)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    char *equals = strchr(line, '=');
    int r;

    if (!equals || equals == line)
        return complain(reader, reterr,
                        "A line is \"key = value\", \"[section]\" or \"# comment\".");
    if (!*reader->section)
        return complain(reader, reterr, "A key stands before the first [section].");
    *equals = '\0';
    r = reader->set(reader->opaque, reader->section, trim(line), trim(equals + 1), &error);
    return r < 0 ? complain(reader, reterr, hv_error_message(error, r)) : 0;
}

static int read_line(struct reader *reader, char *line, struct hv_error **reterr)
{
    for (const char *at = line; *at; at++) {
        if (iscntrl((unsigned char)*at) && *at != '\t' && *at != '\r')
            return complain(reader, reterr, "The line holds a control character.");
    }
    line = trim(line);
    if (!*line || *line == '#' || *line == ';')
        return 0;
    return *line == '[' ? read_section(reader, line, reterr) : read_value(reader, line, reterr);
}

static int read_text(struct reader *reader, char *text, size_t length, struct hv_error **reterr)
{
    char *line;
    int r = 0;

    if (strlen(text) != length)
        return hv_error_set(reterr, -EINVAL, "config.text", "%s is not a text file.", reader->path);
    while (r == 0 && (line = strsep(&text, "\n"))) {
        reader->line++;
        r = read_line(reader, line, reterr);
    }
    return r;
}

static int say_unreadable(const char *path, int errnum, struct hv_error **reterr)
{
    return hv_error_set(reterr, -errnum, "config.read",
                        "The configuration file %s cannot be read: %s.", path, strerror(errnum));
}

static int read_file(const char *path, vmms_config_fn *set, void *opaque, struct hv_error **reterr)
{
    struct reader reader = { .path = path, .set = set, .opaque = opaque };
    hv_autofree char *text = malloc(MAX_FILE_BYTES + 1);
    hv_autofd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    ssize_t length;

    if (!text)
        return -ENOMEM;
    if (fd < 0 || fstat(fd, &st) < 0)
        return say_unreadable(path, errno, reterr);
    if (!S_ISREG(st.st_mode))
        return hv_error_set(reterr, -EINVAL, "config.kind",
                            "The configuration file %s is not a regular file.", path);
    length = read(fd, text, MAX_FILE_BYTES + 1);
    if (length < 0)
        return say_unreadable(path, errno, reterr);
    if (length > MAX_FILE_BYTES)
        return hv_error_set(reterr, -EFBIG, "config.size",
                            "The configuration file %s is longer than %d bytes.", path,
                            MAX_FILE_BYTES);
    text[length] = '\0';
    return read_text(&reader, text, (size_t)length, reterr);
}

static int is_drop_in(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);

    return entry->d_name[0] != '.' && length > strlen(".conf") &&
           strcmp(entry->d_name + length - strlen(".conf"), ".conf") == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

int vmms_config_read(const char *path, vmms_config_fn *set, void *opaque, struct hv_error **reterr)
{
    hv_autofree char *directory = NULL;
    struct dirent **entries = NULL;
    int count, r = read_file(path, set, opaque, reterr);

    if (r < 0)
        return r;
    if (asprintf(&directory, "%s.d", path) < 0)
        return -ENOMEM;
    count = scandir(directory, &entries, is_drop_in, by_name);
    if (count < 0)
        return errno == ENOENT ? 0 : say_unreadable(directory, errno, reterr);
    for (int i = 0; i < count; i++) {
        hv_autofree char *file = NULL;

        if (r == 0)
            r = asprintf(&file, "%s/%s", directory, entries[i]->d_name) < 0
                    ? -ENOMEM
                    : read_file(file, set, opaque, reterr);
        free(entries[i]);
    }
    free(entries);
    return r;
}
