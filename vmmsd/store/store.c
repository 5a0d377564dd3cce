/* SPDX-License-Identifier: Apache-2.0 */
/* The store's thread: takes what has gathered, makes one transaction of it, tells each its fate. */
#include "vmmsd/store/store.h"

#include "hvcore/base/clock.h"
#include "vmmsd/store/care.h"
#include "vmmsd/store/db_priv.h"
#include "vmmsd/store/files_priv.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { GROUP_MAX = 256 };

enum order_kind {
    ORDER_CHANGE,
    ORDER_READ_EVENTS,
    ORDER_FILES_REMOVED,
    ORDER_IDENTITY,
    ORDER_BOOT,
    ORDER_LIMITS,
    ORDER_FORGET /* the next of the events that are too many */
};

struct order {
    struct order *next;
    enum order_kind kind;
    struct vmms_change *change;
    uint64_t token;
    uint64_t since;
    uint32_t limit;
    char vm_id[HV_GUID_TEXT_BYTES];
    struct vmms_identity *identity;
    struct vmms_store_limits limits;
    struct api_event event;
    size_t n_events;
    /* result of a change inside the transaction */
    int code;
    uint64_t first_seq;
};

struct vmms_store {
    struct vmms_db db; /* owner: the store's thread, once it runs */
    struct vmms_care *care;
    bool was_unclean;
    uint64_t epoch;
    char host_id[HV_GUID_TEXT_BYTES];
    char boot_id[HV_GUID_TEXT_BYTES]; /* of the host's boot that was stored last, or empty */
    void (*notify)(void *opaque);
    void *opaque;
    pthread_t thread;
    bool is_running;
    bool is_dead; /* owner: the store's thread */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    /* lock: lock */
    struct order *orders, **orders_end;
    struct vmms_stored *results, **results_end;
    bool is_closing;
};

struct vmms_stored *vmms_stored_free(struct vmms_stored *stored)
{
    if (!stored)
        return NULL;
    api_event_list_fini(&stored->events);
    api_error_free(stored->error);
    free(stored->path);
    free(stored);
    return NULL;
}

static struct order *order_free(struct order *order)
{
    vmms_change_free(order->change);
    free(order->identity);
    api_event_fini(&order->event);
    free(order);
    return NULL;
}

static void put_result(struct vmms_store *store, struct vmms_stored *result)
{
    (void)pthread_mutex_lock(&store->lock);
    *store->results_end = result;
    store->results_end = &result->next;
    (void)pthread_mutex_unlock(&store->lock);
    store->notify(store->opaque);
}

struct vmms_stored *vmms_store_take(struct vmms_store *store)
{
    struct vmms_stored *result;

    (void)pthread_mutex_lock(&store->lock);
    result = store->results;
    if (result) {
        store->results = result->next;
        if (!store->results)
            store->results_end = &store->results;
        result->next = NULL;
    }
    (void)pthread_mutex_unlock(&store->lock);
    return result;
}

static int put_events(struct vmms_store *store, const struct api_event *events, size_t n_events,
                      uint64_t *seq)
{
    int code = SQLITE_OK;

    for (size_t i = 0; i < n_events && code == SQLITE_OK; i++)
        code = vmms_db_put_event(&store->db, ++*seq, &events[i]);
    return code;
}

static int put_changes(struct vmms_store *store, const struct vmms_change *change, uint64_t *seq)
{
    uint64_t first_seq = vmms_change_count_events(change) ? *seq + 1 : 0;
    int code = SQLITE_OK;

    for (; change && code == SQLITE_OK; change = change->next) {
        code = vmms_db_put_key(&store->db, change, first_seq);
        if (code == SQLITE_OK)
            code = vmms_db_put_row(&store->db, change);
        if (code == SQLITE_OK)
            code = vmms_db_put_job(&store->db, change);
        if (code == SQLITE_OK)
            code = vmms_db_put_group(&store->db, change);
        if (code == SQLITE_OK)
            code = put_events(store, change->events, change->n_events, seq);
    }
    return code;
}

