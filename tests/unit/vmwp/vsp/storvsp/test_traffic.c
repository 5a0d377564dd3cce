/* SPDX-License-Identifier: Apache-2.0 */
/* Requests under way: many at once, full rings, flushes, resets, pauses, and ends in the middle. */
#include "tests/unit/vmwp/vsp/storvsp/rig.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void send_write(struct rig *rig, struct fake_vmbus_channel *channel, uint64_t transaction,
                       bool is_fua)
{
    RIG_SEND(rig, channel, .transaction = transaction, .opcode = 0x2a, .flags = is_fua ? 8 : 0,
             .lba = (uint32_t)transaction, .blocks = 1, .bytes = 512,
             .at = (uint32_t)(transaction % 4096) * 512);
}

/* Wait for as many completions, each good and of another transaction, 1 to n. */
static void wait_for_all(struct rig *rig, struct fake_vmbus_channel *channel, unsigned n)
{
    static uint8_t seen[4096];
    struct storvsp_wire_packet packet;

    memset(seen, 0, sizeof(seen));
    for (unsigned i = 0; i < n; i++) {
        uint64_t transaction = rig_wait(rig, channel, &packet);

        assert_in_range(transaction, 1, n);
        assert_int_equal(seen[transaction]++, 0);
        assert_int_equal(packet.srb.srb_status, STORVSP_SRB_SUCCESS);
    }
}

static void what_is_written_is_read_back(void **state)
{
    struct rig *rig = *state;
    struct storvsp_wire_packet packet;

    memset(rig->bytes, 0x11, 4096);
    RIG_SEND(rig, &rig->channel, .transaction = 1, .opcode = 0x2a, .lba = 8, .blocks = 8,
             .bytes = 4096);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 1);
    assert_int_equal(packet.srb.data_bytes, 4096);
    RIG_SEND(rig, &rig->channel, .transaction = 2, .opcode = 0x28, .lba = 8, .blocks = 8,
             .bytes = 8192, .at = 8192, .direction = STORVSP_DATA_IN);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 2);
    assert_int_equal(packet.srb.data_bytes, 4096); /* an underrun is told by the length */
    assert_memory_equal(rig->bytes + 8192, rig->bytes, 4096);
}

static void a_request_that_wants_no_completion_gets_none(void **state)
{
    struct rig *rig = *state;
    struct storvsp_wire_packet packet = { .operation = STORVSP_EXECUTE_SRB };

    fake_vmbus_send(&rig->channel, 3, false, &packet, sizeof(packet));
    rig_assert_silent(rig, &rig->channel);
    assert_int_equal(rig_test_unit(rig, 0), STORVSP_SRB_SUCCESS);
}

static void a_lone_request_runs_on_the_channels_thread(void **state)
{
    struct rig *rig = *state;
    struct storvsp_wire_packet packet;
    struct storvsp_stats before, after;

    for (unsigned round = 0; round < 20; round++) { /* on a host that does other things */
        storvsp_controller_stats(rig->controller, &before);
        for (unsigned i = 1; i <= 10; i++) {
            send_write(rig, &rig->channel, i, false);
            assert_int_equal(rig_wait(rig, &rig->channel, &packet), i);
        }
        storvsp_controller_stats(rig->controller, &after);
        assert_int_equal(after.requests - before.requests, 10);
        if (after.inline_runs - before.inline_runs == 10)
            break;
    }
    assert_int_equal(after.inline_runs - before.inline_runs, 10);
}

static void completions_of_a_deep_queue_come_in_batches(void **state)
{
    struct rig *rig = *state;
    struct storvsp_stats before, after;
    unsigned signals;

    for (unsigned round = 0; round < 8; round++) {
        storvsp_controller_stats(rig->controller, &before);
        signals = rig->guest.signals[rig->channel.relid];
        storvsp_ops.pause(rig->controller);
        for (unsigned i = 1; i <= 32; i++)
            send_write(rig, &rig->channel, i, false);
        storvsp_ops.resume(rig->controller);
        wait_for_all(rig, &rig->channel, 32);
        storvsp_controller_stats(rig->controller, &after);
        if (after.batches - before.batches <= 8)
            break;
    }
    assert_int_equal(after.requests - before.requests, 32);
    assert_in_range(after.batches - before.batches, 1, 8); /* one in four */
    assert_in_range(rig->guest.signals[rig->channel.relid] - signals, 1, 8);
}

