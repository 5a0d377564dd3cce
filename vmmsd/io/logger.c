/* SPDX-License-Identifier: Apache-2.0 */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include "vmmsd/io/logger.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>

enum { MAX_FIELDS = 16, LINE_BYTES = 1200 };

static void write_stderr(void *opaque, enum hv_log_level level, const char *fields,
                         const char *text)
{
    static const char *const words[] = { "", "", "", "error: ", "warning: ", "", "", "debug: " };

    (void)fprintf(stderr, "vmmsd: %s%s\n", words[level], text);
}

static void write_journal(void *opaque, enum hv_log_level level, const char *fields,
                          const char *text)
{
    char message[LINE_BYTES], priority[16];
    struct iovec parts[MAX_FIELDS];
    int count = 2;

    (void)snprintf(message, sizeof(message), "MESSAGE=%s", text);
    (void)snprintf(priority, sizeof(priority), "PRIORITY=%d", (int)level);
    parts[0] = (struct iovec){ message, strlen(message) };
    parts[1] = (struct iovec){ priority, strlen(priority) };
    while (fields && *fields && count < MAX_FIELDS) {
        size_t length = strcspn(fields, "\n");

        parts[count++] = (struct iovec){ (void *)fields, length };
        fields += length + (fields[length] == '\n');
    }
    (void)sd_journal_sendv(parts, count);
}

/* systemd.exec(5): JOURNAL_STREAM names the device and inode of the journal's socket. */
static bool is_stderr_the_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(2, &st) == 0 &&
           st.st_dev == device && st.st_ino == inode;
}

void vmms_logger_init(struct hv_log *log, enum hv_log_level max_level)
{
    *log = (struct hv_log){ .write = is_stderr_the_journal() ? write_journal : write_stderr,
                            .max_level = max_level };
}