/* One change inside the transaction, with those that belong to it: rows and events, or neither. */
static int put_order_rows(struct vmms_store *store, struct order *order, uint64_t *last_seq)
{
    uint64_t seq = *last_seq;
    int code;

    if (order->change) {
        code = put_changes(store, order->change, &seq);
    } else {
        code = vmms_db_put_identity(&store->db, order->identity);
        if (code == SQLITE_OK)
            code = put_events(store, &order->event, order->n_events, &seq);
    }
    if (code != SQLITE_OK)
        return code;
    order->first_seq = seq > *last_seq ? *last_seq + 1 : 0;
    *last_seq = seq;
    return code;
}

static bool is_overdue(const struct vmms_change *change)
{
    return change && change->due_ns && hv_clock_monotonic_ns() >= change->due_ns;
}

static int apply_change(struct vmms_store *store, struct order *order, uint64_t *last_seq)
{
    struct vmms_db *db = &store->db;
    uint64_t total = db->total;
    int code = is_overdue(order->change) ? SQLITE_INTERRUPT : vmms_db_run(db->savepoint);

    if (code != SQLITE_OK)
        return code;
    code = put_order_rows(store, order, last_seq);
    if (code != SQLITE_OK)
        db->total = total;
    if (code != SQLITE_OK && sqlite3_get_autocommit(db->handle) == 0)
        (void)vmms_db_run(db->undo);
    if (sqlite3_get_autocommit(db->handle) == 0)
        (void)vmms_db_run(db->release);
    return code;
}

static void set_limits(struct vmms_db *db, const struct vmms_store_limits *limits)
{
    db->limits = *limits;
    db->pruned_ns = 0;
    if (!limits->events)
        db->limits.events = VMMS_STORE_EVENTS_KEPT;
    if (!limits->days)
        db->limits.days = VMMS_STORE_DAYS_KEPT;
    if (!limits->bytes)
        db->limits.bytes = VMMS_STORE_BYTES_KEPT;
}

static int apply_order(struct vmms_store *store, struct order *order, uint64_t *last_seq)
{
    if (order->kind == ORDER_CHANGE || order->kind == ORDER_IDENTITY)
        return apply_change(store, order, last_seq);
    if (order->kind == ORDER_FILES_REMOVED) {
        (void)sqlite3_bind_text(store->db.delete_op, 1, order->vm_id, -1, SQLITE_TRANSIENT);
        return vmms_db_run(store->db.delete_op);
    }
    if (order->kind == ORDER_BOOT) {
        (void)sqlite3_bind_text(store->db.put_boot, 1, order->vm_id, -1, SQLITE_TRANSIENT);
        return vmms_db_run(store->db.put_boot);
    }
    if (order->kind == ORDER_LIMITS)
        set_limits(&store->db, &order->limits);
    return SQLITE_OK;
}

static int commit_orders(struct vmms_store *store, struct order *orders)
{
    uint64_t last_seq = store->db.last_event;
    int code = vmms_db_run(store->db.begin);

    if (code != SQLITE_OK)
        return code;
    for (struct order *order = orders; order; order = order->next) {
        order->code = apply_order(store, order, &last_seq);
        /* A full disk or a damaged file may have ended the transaction on its own. */
        if (sqlite3_get_autocommit(store->db.handle))
            return order->code != SQLITE_OK ? order->code : SQLITE_ABORT;
        if (order->code != SQLITE_OK &&
            (vmms_db_is_fatal(order->code) || (order->code & 0xff) == SQLITE_FULL)) {
            (void)vmms_db_run(store->db.rollback);
            return order->code;
        }
    }
    code = vmms_db_prune_events(&store->db);
    if (code == SQLITE_OK)
        code = vmms_db_run(store->db.commit);
    if (code == SQLITE_OK) {
        store->db.last_event = last_seq;
        return code;
    }
    if (sqlite3_get_autocommit(store->db.handle) == 0)
        (void)vmms_db_run(store->db.rollback);
    return code;
}

/* All orders that change something, in one transaction. Returns what became of it as a whole. */
static int commit_group(struct vmms_store *store, struct order *orders)
{
    struct vmms_db *db = &store->db;
    uint64_t first = db->first_event, first_total = db->first_total, total = db->total;
    int code = commit_orders(store, orders);

    if (code != SQLITE_OK) {
        db->first_event = first;
        db->first_total = first_total;
        db->total = total;
    }
    return code;
}

static struct vmms_stored *new_result(void)
{
    struct vmms_stored *result = calloc(1, sizeof(*result));