/* Keep `depth` reads under way until `n` are done; returns how often the guest signalled. */
static unsigned keep_under_way(struct rig *rig, unsigned depth, unsigned n)
{
    static struct fake_vmbus_packet packet;
    unsigned sent = 0, done = 0, signals = rig->channel.n_signals;

    while (done < n) {
        for (; sent < n && sent - done < depth; sent++)
            RIG_SEND(rig, &rig->channel, .transaction = sent + 1, .opcode = 0x28,
                     .lba = sent % 8000, .blocks = 1, .bytes = 512, .at = sent % 4096 * 512,
                     .direction = STORVSP_DATA_IN);
        while (fake_vmbus_read(&rig->channel, &packet))
            done++;
        rig_turn(rig);
    }
    return rig->channel.n_signals - signals;
}

/* Both ways: a guest that keeps 32 requests under way signals, and is signalled, for one in four.
 */
static void a_deep_queue_is_let_come(void **state)
{
    struct rig *rig = *state;
    enum { N = 8000, ROUNDS = 5 };
    struct storvsp_stats before, after;
    unsigned signals;

    for (unsigned round = 0; round < ROUNDS; round++) { /* on a host that does other things */
        storvsp_controller_stats(rig->controller, &before);
        signals = keep_under_way(rig, 32, N);
        storvsp_controller_stats(rig->controller, &after);
        if (signals <= N / 4 && after.batches - before.batches <= N / 4)
            break;
    }
    assert_in_range(signals, 1, N / 4);
    assert_in_range(after.batches - before.batches, 1, N / 4);
}

/* The scheduling policy of the first channel's thread */
static int policy_of_queue(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int policy = -1;

    assert_non_null(tasks);
    for (const struct dirent *task; policy < 0 && (task = readdir(tasks));) {
        char path[300], name[32] = "";
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/self/task/%s/comm", task->d_name);
        file = fopen(path, "re");
        if (!file)
            continue;
        if (fgets(name, sizeof(name), file) && strcmp(name, "scsi0-q0\n") == 0)
            policy = sched_getscheduler(atoi(task->d_name));
        (void)fclose(file);
    }
    (void)closedir(tasks);
    return policy;
}

/* Sooner or later: now and then it tries whether many come. */
static void await_policy(struct rig *rig, unsigned depth, int policy)
{
    for (unsigned round = 0; round < 100 && policy_of_queue() != policy; round++)
        (void)keep_under_way(rig, depth, 10 * depth);
    assert_int_equal(policy_of_queue(), policy);
}

static void a_deep_queue_lets_the_vps_go_first_and_a_lone_request_does_not(void **state)
{
    struct rig *rig = *state;

    await_policy(rig, 1, SCHED_OTHER);
    await_policy(rig, 32, SCHED_BATCH);
    await_policy(rig, 1, SCHED_OTHER);
}

/* A guest without a processor for a while: some lone requests don't make a deep queue shallow. */
static void a_quiet_moment_is_not_the_end_of_many(void **state)
{
    struct rig *rig = *state;
    enum { N = 256, ROUNDS = 20 };
    unsigned signals = N;

    (void)keep_under_way(rig, 32, 8000);
    for (unsigned round = 0; round < ROUNDS && signals > N / 16; round++) {
        (void)keep_under_way(rig, 32, N);
        (void)keep_under_way(rig, 1, 3);
        signals = keep_under_way(rig, 32, N);
    }
    assert_in_range(signals, 1, N / 16);
}

/* A disk that is waited for is waited for by the pool: the ring is read meanwhile. */
static void reads_of_a_slow_disk_run_side_by_side(void **state)
{
    struct rig *rig = *state;

    rig->disk->delay_us = 2000;
    (void)keep_under_way(rig, 8, 64);
    assert_in_range(rig->disk->max_inside, 2, RIG_IO_THREADS + 1);
    rig->disk->delay_us = 0;
}

static void slow_requests_run_side_by_side(void **state)
{
    struct rig *rig = *state;

    fake_disk_hold(rig->disk);
    for (unsigned i = 1; i <= 20; i++)
        send_write(rig, &rig->channel, i, true);
    fake_disk_await_inside(rig->disk, RIG_IO_THREADS);
    rig_assert_silent(rig, &rig->channel);
    fake_disk_release(rig->disk);
    wait_for_all(rig, &rig->channel, 20);
    assert_int_equal(rig->disk->max_inside, RIG_IO_THREADS);
    assert_int_equal(rig->disk->n_fua, 20);
}

