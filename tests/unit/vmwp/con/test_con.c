/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "vmwp/con/con.h"

#include <pthread.h>
#include <string.h>

static int make(void **state)
{
    struct con *con = NULL;

    if (con_new(CON_RING_MIN_BYTES, &con) < 0)
        return -1;
    *state = con;
    return 0;
}

static int drop(void **state)
{
    con_free(*state);
    return 0;
}

static void count(void *opaque)
{
    (*(unsigned *)opaque)++;
}

static void a_ring_of_a_wrong_size_is_refused(void **state)
{
    struct con *con = NULL;

    assert_int_equal(con_new(CON_RING_MIN_BYTES - 1, &con), -EINVAL);
    assert_int_equal(con_new(SIZE_MAX, &con), -EINVAL);
    assert_null(con);
    assert_null(con_free(NULL));
}

static void a_reader_ahead_is_told_the_end(void **state)
{
    struct con *con = *state;
    uint64_t next = 0;
    size_t length = 1;
    char byte;

    con_write(con, "abc", 3);
    assert_int_equal(con_read(con, 4, &byte, 1, &length, &next), CON_READ_AHEAD);
    assert_int_equal(next, 3);
    assert_int_equal(length, 0);
    assert_int_equal(con_read(con, 3, &byte, 1, &length, &next), CON_READ_OK);
    assert_int_equal(length, 0);
    assert_int_equal(next, 3);
}

static void a_reader_behind_is_told_the_oldest_position(void **state)
{
    struct con *con = *state;
    uint64_t next = 0, start, end;
    size_t length;
    char out[4];

    for (unsigned i = 0; i < CON_RING_MIN_BYTES; i++)
        con_write(con, "x", 1);
    assert_int_equal(con_read(con, 0, out, 1, &length, &next), CON_READ_OK);
    con_write(con, "abcdefg", 7);
    assert_int_equal(con_read(con, 6, out, 4, &length, &next), CON_READ_BEHIND);
    assert_int_equal(next, 7);
    assert_int_equal(length, 0);
    con_range(con, &start, &end);
    assert_int_equal(start, 7);
    assert_int_equal(end, CON_RING_MIN_BYTES + 7);
}

static void bytes_come_back_across_the_rings_edge(void **state)
{
    struct con *con = *state;
    size_t length, done = 0;
    uint64_t at = CON_RING_MIN_BYTES - 100, next;
    uint8_t chunk[333], out[200];

    memset(chunk, 'x', sizeof(chunk));
    while (done < CON_RING_MIN_BYTES - 100) {
        size_t part = CON_RING_MIN_BYTES - 100 - done;

        part = part < sizeof(chunk) ? part : sizeof(chunk);
        con_write(con, chunk, part);
        done += part;
    }
    for (unsigned i = 0; i < 200; i++)
        chunk[i] = (uint8_t)i;
    con_write(con, chunk, 200);
    assert_int_equal(con_read(con, at, out, sizeof(out), &length, &next), CON_READ_OK);
    assert_int_equal(length, 200);
    assert_int_equal(next, at + 200);
    assert_memory_equal(out, chunk, 200);
}

static void a_write_larger_than_the_ring_keeps_its_end(void **state)
{
    struct con *con = *state;
    size_t bytes = 3 * CON_RING_MIN_BYTES + 5, length;
    uint8_t *big = malloc(bytes), out[8];
    uint64_t next;

    assert_non_null(big);
    for (size_t i = 0; i < bytes; i++)
        big[i] = (uint8_t)(i * 7);
    con_write(con, big, bytes);
    assert_int_equal(con_read(con, bytes - 8, out, 8, &length, &next), CON_READ_OK);
    assert_memory_equal(out, big + bytes - 8, 8);
    free(big);
}

static void two_readers_are_woken_once_each(void **state)
{
    struct con *con = *state;
    unsigned woken[2] = { 0, 0 };
    struct con_watch a = { .wake = count, .opaque = &woken[0] };
    struct con_watch b = { .wake = count, .opaque = &woken[1] };

    con_watch(con, &a);
    con_watch(con, &b);
    con_write(con, "1", 1);
    assert_int_equal(woken[0] + woken[1], 0);
    assert_false(con_wait_output(con, &a, 0)); /* it is there already */
    assert_true(con_wait_output(con, &a, 1));
    assert_true(con_wait_output(con, &b, 2));
    con_write(con, "2", 1);
    assert_int_equal(woken[0], 1);
    assert_int_equal(woken[1], 0);
    con_write(con, "3", 1);
    con_write(con, "4", 1);
    assert_int_equal(woken[0], 1);
    assert_int_equal(woken[1], 1);
    con_unwatch(con, &a);
    con_unwatch(con, &b);
}