    hv_assert(result);
    return result;
}

static void tell_change(struct vmms_store *store, const struct order *order, int group_code)
{
    struct vmms_stored *result = new_result();
    int code = group_code != SQLITE_OK ? group_code : order->code;

    result->kind = VMMS_STORED_CHANGE;
    result->change = order->change->id;
    result->first_seq = order->first_seq;
    if (order->first_seq) /* else there was no event in it */
        result->last_seq = order->first_seq + vmms_change_count_events(order->change) - 1;
    result->event_bytes = store->db.total - store->db.first_total;
    if (code != SQLITE_OK)
        result->error = vmms_db_client_error(code);
    put_result(store, result);
}

static void tell_forgotten(struct vmms_store *store)
{
    struct vmms_stored *result = new_result();

    result->kind = VMMS_STORED_FORGOTTEN;
    result->event_bytes = store->db.total - store->db.first_total;
    put_result(store, result);
}

static void tell_identity(struct vmms_store *store, const struct order *order, int group_code)
{
    struct vmms_stored *result = new_result();
    int code = group_code != SQLITE_OK ? group_code : order->code;

    result->kind = VMMS_STORED_IDENTITY;
    result->token = order->token;
    result->last_seq = order->first_seq;
    if (code != SQLITE_OK)
        result->error = vmms_db_client_error(code);
    put_result(store, result);
}

static void tell_events(struct vmms_store *store, const struct order *order)
{
    struct vmms_stored *result = new_result();

    result->kind = VMMS_STORED_EVENTS;
    result->token = order->token;
    if (store->is_dead)
        result->error = vmms_db_client_error(SQLITE_IOERR);
    else if (vmms_db_read_events(&store->db, order->since, order->limit, &result->events,
                                 &result->error) < 0 &&
             !result->error)
        result->error = vmms_db_client_error(SQLITE_NOMEM);
    put_result(store, result);
}

static void tell_fatal(struct vmms_store *store, int code)
{
    struct vmms_stored *result = new_result();

    result->kind = VMMS_STORED_FATAL;
    result->error = vmms_db_client_error(code);
    store->is_dead = true;
    if ((code & 0xff) != SQLITE_IOERR)
        (void)vmms_mark_set(store->db.path, "suspect");
    put_result(store, result);
}

/* From the thread of care: somebody else's word that the database is damaged. */
static void found_damaged(void *opaque)
{
    struct vmms_stored *result = new_result();

    result->kind = VMMS_STORED_FATAL;
    result->error = vmms_db_client_error(SQLITE_CORRUPT);
    put_result(opaque, result);
}

/* From the thread of care. */
static void backup_made(void *opaque, uint64_t token, const char *path,
                        const struct hv_error *error)
{
    struct vmms_stored *result = new_result();
    struct stat st;

    result->kind = VMMS_STORED_BACKUP;
    result->token = token;
    if (error)
        (void)api_error_set(&result->error,
                            error->errnum == ENOSPC ? API_E_DISK_FULL : API_E_FAILED, error->code,
                            NULL, "%s", error->message);
    else if (!(result->path = strdup(path)))
        result->error = vmms_db_client_error(SQLITE_NOMEM);
    else if (stat(path, &st) == 0)
        result->bytes = (uint64_t)st.st_size;
    put_result(opaque, result);
}

static struct order *new_order(enum order_kind kind)
{
    struct order *order = calloc(1, sizeof(*order));

    hv_assert(order);
    order->kind = kind;
    return order;
}

static void put_order(struct vmms_store *store, struct order *order)
{
    (void)pthread_mutex_lock(&store->lock);
    *store->orders_end = order;
    store->orders_end = &order->next;
    (void)pthread_mutex_unlock(&store->lock);
    /* Who wakes finds the lock free. */
    (void)pthread_cond_signal(&store->wake);
}

static bool is_closing(struct vmms_store *store)
{
    bool ret;

    (void)pthread_mutex_lock(&store->lock);
    ret = store->is_closing;
    (void)pthread_mutex_unlock(&store->lock);
    return ret;
}

static bool has_writes(const struct order *orders)
{
    for (; orders; orders = orders->next) {
        if (orders->kind != ORDER_READ_EVENTS)
            return true;
    }
    return false;
}