/* How many bytes the guest knows to be unread: the host shows what it has read in parts of the
 * ring. */
static uint32_t bytes_unread(struct rig *rig)
{
    uint32_t write = fake_vmbus_ring_get(&rig->guest, &rig->channel.out, VMBUS_WIRE_RING_WRITE);

    return write - fake_vmbus_ring_get(&rig->guest, &rig->channel.out, VMBUS_WIRE_RING_READ);
}

/* Outstanding requests are bounded: the rest waits in the guest's ring. */
static void beyond_the_bound_the_ring_is_not_read(void **state)
{
    struct rig *rig = *state;
    enum { N = 400, BOUND = 256, MOST = N - BOUND + 64 };
    uint32_t before, after, packet_bytes;

    fake_disk_hold(rig->disk);
    before = fake_vmbus_ring_get(&rig->guest, &rig->channel.out, VMBUS_WIRE_RING_WRITE);
    for (unsigned i = 1; i <= N; i++)
        send_write(rig, &rig->channel, i, true);
    after = fake_vmbus_ring_get(&rig->guest, &rig->channel.out, VMBUS_WIRE_RING_WRITE);
    packet_bytes = (after - before) / N;
    for (unsigned ms = 0; ms < 5000 && bytes_unread(rig) / packet_bytes > MOST; ms++)
        (void)usleep(1000);
    rig_assert_silent(rig, &rig->channel);
    assert_in_range(bytes_unread(rig) / packet_bytes, N - BOUND, MOST);
    fake_disk_release(rig->disk);
    wait_for_all(rig, &rig->channel, N);
}

static bool is_full(struct rig *rig)
{
    struct storvsp_stats stats;

    storvsp_controller_stats(rig->controller, &stats);
    return stats.full_waits > 0;
}

static void a_full_ring_keeps_completions_until_there_is_room(void **state)
{
    struct rig *rig = *state;

    rig_open(rig, 2);
    rig_negotiate(rig);
    for (unsigned i = 1; i <= 100; i++)
        RIG_SEND(rig, &rig->channel, .transaction = i);
    rig_await(rig, is_full);
    wait_for_all(rig, &rig->channel, 100);
    rig_assert_silent(rig, &rig->channel);
}

/* SBC-3 "SYNCHRONIZE CACHE": what was answered before is on the medium after. */
static void a_flush_makes_answered_writes_durable(void **state)
{
    struct rig *rig = *state;
    struct storvsp_wire_packet packet;

    for (unsigned i = 1; i <= 16; i++)
        send_write(rig, &rig->channel, i, false);
    wait_for_all(rig, &rig->channel, 16);
    assert_int_equal(rig->disk->n_durable, 0);
    fake_disk_hold(rig->disk);
    RIG_SEND(rig, &rig->channel, .transaction = 99, .opcode = 0x35);
    fake_disk_await_inside(rig->disk, 1);
    rig_assert_silent(rig, &rig->channel); /* not before it is so */
    fake_disk_release(rig->disk);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 99);
    assert_int_equal(packet.srb.srb_status, STORVSP_SRB_SUCCESS);
    assert_int_equal(rig->disk->n_durable, 16);
}

/* A flush in the pool keeps nobody else from being answered. */
static void a_read_overtakes_a_flush(void **state)
{
    struct rig *rig = *state;
    struct storvsp_wire_packet packet;

    fake_disk_hold(rig->disk);
    RIG_SEND(rig, &rig->channel, .transaction = 1, .opcode = 0x35);
    fake_disk_await_inside(rig->disk, 1);
    assert_int_equal(rig_test_unit(rig, 0), STORVSP_SRB_SUCCESS);
    fake_disk_release(rig->disk);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 1);
}

/* SAM-5 "ORDERED task attribute" */
static void an_ordered_request_waits_for_those_before(void **state)
{
    struct rig *rig = *state;
    struct storvsp_wire_packet packet;

    fake_disk_hold(rig->disk);
    send_write(rig, &rig->channel, 1, true);
    RIG_SEND(rig, &rig->channel, .transaction = 2, .queue_action = STORVSP_TAG_ORDERED);
    RIG_SEND(rig, &rig->channel, .transaction = 3);
    fake_disk_await_inside(rig->disk, 1);
    rig_assert_silent(rig, &rig->channel);
    fake_disk_release(rig->disk);
    for (unsigned i = 1; i <= 3; i++)
        assert_int_equal(rig_wait(rig, &rig->channel, &packet), i);
}

