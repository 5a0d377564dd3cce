/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/store/care.h"

#include "hvcore/base/clock.h"
#include "vmmsd/store/db_priv.h"
#include "vmmsd/store/files_priv.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum {
    FIRST_CHECK_S = 2,   /* the service is to be ready first */
    FIRST_BACKUP_S = 60, /* and to have been of use */
    LOOK_EVERY_S = 3600,
    BACKUP_EVERY_S = 24 * 3600,
    CHECK_EVERY_S = 7 * 24 * 3600,
    RETRY_S = 300,
    OPCODES_A_LOOK = 1000
};

struct request {
    struct request *next;
    uint64_t token;
};

struct vmms_care {
    struct vmms_care_config config;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_bool is_closing;
    /* owner: its thread; monotonic seconds */
    uint64_t check_at, backup_at;
    /* lock: lock */
    struct request *requests, **requests_end;
};

static uint64_t now_s(void)
{
    return hv_clock_monotonic_ns() / HV_NS_PER_SEC;
}

static int is_stopping(void *opaque)
{
    struct vmms_care *care = opaque;

    return atomic_load(&care->is_closing);
}

/* Looking at all of it */

static int look(struct vmms_care *care)
{
    sqlite3 *handle = NULL;
    int code = vmms_open_to_read(care->config.path, &handle);

    if (code == SQLITE_OK) {
        sqlite3_progress_handler(handle, OPCODES_A_LOOK, is_stopping, care);
        code = vmms_check_whole(handle);
    }
    (void)sqlite3_close(handle);
    return code;
}

static void check(struct vmms_care *care)
{
    int code = look(care);

    care->check_at = now_s() + RETRY_S;
    if (code == SQLITE_OK) {
        care->check_at = now_s() + CHECK_EVERY_S;
        (void)vmms_mark_set(care->config.path, "checked");
    } else if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) {
        (void)vmms_mark_set(care->config.path, "suspect");
        care->config.damaged(care->config.opaque);
        care->check_at = UINT64_MAX;
    }
}

static uint64_t first_check(const struct vmms_care_config *config)
{
    uint64_t age = vmms_mark_age_s(config->path, "checked");

    if (config->was_unclean || age >= CHECK_EVERY_S)
        return now_s() + FIRST_CHECK_S;
    return now_s() + CHECK_EVERY_S - age;
}

/* Backups */

static void back_up(struct vmms_care *care, uint64_t token)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    hv_autofree char *path = NULL;
    int r = vmms_backup_make(care->config.path, &care->is_closing, &path, &error);

    care->backup_at = now_s() + (r < 0 ? LOOK_EVERY_S : BACKUP_EVERY_S);
    if (r == -ECANCELED && !error)
        (void)hv_error_set(&error, r, "store.closing",
                           "The service is ending; no backup was made.");
    else if (r < 0 && !error)
        (void)hv_error_set(&error, r, "store.backup", "No backup could be made: %s.", strerror(-r));
    care->config.made(care->config.opaque, token, path, error);
}

static uint64_t first_backup(const struct vmms_care_config *config)
{
    uint64_t age = vmms_backup_age_s(config->path);

    if (age >= BACKUP_EVERY_S - FIRST_BACKUP_S)
        return now_s() + FIRST_BACKUP_S;
    return now_s() + BACKUP_EVERY_S - age;
}

/* The thread */

static struct request *take_request(struct vmms_care *care)
{
    struct request *request = care->requests;

    if (request) {
        care->requests = request->next;
        if (!care->requests)
            care->requests_end = &care->requests;
    }
    return request;
}

/* Until something is to be done. Returns a request, or NULL: look at the clock. */
static struct request *wait(struct vmms_care *care)
{
    uint64_t next = care->check_at < care->backup_at ? care->check_at : care->backup_at;
    struct request *request = NULL;
    struct timespec until;
    int r = 0;

    if (next > now_s() + LOOK_EVERY_S)
        next = now_s() + LOOK_EVERY_S;
    until = (struct timespec){ .tv_sec = (time_t)next };
    (void)pthread_mutex_lock(&care->lock);
    while (r == 0 && !atomic_load(&care->is_closing) && !(request = take_request(care)))
        r = pthread_cond_timedwait(&care->wake, &care->lock, &until);
    (void)pthread_mutex_unlock(&care->lock);
    return request;
}

static void *run(void *opaque)
{
    struct vmms_care *care = opaque;
    struct request *request;

    (void)pthread_setname_np(pthread_self(), "store care");
    while (!atomic_load(&care->is_closing)) {
        request = wait(care);
        if (request)
            back_up(care, request->token);
        else if (!atomic_load(&care->is_closing) && now_s() >= care->check_at)
            check(care);
        else if (!atomic_load(&care->is_closing) && now_s() >= care->backup_at)
            back_up(care, 0);
        free(request);
    }
    return NULL;
}

static void init_wake(struct vmms_care *care)
{
    pthread_condattr_t attributes;

    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&care->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

int vmms_care_start(const struct vmms_care_config *config, struct vmms_care **ret)
{
    struct vmms_care *care = calloc(1, sizeof(*care));
    int r;

    if (!care)
        return -ENOMEM;
    care->config = *config;
    care->requests_end = &care->requests;
    care->check_at = first_check(config);
    care->backup_at = first_backup(config);
    (void)pthread_mutex_init(&care->lock, NULL);
    init_wake(care);
    r = -pthread_create(&care->thread, NULL, run, care);
    if (r < 0) {
        (void)pthread_cond_destroy(&care->wake);
        (void)pthread_mutex_destroy(&care->lock);
        free(care);
        return r;
    }
    *ret = care;
    return 0;
}

struct vmms_care *vmms_care_stop(struct vmms_care *care)
{
    struct request *request;

    if (!care)
        return NULL;
    (void)pthread_mutex_lock(&care->lock);
    atomic_store(&care->is_closing, true);
    (void)pthread_cond_signal(&care->wake);
    (void)pthread_mutex_unlock(&care->lock);
    (void)pthread_join(care->thread, NULL);
    while ((request = take_request(care))) {
        back_up(care, request->token);
        free(request);
    }
    (void)pthread_cond_destroy(&care->wake);
    (void)pthread_mutex_destroy(&care->lock);
    free(care);
    return NULL;
}

void vmms_care_backup(struct vmms_care *care, uint64_t token)
{
    struct request *request = calloc(1, sizeof(*request));

    hv_assert(request);
    request->token = token;
    (void)pthread_mutex_lock(&care->lock);
    *care->requests_end = request;
    care->requests_end = &request->next;
    (void)pthread_cond_signal(&care->wake);
    (void)pthread_mutex_unlock(&care->lock);
}