static void serve_group(struct vmms_store *store, struct order *orders)
{
    bool is_write = has_writes(orders);
    int code = SQLITE_OK;
    struct order *next;

    if (is_write)
        code = store->is_dead ? SQLITE_IOERR : commit_group(store, orders);
    /* Before all else: what could not be synced may be found after all by the next start, so that
     * nobody can be told what became of it. */
    if (!store->is_dead && vmms_db_is_fatal(code))
        tell_fatal(store, code);
    for (struct order *order = orders; order; order = next) {
        next = order->next;
        if (order->kind == ORDER_CHANGE)
            tell_change(store, order, code);
        else if (order->kind == ORDER_READ_EVENTS)
            tell_events(store, order);
        else if (order->kind == ORDER_IDENTITY)
            tell_identity(store, order, code);
        else if (order->kind == ORDER_LIMITS || order->kind == ORDER_FORGET)
            tell_forgotten(store);
        order_free(order);
    }
    if (is_write && code == SQLITE_OK && store->db.has_more_to_forget && !is_closing(store))
        put_order(store, new_order(ORDER_FORGET));
}

/* Wait for orders and take them, at most a group. NULL: closing, and nothing is left. */
static struct order *take_group(struct vmms_store *store)
{
    struct order *orders, **end;
    unsigned count = 0;

    (void)pthread_mutex_lock(&store->lock);
    while (!store->orders && !store->is_closing)
        (void)pthread_cond_wait(&store->wake, &store->lock);
    orders = store->orders;
    for (end = &store->orders; *end && count < GROUP_MAX; count++)
        end = &(*end)->next;
    store->orders = *end;
    *end = NULL;
    if (!store->orders)
        store->orders_end = &store->orders;
    (void)pthread_mutex_unlock(&store->lock);
    return count ? orders : NULL;
}

static void *run(void *opaque)
{
    struct vmms_store *store = opaque;
    struct order *orders;

    (void)pthread_setname_np(pthread_self(), "store");
    while ((orders = take_group(store)))
        serve_group(store, orders);
    return NULL;
}

void vmms_store_commit(struct vmms_store *store, struct vmms_change *change)
{
    struct order *order = new_order(ORDER_CHANGE);

    order->change = change;
    put_order(store, order);
}

void vmms_store_read_events(struct vmms_store *store, uint64_t token, uint64_t since,
                            uint32_t limit)
{
    struct order *order = new_order(ORDER_READ_EVENTS);

    order->token = token;
    order->since = since;
    order->limit = limit;
    put_order(store, order);
}

void vmms_store_files_removed(struct vmms_store *store, const char *vm_id)
{
    struct order *order = new_order(ORDER_FILES_REMOVED);

    (void)snprintf(order->vm_id, sizeof(order->vm_id), "%s", vm_id);
    put_order(store, order);
}

void vmms_store_put_boot(struct vmms_store *store, const char *boot_id)
{
    struct order *order = new_order(ORDER_BOOT);

    (void)snprintf(order->vm_id, sizeof(order->vm_id), "%s", boot_id);
    put_order(store, order);
}

void vmms_store_use_limits(struct vmms_store *store, const struct vmms_store_limits *limits)
{
    struct order *order = new_order(ORDER_LIMITS);

    order->limits = *limits;
    put_order(store, order);
}

void vmms_store_put_identity(struct vmms_store *store, uint64_t token,
                             const struct vmms_identity *identity, struct api_event *event)
{
    struct order *order = new_order(ORDER_IDENTITY);

    order->identity = malloc(sizeof(*identity));
    hv_assert(order->identity);
    *order->identity = *identity;
    order->token = token;
    if (event) {
        order->event = *event;
        order->n_events = 1;
        *event = (struct api_event){ 0 };
    }
    put_order(store, order);
}

void vmms_store_backup(struct vmms_store *store, uint64_t token)
{
    vmms_care_backup(store->care, token);
}