static void a_full_queue_refuses_and_tells_when_there_is_room(void **state)
{
    struct con *con = *state;
    unsigned woken = 0, inputs = 0;
    struct con_watch watch = { .wake = count, .opaque = &woken };
    char line[CON_INPUT_BYTES + 10], out[8];

    memset(line, 'k', sizeof(line));
    con_set_input_fn(con, count, &inputs);
    con_watch(con, &watch);
    assert_int_equal(con_type(con, line, sizeof(line)), CON_INPUT_BYTES);
    assert_int_equal(inputs, 1);
    assert_int_equal(con_type(con, line, 1), 0);
    assert_int_equal(inputs, 1);
    assert_true(con_wait_room(con, &watch));
    assert_int_equal(con_take_input(con, out, 8), 8);
    assert_int_equal(woken, 1);
    assert_false(con_wait_room(con, &watch));
    assert_int_equal(con_take_input(con, out, 8), 8);
    assert_int_equal(woken, 1);
    con_unwatch(con, &watch);
    con_set_input_fn(con, NULL, NULL);
}

static void typed_bytes_keep_their_order_through_the_queues_edge(void **state)
{
    struct con *con = *state;
    uint8_t sent = 0, expected = 0;

    for (unsigned round = 0; round < 1000; round++) {
        uint8_t in[37], out[64];
        size_t n;

        for (unsigned i = 0; i < sizeof(in); i++)
            in[i] = sent++;
        assert_int_equal(con_type(con, in, sizeof(in)), sizeof(in));
        n = con_take_input(con, out, sizeof(out));
        assert_int_equal(n, sizeof(in));
        for (unsigned i = 0; i < n; i++)
            assert_int_equal(out[i], expected++);
    }
}

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t woken;
    bool is_woken;
};

static void post(void *opaque)
{
    struct waiter *waiter = opaque;

    pthread_mutex_lock(&waiter->lock);
    waiter->is_woken = true;
    pthread_cond_signal(&waiter->woken);
    pthread_mutex_unlock(&waiter->lock);
}

static void *write_much(void *opaque)
{
    struct con *con = opaque;

    for (unsigned i = 0; i < 20000; i++) {
        uint32_t word = i;

        con_write(con, &word, sizeof(word));
    }
    return NULL;
}

/* The bytes of a position say what they must be, so that a torn or lost read shows. */
static void a_reader_in_another_thread_sees_every_byte_or_hears_of_the_gap(void **state)
{
    struct con *con = *state;
    struct waiter waiter = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false };
    struct con_watch watch = { .wake = post, .opaque = &waiter };
    const uint64_t all = 20000 * sizeof(uint32_t);
    uint64_t at = 0;
    pthread_t thread;

    con_watch(con, &watch);
    assert_int_equal(pthread_create(&thread, NULL, write_much, con), 0);
    while (at < all) {
        uint8_t out[500];
        size_t length;
        uint64_t next;

        assert_int_not_equal(con_read(con, at, out, sizeof(out), &length, &next), CON_READ_AHEAD);
        for (size_t i = 0; i < length; i++)
            assert_int_equal(out[i], (uint8_t)((at + i) / 4 >> (8 * ((at + i) % 4))));
        at = next;
        if (length == 0 && at < all && con_wait_output(con, &watch, at)) {
            pthread_mutex_lock(&waiter.lock);
            while (!waiter.is_woken)
                pthread_cond_wait(&waiter.woken, &waiter.lock);
            waiter.is_woken = false;
            pthread_mutex_unlock(&waiter.lock);
        }
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    con_unwatch(con, &watch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ring_of_a_wrong_size_is_refused),
        cmocka_unit_test_setup_teardown(a_reader_ahead_is_told_the_end, make, drop),
        cmocka_unit_test_setup_teardown(a_reader_behind_is_told_the_oldest_position, make, drop),
        cmocka_unit_test_setup_teardown(bytes_come_back_across_the_rings_edge, make, drop),
        cmocka_unit_test_setup_teardown(a_write_larger_than_the_ring_keeps_its_end, make, drop),
        cmocka_unit_test_setup_teardown(two_readers_are_woken_once_each, make, drop),
        cmocka_unit_test_setup_teardown(a_full_queue_refuses_and_tells_when_there_is_room, make,
                                        drop),
        cmocka_unit_test_setup_teardown(typed_bytes_keep_their_order_through_the_queues_edge, make,
                                        drop),
        cmocka_unit_test_setup_teardown(
            a_reader_in_another_thread_sees_every_byte_or_hears_of_the_gap, make, drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
