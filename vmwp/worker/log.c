/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/worker/log.h"

#include "hvcore/base/clock.h"

#include <stdio.h>
#include <string.h>

static const char *level_name(enum hv_log_level level)
{
    if (level <= HV_LOG_ERROR)
        return "error";
    if (level <= HV_LOG_WARNING)
        return "warning";
    return level <= HV_LOG_INFO ? "info" : "debug";
}

static void write_line(int fd, enum hv_log_level level, const char *text)
{
    char line[1200];
    struct tm tm;
    time_t now = time(NULL);
    size_t from, length;

    (void)gmtime_r(&now, &tm);
    from = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%SZ ", &tm);
    (void)snprintf(line + from, sizeof(line) - from, "%s: %s", level_name(level), text);
    length = strlen(line);
    for (size_t i = from; i < length; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = '?';
    line[length] = '\n';
    (void)!write(fd, line, length + 1);
}

/* May one more line go out? Tells of what was dropped when a new window begins. */
static bool take_budget(struct wp_log *log)
{
    uint64_t now = hv_clock_monotonic_ns();

    if (now - log->window_from_ns >= WP_LOG_WINDOW_S * HV_NS_PER_SEC) {
        char text[64];

        (void)snprintf(text, sizeof(text), "%u lines were dropped here.", log->dropped);
        if (log->dropped > 0)
            write_line(log->fd, HV_LOG_WARNING, text);
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
        write_line(log->fd, level, text);
    pthread_mutex_unlock(&log->lock);
}

void wp_log_init(struct wp_log *log, int fd)
{
    *log = (struct wp_log){ .fd = fd };
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