static void a_bus_reset_is_answered_after_all_before_it(void **state)
{
    struct rig *rig = *state;
    struct storvsp_wire_packet packet;

    fake_disk_hold(rig->disk);
    send_write(rig, &rig->channel, 1, true);
    fake_disk_await_inside(rig->disk, 1);
    rig_say(&rig->channel, UINT64_MAX - 3, STORVSP_RESET_BUS, 0);
    rig_assert_silent(rig, &rig->channel);
    fake_disk_release(rig->disk);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 1);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), UINT64_MAX - 3);
    assert_int_equal(packet.status, STORVSP_OK);
    RIG_SEND(rig, &rig->channel, .transaction = 4);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 4);
    assert_int_equal(scsi_get16(packet.srb.sense + 12), SCSI_ASC_RESET);
    assert_int_equal(rig_test_unit(rig, 0), STORVSP_SRB_SUCCESS);
}

static void *release_soon(void *arg)
{
    struct rig *rig = arg;

    usleep(50 * 1000);
    fake_disk_release(rig->disk);
    return NULL;
}

static void a_pause_waits_for_what_runs_and_holds_the_rest(void **state)
{
    struct rig *rig = *state;
    pthread_t thread;

    fake_disk_hold(rig->disk);
    for (unsigned i = 1; i <= 10; i++)
        send_write(rig, &rig->channel, i, true);
    fake_disk_await_inside(rig->disk, RIG_IO_THREADS);
    assert_int_equal(pthread_create(&thread, NULL, release_soon, rig), 0);
    storvsp_ops.pause(rig->controller);
    storvsp_ops.pause(rig->controller); /* twice is once */
    assert_int_equal(rig->disk->n_inside, 0);
    pthread_join(thread, NULL);
    wait_for_all(rig, &rig->channel, rig->disk->n_writes); /* answered before it returned */
    RIG_SEND(rig, &rig->channel, .transaction = 1);
    RIG_SEND(rig, &rig->channel, .transaction = 2);
    rig_assert_silent(rig, &rig->channel);
    storvsp_ops.resume(rig->controller);
    storvsp_ops.resume(rig->controller);
}

static void closing_in_the_middle_ends_what_runs_and_forgets_the_rest(void **state)
{
    struct rig *rig = *state;

    for (unsigned round = 0; round < 5; round++) {
        pthread_t thread;

        fake_disk_hold(rig->disk);
        for (unsigned i = 1; i <= 60; i++)
            send_write(rig, &rig->channel, i, i % 2);
        fake_disk_await_inside(rig->disk, 1);
        assert_int_equal(pthread_create(&thread, NULL, release_soon, rig), 0);
        fake_vmbus_close(&rig->channel);
        assert_int_equal(rig->disk->n_inside, 0);
        pthread_join(thread, NULL);
        rig_open(rig, RIG_RING_PAGES);
        rig_negotiate(rig); /* the first answer is this one's: nothing was left over */
    }
    assert_int_equal(rig_test_unit(rig, 0), STORVSP_SRB_SUCCESS);
}

static void detaching_waits_for_the_disks_last_user(void **state)
{
    struct rig *rig = *state;
    pthread_t thread;

    fake_disk_hold(rig->disk);
    for (unsigned i = 1; i <= 10; i++)
        send_write(rig, &rig->channel, i, true);
    fake_disk_await_inside(rig->disk, RIG_IO_THREADS);
    assert_int_equal(pthread_create(&thread, NULL, release_soon, rig), 0);
    assert_int_equal(storvsp_detach(rig->controller, 0, NULL), 0);
    assert_int_equal(rig->disk->n_inside, 0);
    assert_int_equal(rig->disk->n_writes, RIG_IO_THREADS); /* the rest found nobody */
    pthread_join(thread, NULL);
}

