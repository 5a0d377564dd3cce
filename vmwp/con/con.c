/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/con/con.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

struct con {
    pthread_mutex_t lock;
    pthread_cond_t calls_ended; /* a wake or input function returned */
    struct hv_list watches;
    con_input_fn *input_fn;
    void *input_opaque;
    unsigned n_input_calls;
    uint64_t end; /* position of the next output byte */
    uint8_t *ring;
    size_t ring_bytes; /* a power of two */
    size_t input_first, input_count;
    uint8_t input[CON_INPUT_BYTES];
};

static_assert((CON_INPUT_BYTES & (CON_INPUT_BYTES - 1)) == 0, "the queue wraps by a mask");

int con_new(size_t ring_bytes, struct con **ret)
{
    struct con *con;
    size_t size = CON_RING_MIN_BYTES;

    if (ring_bytes < CON_RING_MIN_BYTES || ring_bytes > (size_t)1 << 30)
        return -EINVAL;
    while (size < ring_bytes)
        size *= 2;
    con = calloc(1, sizeof(*con));
    if (!con)
        return -ENOMEM;
    con->ring_bytes = size;
    con->ring = malloc(size);
    if (!con->ring) {
        free(con);
        return -ENOMEM;
    }
    pthread_mutex_init(&con->lock, NULL);
    pthread_cond_init(&con->calls_ended, NULL);
    hv_list_init(&con->watches);
    *ret = con;
    return 0;
}

struct con *con_free(struct con *con)
{
    if (!con)
        return NULL;
    hv_assert(hv_list_is_empty(&con->watches));
    pthread_cond_destroy(&con->calls_ended);
    pthread_mutex_destroy(&con->lock);
    free(con->ring);
    free(con);
    return NULL;
}

static uint64_t start_of(const struct con *con)
{
    return con->end > con->ring_bytes ? con->end - con->ring_bytes : 0;
}

static bool is_due(const struct con *con, const struct con_watch *watch)
{
    return (watch->wants_output && watch->position < con->end) ||
           (watch->wants_room && con->input_count < CON_INPUT_BYTES);
}

static struct con_watch *find_due(struct con *con)
{
    HV_LIST_FOREACH (node, &con->watches) {
        struct con_watch *watch = HV_LIST_ENTRY(node, struct con_watch, node);

        if (is_due(con, watch))
            return watch;
    }
    return NULL;
}

/* Call the wake functions that are due. Comes and goes with the lock held, but calls without it:
 * n_waking keeps the watch alive meanwhile. */
static void wake_due(struct con *con)
{
    struct con_watch *watch;

    while ((watch = find_due(con)) != NULL) {
        watch->wants_output &= watch->position >= con->end;
        watch->wants_room &= con->input_count == CON_INPUT_BYTES;
        watch->n_waking++;
        pthread_mutex_unlock(&con->lock);
        watch->wake(watch->opaque);
        pthread_mutex_lock(&con->lock);
        watch->n_waking--;
        pthread_cond_broadcast(&con->calls_ended);
    }
}

void con_write(struct con *con, const void *bytes, size_t length)
{
    const uint8_t *from = bytes;

    pthread_mutex_lock(&con->lock);
    while (length > 0) {
        size_t at = con->end & (con->ring_bytes - 1);
        size_t part = con->ring_bytes - at;

        if (part > length)
            part = length;
        memcpy(con->ring + at, from, part);
        con->end += part;
        from += part;
        length -= part;
    }
    wake_due(con);
    pthread_mutex_unlock(&con->lock);
}

size_t con_take_input(struct con *con, void *ret, size_t max)
{
    uint8_t *to = ret;
    size_t n = 0;

    pthread_mutex_lock(&con->lock);
    for (; n < max && con->input_count > 0; n++) {
        to[n] = con->input[con->input_first];
        con->input_first = (con->input_first + 1) & (CON_INPUT_BYTES - 1);
        con->input_count--;
    }
    if (n > 0)
        wake_due(con);
    pthread_mutex_unlock(&con->lock);
    return n;
}

void con_set_input_fn(struct con *con, con_input_fn *fn, void *opaque)
{
    pthread_mutex_lock(&con->lock);
    con->input_fn = fn;
    con->input_opaque = opaque;
    while (con->n_input_calls > 0)
        pthread_cond_wait(&con->calls_ended, &con->lock);
    pthread_mutex_unlock(&con->lock);
}

void con_range(struct con *con, uint64_t *ret_start, uint64_t *ret_end)
{
    pthread_mutex_lock(&con->lock);
    *ret_start = start_of(con);
    *ret_end = con->end;
    pthread_mutex_unlock(&con->lock);
}

