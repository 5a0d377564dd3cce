/* SPDX-License-Identifier: Apache-2.0 */
/* Requests that wait for better storage. */
#include "tests/unit/vmwp/vsp/storvsp/rig.h"

#include <string.h>

enum { WRITE_10 = 0x2a, READ_10 = 0x28, SYNCHRONIZE_CACHE = 0x35, FUA = 8 };

static void send(struct rig *rig, uint64_t transaction, uint8_t opcode, uint8_t flags)
{
    RIG_SEND(rig, &rig->channel, .transaction = transaction, .opcode = opcode, .flags = flags,
             .lba = (uint32_t)transaction, .blocks = 1,
             .bytes = opcode == SYNCHRONIZE_CACHE ? 0 : 512, .at = (uint32_t)transaction * 512,
             .direction = opcode == READ_10);
}

static bool is_waiting(struct rig *rig)
{
    unsigned lun = 99;
    int r = 0;

    return storvsp_waiting(rig->controller, &lun, &r) == 1 && lun == 0 && r == rig->disk->fail_r;
}

static bool is_idle(struct rig *rig)
{
    unsigned lun;
    int r;

    return storvsp_waiting(rig->controller, &lun, &r) == 0;
}

/* Of one block, which the disk refuses. */
static void hold_a_write(struct rig *rig, int fail_r)
{
    storvsp_set_hold(rig->controller, true);
    rig->disk->fail_r = fail_r;
    send(rig, 1, WRITE_10, 0);
    rig_await(rig, is_waiting);
}

static void unless_it_is_wanted_nothing_waits(void **state)
{
    struct rig *rig = *state;
    struct storvsp_wire_packet packet;

    rig->disk->fail_r = -ENOSPC;
    send(rig, 1, WRITE_10, 0);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 1);
    assert_int_equal(packet.srb.scsi_status, SCSI_CHECK_CONDITION);
    rig->disk->fail_r = 0;
}

static void a_write_without_room_waits_and_is_written_then(void **state)
{
    struct rig *rig = *state;
    struct storvsp_wire_packet packet;
    struct storvsp_lun_stats stats;

    memset(rig->bytes + 512, 0x5a, 512);
    hold_a_write(rig, -ENOSPC);
    for (int i = 0; i < 3; i++) {
        storvsp_retry(rig->controller);
        rig_assert_silent(rig, &rig->channel);
        rig_await(rig, is_waiting);
    }
    assert_int_equal(storvsp_lun_stats(rig->controller, 0, &stats), 0);
    assert_int_equal(stats.errors, 0);
    rig->disk->fail_r = 0;
    storvsp_retry(rig->controller);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 1);
    assert_int_equal(packet.srb.scsi_status, SCSI_GOOD);
    assert_true(is_idle(rig));
    memset(rig->bytes + 512, 0, 512);
    send(rig, 1, READ_10, 0);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 1);
    assert_int_equal(rig->bytes[512], 0x5a);
    assert_int_equal(rig->bytes[1023], 0x5a);
}

static void what_ends_while_paused_is_told_after_resume(void **state)
{
    struct rig *rig = *state;
    struct storvsp_wire_packet packet;

    hold_a_write(rig, -ENOSPC);
    storvsp_ops.pause(rig->controller);
    rig->disk->fail_r = 0;
    storvsp_retry(rig->controller);
    rig_await(rig, is_idle);
    rig_assert_silent(rig, &rig->channel);
    storvsp_ops.resume(rig->controller);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 1);
    assert_int_equal(packet.srb.scsi_status, SCSI_GOOD);
}

/* The host says once that earlier writes are lost: it may not be asked again. */
static void what_makes_earlier_writes_durable_never_waits(void **state)
{
    struct rig *rig = *state;
    struct storvsp_wire_packet packet;

    storvsp_set_hold(rig->controller, true);
    rig->disk->fail_r = rig->disk->fail_flush_r = -EIO;
    send(rig, 1, SYNCHRONIZE_CACHE, 0);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 1);
    assert_int_equal(packet.srb.scsi_status, SCSI_CHECK_CONDITION);
    send(rig, 2, WRITE_10, FUA);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 2);
    send(rig, 3, READ_10, 0);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 3);
    assert_int_equal(packet.srb.scsi_status, SCSI_CHECK_CONDITION);
    rig->disk->fail_r = rig->disk->fail_flush_r = 0;
}

/* After a failed sync no later success may be believed: waiting would be for ever, or end in a lie.
 */
static void nothing_waits_for_a_disk_whose_sync_failed(void **state)
{
    struct rig *rig = *state;
    struct storvsp_wire_packet packet;

    hold_a_write(rig, -ENOSPC);
    rig->disk->has_failed = true;
    storvsp_retry(rig->controller);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 1);
    assert_int_equal(packet.srb.scsi_status, SCSI_CHECK_CONDITION);
    assert_int_equal(packet.srb.sense[2], SCSI_MEDIUM_ERROR);
    assert_true(is_idle(rig));
    rig->disk->fail_r = -EIO;
    send(rig, 2, WRITE_10, 0);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 2);
    assert_int_equal(packet.srb.sense[2], SCSI_MEDIUM_ERROR);
    rig->disk->fail_r = 0;
}

static void who_changes_his_mind_gets_the_error(void **state)
{
    struct rig *rig = *state;
    struct storvsp_wire_packet packet;

    hold_a_write(rig, -EIO);
    storvsp_set_hold(rig->controller, false);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 1);
    assert_int_equal(packet.srb.scsi_status, SCSI_CHECK_CONDITION);
    assert_true(is_idle(rig));
    rig->disk->fail_r = 0;
}

static void a_driver_that_leaves_waits_for_nothing(void **state)
{
    struct rig *rig = *state;

    hold_a_write(rig, -ENOSPC);
    fake_vmbus_close(&rig->channel);
    assert_true(is_idle(rig));
    rig->disk->fail_r = 0;
    storvsp_retry(rig->controller);
    rig_open(rig, RIG_RING_PAGES);
    rig_negotiate(rig);
    assert_int_equal(rig->disk->n_writes, 0);
}

#define NEGOTIATED_TEST(f) cmocka_unit_test_setup_teardown(f, rig_make_negotiated, rig_drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        NEGOTIATED_TEST(unless_it_is_wanted_nothing_waits),
        NEGOTIATED_TEST(a_write_without_room_waits_and_is_written_then),
        NEGOTIATED_TEST(what_ends_while_paused_is_told_after_resume),
        NEGOTIATED_TEST(what_makes_earlier_writes_durable_never_waits),
        NEGOTIATED_TEST(nothing_waits_for_a_disk_whose_sync_failed),
        NEGOTIATED_TEST(who_changes_his_mind_gets_the_error),
        NEGOTIATED_TEST(a_driver_that_leaves_waits_for_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