/* Who this host is: made once, with the database. */
static int read_host(struct vmms_store *store)
{
    char sql[160];
    struct hv_guid guid;
    sqlite3_stmt *statement;
    int code;

    if (hv_guid_random(&guid) < 0)
        return SQLITE_ERROR;
    hv_guid_format(&guid, store->host_id);
    (void)snprintf(sql, sizeof(sql),
                   "INSERT OR IGNORE INTO host (id, host_id, epoch) VALUES (1, '%s', 0)",
                   store->host_id);
    code = sqlite3_exec(store->db.handle, sql, NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_prepare_v2(store->db.handle,
                                  "SELECT host_id, epoch, coalesce(boot_id, '') FROM host", -1,
                                  &statement, NULL);
    if (code != SQLITE_OK)
        return code;
    code = sqlite3_step(statement);
    if (code == SQLITE_ROW) {
        (void)snprintf(store->host_id, sizeof(store->host_id), "%s",
                       (const char *)sqlite3_column_text(statement, 0));
        store->epoch = (uint64_t)sqlite3_column_int64(statement, 1);
        (void)snprintf(store->boot_id, sizeof(store->boot_id), "%s",
                       (const char *)sqlite3_column_text(statement, 2));
    }
    (void)sqlite3_finalize(statement);
    return code == SQLITE_ROW ? SQLITE_OK : SQLITE_CORRUPT;
}

/* Opened, or why not. A database that is damaged is set aside. */
static int open_database(struct vmms_store *store, const char *path, struct hv_error **reterr)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    int r = vmms_check_presence(path, reterr), code;

    if (r < 0)
        return r;
    r = vmms_db_open(path, &store->db, &error);
    if (r == 0) {
        code = read_host(store);
        if (code != SQLITE_OK)
            r = vmms_db_explain(&store->db, code, "reading the host's id", &error);
        if (r == -EUCLEAN)
            vmms_db_close(&store->db);
    }
    if (r == -EUCLEAN)
        return vmms_refuse_damaged(path, reterr);
    if (r == 0) {
        store->was_unclean = vmms_mark_is_set(path, "open");
        r = store->was_unclean ? 0 : vmms_mark_set(path, "open");
        if (r < 0)
            return hv_error_set(reterr, r, "store.mark", "The file %s.open cannot be made: %s.",
                                path, strerror(-r));
    }
    if (reterr)
        *reterr = HV_TAKE_PTR(error);
    return r;
}

int vmms_store_open(const char *state_dir, const struct vmms_store_limits *limits,
                    void (*notify)(void *opaque), void *opaque, struct vmms_store **ret,
                    struct hv_error **reterr)
{
    struct vmms_store *store = calloc(1, sizeof(*store));
    hv_autofree char *path = NULL;
    int r;

    if (!store || asprintf(&path, "%s/vmms.db", state_dir) < 0) {
        path = NULL;
        free(store);
        return -ENOMEM;
    }
    store->notify = notify;
    store->opaque = opaque;
    store->orders_end = &store->orders;
    store->results_end = &store->results;
    (void)pthread_mutex_init(&store->lock, NULL);
    (void)pthread_cond_init(&store->wake, NULL);
    r = open_database(store, path, reterr);
    if (r < 0) {
        vmms_store_close(store);
        return r;
    }
    set_limits(&store->db, limits);
    *ret = store;
    return 0;
}

/* What was written is in the database itself when its log is gone: then it ended well. */
static void end_database(struct vmms_store *store)
{
    hv_autofree char *path = store->db.path ? strdup(store->db.path) : NULL;
    bool was_open = store->db.handle;

    vmms_db_close(&store->db);
    if (path && was_open && !store->is_dead)
        vmms_mark_clear(path, "open");
}

struct vmms_store *vmms_store_close(struct vmms_store *store)
{
    struct vmms_stored *result;

    if (!store)
        return NULL;
    store->care = vmms_care_stop(store->care);
    if (store->is_running) {
        (void)pthread_mutex_lock(&store->lock);
        store->is_closing = true;
        (void)pthread_cond_signal(&store->wake);
        (void)pthread_mutex_unlock(&store->lock);
        (void)pthread_join(store->thread, NULL);
    }
    while ((result = vmms_store_take(store)))
        vmms_stored_free(result);
    end_database(store);
    (void)pthread_cond_destroy(&store->wake);
    (void)pthread_mutex_destroy(&store->lock);
    free(store);
    return NULL;
}

/* The epoch need not outlive the host's memory, where the workers are that it is for: so the start
 * doesn't wait for the disk. The next change to be acknowledged brings it there. */