static void statistics_count_what_was_done(void **state)
{
    struct rig *rig = *state;
    struct storvsp_wire_packet packet;
    struct storvsp_lun_stats stats;

    for (unsigned i = 1; i <= 3; i++)
        send_write(rig, &rig->channel, i, false);
    wait_for_all(rig, &rig->channel, 3);
    rig->disk->fail_r = -EIO;
    send_write(rig, &rig->channel, 4, false);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 4);
    assert_int_equal(storvsp_lun_stats(rig->controller, 9, &stats), -ENOENT);
    assert_int_equal(storvsp_lun_stats(rig->controller, 0, &stats), 0);
    assert_int_equal(stats.writes, 3);
    assert_int_equal(stats.write_bytes, 3 * 512);
    assert_int_equal(stats.errors, 1);
    assert_int_equal(rig->n_logged, 1);
    send_write(rig, &rig->channel, 5, false);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 5);
    assert_int_equal(rig->n_logged, 1); /* a guest does not fill the host's journal */
    rig->disk->fail_r = 0;
}

static bool is_read(struct rig *rig)
{
    return fake_vmbus_ring_get(&rig->guest, &rig->channel.out, VMBUS_WIRE_RING_READ) ==
           fake_vmbus_ring_get(&rig->guest, &rig->channel.out, VMBUS_WIRE_RING_WRITE);
}

/* Bytes at random in SRBs and operations: answered or the channel's end, and never more. */
static void noise_costs_the_channel_at_most(void **state)
{
    struct rig *rig = *state;
    static struct fake_vmbus_packet answer;
    uint64_t random = 88172645463325252U;

    for (unsigned i = 0; i < 20000; i++) {
        struct storvsp_wire_packet packet;
        uint8_t *bytes = (uint8_t *)&packet;

        for (unsigned j = 0; j < sizeof(packet); j++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            bytes[j] = (uint8_t)(random >> 32);
        }
        packet.operation = i % 16 ? STORVSP_EXECUTE_SRB : packet.operation % 16;
        packet.srb.path = packet.srb.target = 0;
        packet.srb.lun %= 2;
        packet.srb.cdb_bytes %= 18;
        if (i % 2)
            packet.srb.cdb[0] = scsi_commands[packet.srb.cdb[0] % scsi_n_commands].opcode;
        fake_vmbus_send_direct(&rig->channel, i + 1, rig->data + packet.srb.timeout_s % 4096,
                               packet.srb.sort_key % 65536, &packet, sizeof(packet));
        do {
            while (fake_vmbus_read(&rig->channel, &answer))
                assert_int_equal(answer.bytes, STORVSP_PACKET_BYTES);
        } while (i % 64 == 0 && !is_read(rig));
    }
}

#define RIG_TEST(f)        cmocka_unit_test_setup_teardown(f, rig_make, rig_drop)
#define NEGOTIATED_TEST(f) cmocka_unit_test_setup_teardown(f, rig_make_negotiated, rig_drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NEGOTIATED_TEST(what_is_written_is_read_back),
        NEGOTIATED_TEST(a_request_that_wants_no_completion_gets_none),
        NEGOTIATED_TEST(a_lone_request_runs_on_the_channels_thread),
        NEGOTIATED_TEST(completions_of_a_deep_queue_come_in_batches),
        NEGOTIATED_TEST(a_deep_queue_is_let_come),
        cmocka_unit_test_setup_teardown(
            a_deep_queue_lets_the_vps_go_first_and_a_lone_request_does_not, rig_make_yielding,
            rig_drop),
        NEGOTIATED_TEST(a_quiet_moment_is_not_the_end_of_many),
        NEGOTIATED_TEST(reads_of_a_slow_disk_run_side_by_side),
        NEGOTIATED_TEST(slow_requests_run_side_by_side),
        NEGOTIATED_TEST(beyond_the_bound_the_ring_is_not_read),
        RIG_TEST(a_full_ring_keeps_completions_until_there_is_room),
        NEGOTIATED_TEST(a_flush_makes_answered_writes_durable),
        NEGOTIATED_TEST(a_read_overtakes_a_flush),
        NEGOTIATED_TEST(an_ordered_request_waits_for_those_before),
        NEGOTIATED_TEST(a_bus_reset_is_answered_after_all_before_it),
        NEGOTIATED_TEST(a_pause_waits_for_what_runs_and_holds_the_rest),
        NEGOTIATED_TEST(closing_in_the_middle_ends_what_runs_and_forgets_the_rest),
        NEGOTIATED_TEST(detaching_waits_for_the_disks_last_user),
        NEGOTIATED_TEST(statistics_count_what_was_done),
        NEGOTIATED_TEST(noise_costs_the_channel_at_most),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
