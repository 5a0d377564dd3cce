/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/worker/log.h"

#include "hvcore/base/clock.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *level_name(enum hv_log_level level)
{
    if (level <= HV_LOG_ERROR)
        return "error";
    if (level <= HV_LOG_WARNING)
        return "warning";
    return level <= HV_LOG_INFO ? "info" : "debug";
}

static size_t begin_line(const struct wp_log *log, enum hv_log_level level, char *ret, size_t room)
{
    struct tm tm;
    time_t now = time(NULL);
    size_t length;

    if (log->is_journal) /* sd-daemon(3) */
        return (size_t)snprintf(ret, room, "<%d>", (int)level);
    (void)gmtime_r(&now, &tm);
    length = strftime(ret, room, "%Y-%m-%dT%H:%M:%SZ ", &tm);
    return length + (size_t)snprintf(ret + length, room - length, "%s: ", level_name(level));
}

static void write_line(const struct wp_log *log, enum hv_log_level level, const char *text)
{
    char line[1200];
    size_t from = begin_line(log, level, line, sizeof(line)), length;

    (void)snprintf(line + from, sizeof(line) - from, "%s", text);
    length = strlen(line);
    for (size_t i = from; i < length; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    line[length] = '\n';
    (void)!write(log->fd, line, length + 1);
}

/* May one more line go out? Tells of what was dropped when a new window begins. */
static bool take_budget(struct wp_log *log)
{
    uint64_t now = hv_clock_monotonic_ns();

    if (now - log->window_from_ns >= WP_LOG_WINDOW_S * HV_NS_PER_SEC) {
        char text[64];

        (void)snprintf(text, sizeof(text), "%u lines were dropped here.", log->dropped);
        if (log->dropped > 0)
            write_line(log, HV_LOG_WARNING, text);
        log->window_from_ns = now;
        log->lines = 0;
        log->dropped = 0;
    }
    if (log->lines == WP_LOG_LINES) {
        log->dropped++;
        return false;
    }
    log->lines++;
    return true;
}

static void log_write(void *opaque, enum hv_log_level level, const char *fields, const char *text)
{
    struct wp_log *log = opaque;

    (void)fields;
    pthread_mutex_lock(&log->lock);
    if (level <= HV_LOG_ERROR || take_budget(log))
        write_line(log, level, text);
    pthread_mutex_unlock(&log->lock);
}

void wp_log_init(struct wp_log *log, int fd)
{
    struct stat st;

    *log = (struct wp_log){ .fd = fd };
    log->is_journal = fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
    pthread_mutex_init(&log->lock, NULL);
    tzset(); /* opens its file now, not under the sandbox */
}

void wp_log_fini(struct wp_log *log)
{
    pthread_mutex_destroy(&log->lock);
}

struct hv_log wp_log_sink(struct wp_log *log, enum hv_log_level max_level)
{
    return (struct hv_log){ .write = log_write, .opaque = log, .max_level = max_level };
}