int vmms_store_begin_epoch(struct vmms_store *store, struct hv_error **reterr)
{
    int code = vmms_db_use_sync(&store->db, false);

    if (code == SQLITE_OK)
        code =
            sqlite3_exec(store->db.handle, "UPDATE host SET epoch = epoch + 1", NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = vmms_db_use_sync(&store->db, true);
    if (code != SQLITE_OK)
        return vmms_db_explain(&store->db, code, "storing the epoch", reterr);
    store->epoch++;
    return 0;
}

uint64_t vmms_store_epoch(const struct vmms_store *store)
{
    return store->epoch;
}

const char *vmms_store_host_id(const struct vmms_store *store)
{
    return store->host_id;
}

const char *vmms_store_boot_id(const struct vmms_store *store)
{
    return store->boot_id;
}

uint64_t vmms_store_last_event(const struct vmms_store *store)
{
    return store->db.last_event;
}

uint64_t vmms_store_event_bytes(const struct vmms_store *store)
{
    return store->db.total - store->db.first_total;
}

/* Damage that is met while reading: the next start looks at all of it, and sets it aside. */
static int suspect(struct vmms_store *store, int r)
{
    if (r == -EUCLEAN)
        (void)vmms_mark_set(store->db.path, "suspect");
    return r;
}

int vmms_store_load(struct vmms_store *store, int (*each)(void *opaque, struct vmms_row *row),
                    void (*each_removal)(void *opaque, const char *vm_id), void *opaque,
                    struct hv_error **reterr)
{
    sqlite3_stmt *statement;
    int r = suspect(store, vmms_db_load_rows(&store->db, each, opaque, reterr)), code;

    if (r < 0)
        return r;
    code = sqlite3_prepare_v2(store->db.handle, "SELECT object FROM op WHERE kind = 'remove_files'",
                              -1, &statement, NULL);
    if (code != SQLITE_OK)
        return vmms_db_explain(&store->db, code, "reading what is left to do", reterr);
    while (sqlite3_step(statement) == SQLITE_ROW)
        each_removal(opaque, (const char *)sqlite3_column_text(statement, 0));
    (void)sqlite3_finalize(statement);
    return 0;
}

int vmms_store_load_jobs(struct vmms_store *store,
                         int (*each)(void *opaque, struct vmms_job_row *row), void *opaque,
                         uint64_t *ret_last, struct hv_error **reterr)
{
    int r = suspect(store, vmms_db_load_jobs(&store->db, each, opaque, reterr)), code;

    if (r < 0)
        return r;
    code = vmms_db_last_job(&store->db, ret_last);
    return code == SQLITE_OK ? 0 : vmms_db_explain(&store->db, code, "reading jobs", reterr);
}

int vmms_store_load_groups(struct vmms_store *store,
                           int (*each)(void *opaque, struct vmms_group_row *row),
                           int (*each_member)(void *opaque, const char *group, const char *member),
                           void *opaque, struct hv_error **reterr)
{
    return suspect(store, vmms_db_load_groups(&store->db, each, each_member, opaque, reterr));
}

int vmms_store_load_keys(struct vmms_store *store,
                         int (*each)(void *opaque, struct vmms_key_row *row), void *opaque,
                         struct hv_error **reterr)
{
    return suspect(store, vmms_db_load_keys(&store->db, each, opaque, reterr));
}

int vmms_store_load_identities(struct vmms_store *store,
                               int (*each)(void *opaque, const struct vmms_identity *identity),
                               void *opaque, struct hv_error **reterr)
{
    return suspect(store, vmms_db_load_identities(&store->db, each, opaque, reterr));
}

int vmms_store_run(struct vmms_store *store, struct hv_error **reterr)
{
    const struct vmms_care_config care = { .path = store->db.path,
                                           .was_unclean = store->was_unclean,
                                           .opaque = store,
                                           .made = backup_made,
                                           .damaged = found_damaged };
    int error = pthread_create(&store->thread, NULL, run, store);

    if (error)
        return hv_error_set(reterr, -error, "store.thread",
                            "The store's thread cannot be started.");
    store->is_running = true;
    error = vmms_care_start(&care, &store->care);
    return error < 0 ? hv_error_set(reterr, error, "store.thread",
                                    "The store's second thread cannot be started.")
                     : 0;
}