/* Copy from a position that is kept; the lock is held. */
static size_t ring_copy(const struct con *con, uint64_t position, uint8_t *to, size_t max)
{
    size_t length = con->end - position < max ? (size_t)(con->end - position) : max;
    size_t at = position & (con->ring_bytes - 1);
    size_t part = con->ring_bytes - at < length ? con->ring_bytes - at : length;

    memcpy(to, con->ring + at, part);
    memcpy(to + part, con->ring, length - part);
    return length;
}

enum con_read_status con_read(struct con *con, uint64_t position, void *ret, size_t max,
                              size_t *ret_length, uint64_t *ret_next)
{
    enum con_read_status status = CON_READ_OK;

    *ret_length = 0;
    pthread_mutex_lock(&con->lock);
    if (position < start_of(con)) {
        status = CON_READ_BEHIND;
        *ret_next = start_of(con);
    } else if (position > con->end) {
        status = CON_READ_AHEAD;
        *ret_next = con->end;
    } else {
        *ret_length = ring_copy(con, position, ret, max);
        *ret_next = position + *ret_length;
    }
    pthread_mutex_unlock(&con->lock);
    return status;
}

static size_t input_put(struct con *con, const uint8_t *from, size_t length)
{
    size_t n;

    for (n = 0; n < length && con->input_count < CON_INPUT_BYTES; n++) {
        size_t at = (con->input_first + con->input_count) & (CON_INPUT_BYTES - 1);

        con->input[at] = from[n];
        con->input_count++;
    }
    return n;
}

size_t con_type(struct con *con, const void *bytes, size_t length)
{
    size_t n;

    pthread_mutex_lock(&con->lock);
    n = input_put(con, bytes, length);
    if (n > 0 && con->input_fn) {
        con_input_fn *fn = con->input_fn;
        void *opaque = con->input_opaque;

        con->n_input_calls++;
        pthread_mutex_unlock(&con->lock);
        fn(opaque);
        pthread_mutex_lock(&con->lock);
        con->n_input_calls--;
        pthread_cond_broadcast(&con->calls_ended);
    }
    pthread_mutex_unlock(&con->lock);
    return n;
}

void con_watch(struct con *con, struct con_watch *watch)
{
    pthread_mutex_lock(&con->lock);
    watch->wants_output = false;
    watch->wants_room = false;
    watch->n_waking = 0;
    hv_list_append(&con->watches, &watch->node);
    pthread_mutex_unlock(&con->lock);
}

void con_unwatch(struct con *con, struct con_watch *watch)
{
    pthread_mutex_lock(&con->lock);
    hv_list_remove(&watch->node);
    while (watch->n_waking > 0)
        pthread_cond_wait(&con->calls_ended, &con->lock);
    pthread_mutex_unlock(&con->lock);
}

bool con_wait_output(struct con *con, struct con_watch *watch, uint64_t position)
{
    bool must_wait;

    pthread_mutex_lock(&con->lock);
    must_wait = position >= con->end;
    watch->position = position;
    watch->wants_output = must_wait;
    pthread_mutex_unlock(&con->lock);
    return must_wait;
}

bool con_wait_room(struct con *con, struct con_watch *watch)
{
    bool must_wait;

    pthread_mutex_lock(&con->lock);
    must_wait = con->input_count == CON_INPUT_BYTES;
    watch->wants_room = must_wait;
    pthread_mutex_unlock(&con->lock);
    return must_wait;
}

/* ---- all of it as bytes ---- */

/* The ring's bytes in order, or the other way; the lock is held. */
static void visit_ring(struct con *con, struct hv_fields *fields)
{
    uint32_t length = (uint32_t)(con->end - start_of(con));

    hv_field_u64(fields, &con->end);
    hv_field_count(fields, &length, (uint32_t)con->ring_bytes);
    if (length > con->end)
        hv_fields_refuse(fields);
    for (uint64_t at = con->end - length; hv_fields_ok(fields) && at < con->end;) {
        size_t offset = at & (con->ring_bytes - 1);
        size_t part = con->ring_bytes - offset;

        part = part < con->end - at ? part : (size_t)(con->end - at);
        hv_field_bytes(fields, con->ring + offset, part);
        at += part;
    }
}

void con_visit(struct con *con, struct hv_fields *fields)
{
    uint32_t n_input;

    pthread_mutex_lock(&con->lock);
    visit_ring(con, fields);
    n_input = (uint32_t)con->input_count;
    hv_field_count(fields, &n_input, CON_INPUT_BYTES);
    if (fields->is_reading)
        con->input_first = 0;
    con->input_count = n_input;
    for (uint32_t i = 0; i < n_input; i++)
        hv_field_u8(fields, &con->input[(con->input_first + i) & (CON_INPUT_BYTES - 1)]);
    pthread_mutex_unlock(&con->lock);
}
