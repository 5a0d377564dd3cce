/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A serial console: what the guest wrote, kept in a ring, and what people type, queued for it.
 *
 * Output bytes have absolute positions from 0 on; the ring keeps the last ones. Any number of
 * readers follow at their own pace; one that fell behind is told where the ring starts now. Input
 * is a bounded queue: what does not fit is not taken, and the typist hears when there is room.
 *
 * Any thread may call anything; nothing here blocks or allocates after con_new. Wake functions are
 * called without con's lock, possibly on a VP's thread while a chip's lock is held: they must only
 * post (uv_async_send, an eventfd) and may be called once too often.
 */
#pragma once

#include "hvcore/base/fields.h"
#include "hvcore/base/list.h"

struct con;

enum { CON_RING_MIN_BYTES = 64 * 1024, CON_RING_BYTES = 256 * 1024, CON_INPUT_BYTES = 4096 };

/* ring_bytes: CON_RING_MIN_BYTES to 1 GiB, rounded up to a power of two. 0, -EINVAL, -ENOMEM. */
int con_new(size_t ring_bytes, struct con **ret);
struct con *con_free(struct con *con);

static inline void con_freep(struct con **con)
{
    *con = con_free(*con);
}

/* The guest's side: output never waits, the oldest bytes make room. */
void con_write(struct con *con, const void *bytes, size_t length);

/* The guest's side: take up to `max` typed bytes; returns how many. */
size_t con_take_input(struct con *con, void *ret, size_t max);

/* Called after input was queued, on the typist's thread, without con's lock. Setting it waits until
 * the one before is not running; not from fn itself. */
typedef void con_input_fn(void *opaque);
void con_set_input_fn(struct con *con, con_input_fn *fn, void *opaque);

/* [*ret_start, *ret_end): the positions that are kept now. */
void con_range(struct con *con, uint64_t *ret_start, uint64_t *ret_end);

enum con_read_status {
    CON_READ_OK,     /* *ret_length bytes from `position` on; 0 when there is nothing yet */
    CON_READ_BEHIND, /* the ring has dropped `position`; *ret_next is the oldest position kept */
    CON_READ_AHEAD   /* nothing has that position yet; *ret_next is the end */
};

/* Copy up to `max` bytes from `position` on. *ret_next: the position to read on from. */
enum con_read_status con_read(struct con *con, uint64_t position, void *ret, size_t max,
                              size_t *ret_length, uint64_t *ret_next);

/* Queue typed bytes; returns how many were taken (less than `length` when the queue is full). */
size_t con_type(struct con *con, const void *bytes, size_t length);

/* Someone who wants to be woken. Embedded by the caller; watched until con_unwatch. */
struct con_watch {
    /* public; set before con_watch */
    void (*wake)(void *opaque);
    void *opaque;
    /* private; lock: con's */
    struct hv_list node;
    uint64_t position;
    bool wants_output;
    bool wants_room;
    unsigned n_waking;
};

/* Until con_unwatch the watch belongs to the console; nothing wakes it before it waits. */
void con_watch(struct con *con, struct con_watch *watch);
/* After this returns, wake is not running and will not be called again. Not from wake. */
void con_unwatch(struct con *con, struct con_watch *watch);

/* Wake once when output beyond `position` is there. Returns false, and doesn't wake, when it is
 * there already: read it. */
bool con_wait_output(struct con *con, struct con_watch *watch, uint64_t position);

/* Wake once when the input queue has room. Returns false when it has room already: type. */
bool con_wait_room(struct con *con, struct con_watch *watch);

/* All of it, out or in: a console that is read into is as new and watched by nobody. What it held
 * before a failure is lost. */
void con_visit(struct con *con, struct hv_fields *fields);
