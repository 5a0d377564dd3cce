/* SPDX-License-Identifier: Apache-2.0 */
/* The table event. */
#include "vmmsd/store/db_priv.h"

#include "hvcore/base/clock.h"
#include "vmmsd/store/store.h"

#include <inttypes.h>
#include <string.h>

enum {
    PRUNE_STEP = 10000,
    EVENT_BYTES = 64,  /* of its numbers, about */
    LEAST_KEPT = 1000, /* however old: the clock may be wrong */
    LOOK_EVERY_S = 600
};

int vmms_db_prepare_events(struct vmms_db *db)
{
    int code = vmms_db_prepare(db,
                               "INSERT INTO event (seq, boot_id, time_ms, monotonic_ns, type, vm, "
                               "vm_name, generation, actor, data, job, object, total) "
                               "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                               &db->insert_event);

    if (code == SQLITE_OK)
        code = vmms_db_prepare(db,
                               "SELECT seq, boot_id, time_ms, monotonic_ns, type, vm, vm_name, "
                               "generation, actor, data, job, object FROM event WHERE seq >= ?1 "
                               "ORDER BY seq LIMIT ?2",
                               &db->read_events);
    if (code == SQLITE_OK)
        code = vmms_db_prepare(db,
                               "SELECT min(seq) FROM (SELECT seq, time_ms FROM event WHERE seq >= "
                               "?1 ORDER BY seq LIMIT ?2) WHERE time_ms >= ?3",
                               &db->find_young);
    if (code == SQLITE_OK)
        code = vmms_db_prepare(db,
                               "SELECT min(seq) FROM (SELECT seq, total FROM event WHERE seq >= "
                               "?1 ORDER BY seq LIMIT ?2) WHERE total >= ?3",
                               &db->find_light);
    if (code == SQLITE_OK)
        code = vmms_db_prepare(db, "SELECT total FROM event WHERE seq = ?1", &db->read_total);
    if (code == SQLITE_OK)
        code = vmms_db_prepare(db, "DELETE FROM event WHERE seq < ?1", &db->prune_events);
    return code;
}

static uint64_t text_bytes(const char *text)
{
    return text ? strlen(text) : 0;
}

static uint64_t event_bytes(const struct api_event *event)
{
    return EVENT_BYTES + text_bytes(event->boot_id) + text_bytes(event->type) +
           text_bytes(event->vm) + text_bytes(event->vm_name) + text_bytes(event->actor) +
           text_bytes(event->data) + text_bytes(event->object);
}

int vmms_db_put_event(struct vmms_db *db, uint64_t seq, const struct api_event *event)
{
    sqlite3_stmt *statement = db->insert_event;

    (void)sqlite3_bind_int64(statement, 1, (int64_t)seq);
    vmms_db_bind_given(statement, 2, event->boot_id);
    (void)sqlite3_bind_int64(statement, 3, (int64_t)event->time_ms);
    (void)sqlite3_bind_int64(statement, 4, (int64_t)event->monotonic_ns);
    vmms_db_bind_given(statement, 5, event->type);
    vmms_db_bind_given(statement, 6, event->vm);
    vmms_db_bind_given(statement, 7, event->vm_name);
    (void)sqlite3_bind_int64(statement, 8, (int64_t)event->generation);
    vmms_db_bind_given(statement, 9, event->actor);
    vmms_db_bind_given(statement, 10, event->data);
    if (event->has & API_EVENT_HAS_JOB)
        (void)sqlite3_bind_int64(statement, 11, (int64_t)event->job);
    vmms_db_bind_given(statement, 12, event->object);
    db->total += event_bytes(event);
    (void)sqlite3_bind_int64(statement, 13, (int64_t)db->total);
    return vmms_db_run(statement);
}

static char *column(sqlite3_stmt *statement, int at, bool *out_of_memory)
{
    const char *text = (const char *)sqlite3_column_text(statement, at);
    char *copy = text ? strdup(text) : NULL;

    if (text && !copy)
        *out_of_memory = true;
    return copy;
}

static int read_event(sqlite3_stmt *statement, struct api_event *ret)
{
    bool out_of_memory = false;

    ret->seq = (uint64_t)sqlite3_column_int64(statement, 0);
    ret->boot_id = column(statement, 1, &out_of_memory);
    ret->time_ms = (uint64_t)sqlite3_column_int64(statement, 2);
    ret->monotonic_ns = (uint64_t)sqlite3_column_int64(statement, 3);
    ret->type = column(statement, 4, &out_of_memory);
    ret->vm = column(statement, 5, &out_of_memory);
    ret->vm_name = column(statement, 6, &out_of_memory);
    ret->generation = (uint64_t)sqlite3_column_int64(statement, 7);
    ret->actor = column(statement, 8, &out_of_memory);
    ret->data = column(statement, 9, &out_of_memory);
    if (sqlite3_column_type(statement, 10) != SQLITE_NULL)
        ret->has |= API_EVENT_HAS_JOB;
    ret->job = (uint64_t)sqlite3_column_int64(statement, 10);
    ret->object = column(statement, 11, &out_of_memory);
    return out_of_memory ? -ENOMEM : 0;
}

/* A number after the next one came from another database: what this one tells would be missed. */
static int say_gap(const struct vmms_db *db, uint64_t since, struct api_error **reterr)
{
    bool is_future = since > db->last_event;
    int r = api_error_set(reterr, API_E_EVENT_GAP, "events.gap", "since",
                          "Events from %" PRIu64 " on are asked for; the %s is %" PRIu64 ".", since,
                          is_future ? "newest" : "oldest that is kept",
                          is_future ? db->last_event : db->first_event);

    if (*reterr) {
        (*reterr)->data.first_event = db->first_event;
        (*reterr)->data.has |= API_ERROR_DATA_HAS_FIRST_EVENT;
        api_error_hint(*reterr, "Read the VMs anew and go on from %" PRIu64 ".",
                       is_future ? db->last_event + 1 : db->first_event);
    }
    return r;
}

int vmms_db_read_events(struct vmms_db *db, uint64_t since, uint32_t limit,
                        struct api_event_list *ret, struct api_error **reterr)
{
    sqlite3_stmt *statement = db->read_events;
    int r = 0;

    *ret = (struct api_event_list){ .next = since, .last = db->last_event };
    if ((since < db->first_event && since > 0 && db->first_event > 1) || since > db->last_event + 1)
        return say_gap(db, since, reterr);
    if (since > db->last_event)
        return 0;
    ret->events = calloc(limit, sizeof(*ret->events));
    if (!ret->events)
        return -ENOMEM;
    (void)sqlite3_bind_int64(statement, 1, (int64_t)since);
    (void)sqlite3_bind_int64(statement, 2, limit);
    while (r == 0 && ret->n_events < limit && sqlite3_step(statement) == SQLITE_ROW) {
        r = read_event(statement, &ret->events[ret->n_events]);
        ret->next = ret->events[ret->n_events].seq + 1;
        ret->n_events++;
    }
    (void)sqlite3_reset(statement);
    return r;
}

/* The first of the oldest events that has so much of what the statement looks at, at most a step
 * on. */
static int find_first(struct vmms_db *db, sqlite3_stmt *statement, uint64_t least, uint64_t *ret)
{
    int code;

    (void)sqlite3_bind_int64(statement, 1, (int64_t)db->first_event);
    (void)sqlite3_bind_int64(statement, 2, PRUNE_STEP);
    (void)sqlite3_bind_int64(statement, 3, (int64_t)least);
    code = sqlite3_step(statement);
    *ret = db->first_event + PRUNE_STEP;
    if (code == SQLITE_ROW && sqlite3_column_type(statement, 0) != SQLITE_NULL)
        *ret = (uint64_t)sqlite3_column_int64(statement, 0);
    (void)sqlite3_reset(statement);
    return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

static int find_young(struct vmms_db *db, uint64_t *ret)
{
    uint64_t now_ms = hv_clock_realtime_ns() / HV_NS_PER_MS;
    uint64_t kept_ms = db->limits.days * UINT64_C(86400000);

    return find_first(db, db->find_young, now_ms > kept_ms ? now_ms - kept_ms : 0, ret);
}

/* Some are thrown away at a time, so that not every commit has to. */
static int make_light(struct vmms_db *db, uint64_t *first)
{
    uint64_t light;
    int code;

    if (db->total - db->first_total <= db->limits.bytes + db->limits.bytes / 20)
        return SQLITE_OK;
    code = find_first(db, db->find_light, db->total - db->limits.bytes, &light);
    light = light < db->last_event ? light : db->last_event;
    if (code == SQLITE_OK && light > *first)
        *first = light;
    return code;
}

/* Which event is to be the oldest. */
static int first_to_keep(struct vmms_db *db, uint64_t *ret)
{
    uint64_t now_ns = hv_clock_monotonic_ns(), last = db->last_event, young;
    int code;

    *ret = db->first_event;
    if (last - db->first_event + 1 >= db->limits.events + db->limits.events / 20 + 1)
        *ret = last + 1 - db->limits.events;
    code = make_light(db, ret);
    if (code != SQLITE_OK ||
        (db->pruned_ns && now_ns - db->pruned_ns < LOOK_EVERY_S * HV_NS_PER_SEC))
        return code;
    code = find_young(db, &young);
    if (code == SQLITE_OK && young < db->first_event + PRUNE_STEP)
        db->pruned_ns = now_ns;
    if (young + LEAST_KEPT > last)
        young = last > LEAST_KEPT ? last - LEAST_KEPT : 0;
    if (young <= db->first_event)
        db->pruned_ns = now_ns;
    else if (young > *ret)
        *ret = young;
    return code;
}

static int read_total(struct vmms_db *db, uint64_t seq, uint64_t *ret)
{
    int code;

    (void)sqlite3_bind_int64(db->read_total, 1, (int64_t)seq);
    code = sqlite3_step(db->read_total);
    if (code == SQLITE_ROW)
        *ret = (uint64_t)sqlite3_column_int64(db->read_total, 0);
    (void)sqlite3_reset(db->read_total);
    return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

int vmms_db_count_event_bytes(struct vmms_db *db)
{
    int code = read_total(db, db->last_event, &db->total);

    if (code == SQLITE_OK)
        code = read_total(db, db->first_event, &db->first_total);
    if (db->total < db->first_total) /* by a hand of somebody else's */
        db->total = db->first_total;
    return code;
}

/* Forget the oldest: those that are too many, at once; those that are too old or too much, in
 * steps, with has_more_to_forget where there may be another. Inside a transaction; when it is
 * rolled back, first_event and first_total are for the caller to set back. */
int vmms_db_prune_events(struct vmms_db *db)
{
    uint64_t first;
    int code;

    db->has_more_to_forget = false;
    if (!db->last_event)
        return SQLITE_OK;
    code = first_to_keep(db, &first);
    if (code != SQLITE_OK || first == db->first_event)
        return code;
    (void)sqlite3_bind_int64(db->prune_events, 1, (int64_t)first);
    code = vmms_db_run(db->prune_events);
    if (code != SQLITE_OK)
        return code;
    db->has_more_to_forget = first == db->first_event + PRUNE_STEP;
    db->first_event = first;
    return read_total(db, first, &db->first_total);
}
