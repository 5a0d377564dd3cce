/* SPDX-License-Identifier: Apache-2.0 */
/* A controller's life: made, negotiated, units come and go, channels spread, closed and reset. */
#include "tests/unit/vmwp/vsp/storvsp/rig.h"

#include <pthread.h>
#include <string.h>

static void a_controller_without_queues_or_threads_is_refused(void **state)
{
    struct storvsp_controller *controller = NULL;
    struct storvsp_config config = { .n_queues = 0, .n_io_threads = 1 };
    struct hv_error *error = NULL;

    assert_int_equal(storvsp_controller_new(&config, &controller, &error), -EINVAL);
    assert_string_equal(error->code, "vsp.storage.config");
    hv_error_free(error);
    config = (struct storvsp_config){ .n_queues = 1, .n_io_threads = STORVSP_MAX_IO_THREADS + 1 };
    assert_int_equal(storvsp_controller_new(&config, &controller, NULL), -EINVAL);
    config = (struct storvsp_config){ .n_queues = STORVSP_MAX_QUEUES + 1, .n_io_threads = 1 };
    assert_int_equal(storvsp_controller_new(&config, &controller, NULL), -EINVAL);
    assert_null(controller);
    assert_null(storvsp_controller_free(NULL));
}

static void the_same_controller_twice_is_refused(void **state)
{
    struct rig *rig = *state;
    struct storvsp_controller *controller = NULL;
    struct storvsp_config config = { .server = rig->guest.server,
                                     .gpa = &rig->guest.gpa,
                                     .instance.bytes = { 1 },
                                     .n_queues = 1,
                                     .n_io_threads = 1 };
    struct hv_error *error = NULL;

    assert_int_equal(storvsp_controller_new(&config, &controller, &error), -EEXIST);
    assert_string_equal(error->code, "vsp.storage.offer");
    hv_error_free(error);
}

static void units_that_cannot_be_are_refused(void **state)
{
    struct rig *rig = *state;
    struct storvsp_lun_config config = { .kind = STORVSP_DISK, .disk = rig->disk };
    struct hv_error *error = NULL;

    assert_int_equal(storvsp_attach(rig->controller, 64, &config, &error), -EINVAL);
    assert_string_equal(error->field, "lun");
    hv_error_free(error);
    assert_int_equal(storvsp_attach(rig->controller, 0, &config, NULL), -EEXIST);
    config.disk = NULL;
    assert_int_equal(storvsp_attach(rig->controller, 1, &config, NULL), -EINVAL);
    assert_int_equal(storvsp_detach(rig->controller, 1, NULL), -ENOENT);
    assert_int_equal(storvsp_detach(rig->controller, 64, NULL), -ENOENT);
    assert_int_equal(storvsp_eject(rig->controller, 1, true, NULL), -ENOENT);
    assert_int_equal(storvsp_eject(rig->controller, 0, true, NULL), -ENOTSUP);
    assert_int_equal(storvsp_insert(rig->controller, 0, rig->disk, NULL), -ENOTSUP);
}

static void io_before_negotiation_is_refused(void **state)
{
    struct rig *rig = *state;
    struct storvsp_wire_packet packet;

    rig_open(rig, RIG_RING_PAGES);
    RIG_SEND(rig, &rig->channel, .transaction = 5);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 5);
    assert_int_equal(packet.status, STORVSP_INVALID_DEVICE_STATE);
    assert_int_equal(packet.srb.srb_status, STORVSP_SRB_INVALID_REQUEST);
    rig_negotiate(rig);
    assert_int_equal(rig_test_unit(rig, 0), STORVSP_SRB_SUCCESS);
}

static void a_packet_of_another_protocol_costs_the_channel(void **state)
{
    struct rig *rig = *state;
    uint8_t noise[56] = { 3 };

    rig_open(rig, RIG_RING_PAGES);
    fake_vmbus_send(&rig->channel, 1, true, noise, sizeof(noise));
    rig_say(&rig->channel, 2, STORVSP_BEGIN_INITIALIZATION, 0);
    rig_assert_silent(rig, &rig->channel);
}

static void more_sub_channels_than_told_are_refused(void **state)
{
    struct rig *rig = *state;

    assert_int_equal(rig_ask(rig, STORVSP_CREATE_SUB_CHANNELS, RIG_QUEUES),
                     STORVSP_INVALID_PARAMETER);
    assert_int_equal(fake_vmbus_take_offers(&rig->guest), 0);
}

/* The completion goes out on the channel that the request came by. */
static void sub_channels_carry_io_of_their_own(void **state)
{
    struct rig *rig = *state;
    struct fake_vmbus_channel subs[RIG_QUEUES - 1];
    struct storvsp_wire_packet packet;

    assert_int_equal(rig_ask(rig, STORVSP_CREATE_SUB_CHANNELS, RIG_QUEUES - 1), STORVSP_OK);
    assert_int_equal(fake_vmbus_take_offers(&rig->guest), RIG_QUEUES - 1);
    for (unsigned i = 0; i < RIG_QUEUES - 1; i++) {
        fake_vmbus_open(&rig->guest, rig->guest.offers[1 + i].relid, RIG_RING_PAGES, RIG_RING_PAGES,
                        &subs[i]);
        RIG_SEND(rig, &subs[i], .transaction = 10 + i, .opcode = 0x28, .lba = i, .blocks = 1,
                 .bytes = 512, .direction = STORVSP_DATA_IN);
        assert_int_equal(rig_wait(rig, &subs[i], &packet), 10 + i);
        assert_int_equal(packet.srb.srb_status, STORVSP_SRB_SUCCESS);
        rig_say(&subs[i], 20, STORVSP_BEGIN_INITIALIZATION, 0);
        assert_int_equal(rig_wait(rig, &subs[i], &packet), 20);
        assert_int_equal(packet.status, STORVSP_INVALID_DEVICE_REQUEST);
    }
    rig_assert_silent(rig, &rig->channel);
    for (unsigned i = 0; i < RIG_QUEUES - 1; i++)
        fake_vmbus_close(&subs[i]);
    assert_int_equal(rig_test_unit(rig, 0), STORVSP_SRB_SUCCESS);
}

/* Unsolicited, transaction 0 */
static void assert_bus_change(struct rig *rig)
{
    struct storvsp_wire_packet packet;

    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 0);
    assert_int_equal(packet.operation, STORVSP_ENUMERATE_BUS);
}

static void a_unit_that_comes_is_told_to_a_ready_guest_alone(void **state)
{
    struct rig *rig = *state;
    struct blk_disk *second = fake_disk_new(1 << 20, 4096);
    struct storvsp_lun_config config = { .kind = STORVSP_DISK, .disk = second };

    rig_open(rig, RIG_RING_PAGES);
    assert_int_equal(storvsp_attach(rig->controller, 63, &config, NULL), 0);
    rig_assert_silent(rig, &rig->channel);
    rig_negotiate(rig);
    assert_int_equal(rig_test_unit(rig, 63), STORVSP_SRB_SUCCESS);
    assert_int_equal(storvsp_attach(rig->controller, 5, &config, NULL), 0);
    assert_bus_change(rig);
    assert_int_equal(rig_test_unit(rig, 5), STORVSP_SRB_SUCCESS);
    assert_int_equal(storvsp_detach(rig->controller, 5, NULL), 0);
    assert_int_equal(storvsp_detach(rig->controller, 63, NULL), 0);
    blk_disk_close(second);
}

static void a_unit_that_goes_is_told_and_answers_invalid_lun(void **state)
{
    struct rig *rig = *state;

    assert_int_equal(storvsp_detach(rig->controller, 0, NULL), 0);
    assert_bus_change(rig);
    assert_int_equal(rig_test_unit(rig, 0), STORVSP_SRB_INVALID_LUN);
    rig_assert_silent(rig, &rig->channel);
}

static uint32_t listed_luns(struct rig *rig)
{
    struct storvsp_wire_packet packet;

    /* The allocation length of REPORT LUNS stands where a 10-byte CDB has its group and count. */
    RIG_SEND(rig, &rig->channel, .transaction = 9, .opcode = 0xa0, .blocks = 0x1000, .bytes = 4096,
             .direction = STORVSP_DATA_IN);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 9);
    assert_int_equal(packet.srb.srb_status, STORVSP_SRB_SUCCESS);
    return scsi_get32(rig->bytes) / 8;
}

/* Else the guest would take the new disk for the one it knows, cache and all. */
static void a_unit_in_anothers_place_is_hidden_until_the_guest_knows(void **state)
{
    struct rig *rig = *state;
    struct storvsp_lun_config config = { .kind = STORVSP_DISK, .disk = rig->disk };

    assert_int_equal(storvsp_detach(rig->controller, 0, NULL), 0);
    assert_int_equal(storvsp_attach(rig->controller, 0, &config, NULL), 0);
    assert_bus_change(rig);
    assert_int_equal(rig_test_unit(rig, 0), STORVSP_SRB_INVALID_LUN);
    assert_bus_change(rig);
    assert_int_equal(rig_test_unit(rig, 0), STORVSP_SRB_SUCCESS);

    assert_int_equal(storvsp_detach(rig->controller, 0, NULL), 0);
    assert_int_equal(storvsp_attach(rig->controller, 0, &config, NULL), 0);
    assert_bus_change(rig);
    assert_int_equal(listed_luns(rig), 0); /* a list without it tells as well */
    assert_bus_change(rig);
    assert_int_equal(listed_luns(rig), 1);
}

static void media_are_changed_under_the_guest(void **state)
{
    struct rig *rig = *state;
    struct blk_disk *medium = fake_disk_new(1 << 20, 512);
    struct storvsp_lun_config config = { .kind = STORVSP_DVD };
    struct storvsp_lun_stats stats;

    assert_int_equal(storvsp_attach(rig->controller, 1, &config, NULL), 0);
    assert_bus_change(rig);
    assert_int_equal(rig_test_unit(rig, 1), STORVSP_SRB_ERROR | STORVSP_SRB_AUTOSENSE_VALID);
    assert_int_equal(storvsp_eject(rig->controller, 1, false, NULL), 0); /* nothing: no error */
    assert_int_equal(storvsp_insert(rig->controller, 1, medium, NULL), 0);
    assert_int_equal(storvsp_insert(rig->controller, 1, medium, NULL), -EEXIST);
    assert_int_equal(rig_test_unit(rig, 1), STORVSP_SRB_ERROR | STORVSP_SRB_AUTOSENSE_VALID);
    assert_int_equal(rig_test_unit(rig, 1), STORVSP_SRB_SUCCESS);
    assert_int_equal(storvsp_lun_stats(rig->controller, 1, &stats), 0);
    assert_true(stats.has_medium);
    assert_int_equal(storvsp_eject(rig->controller, 1, false, NULL), 0);
    assert_int_equal(storvsp_lun_stats(rig->controller, 1, &stats), 0);
    assert_false(stats.has_medium);
    assert_int_equal(storvsp_detach(rig->controller, 1, NULL), 0);
    blk_disk_close(medium);
}

static void a_locked_medium_is_asked_for_and_taken_by_force(void **state)
{
    struct rig *rig = *state;
    struct blk_disk *medium = fake_disk_new(1 << 20, 512);
    struct storvsp_lun_config config = { .kind = STORVSP_DVD, .disk = medium };
    struct storvsp_wire_packet packet;

    assert_int_equal(storvsp_attach(rig->controller, 1, &config, NULL), 0);
    assert_bus_change(rig);
    RIG_SEND(rig, &rig->channel, .transaction = 1, .lun = 1, .opcode = 0x1e, .lba = 0x100);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 1);
    assert_int_equal(packet.srb.srb_status, STORVSP_SRB_SUCCESS);
    assert_int_equal(storvsp_eject(rig->controller, 1, false, NULL), -EBUSY);
    RIG_SEND(rig, &rig->channel, .transaction = 2, .lun = 1, .opcode = 0x4a, .flags = 1,
             .lba = 0x1000, .blocks = 8, .bytes = 8, .direction = STORVSP_DATA_IN);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 2);
    assert_int_equal(rig->bytes[4], SCSI_EVENT_EJECT);
    assert_int_equal(storvsp_eject(rig->controller, 1, true, NULL), 0);
    assert_int_equal(storvsp_detach(rig->controller, 1, NULL), 0);
    blk_disk_close(medium);
}

static void a_reopened_channel_negotiates_anew(void **state)
{
    struct rig *rig = *state;

    for (unsigned i = 0; i < 3; i++) {
        fake_vmbus_close(&rig->channel);
        rig_open(rig, RIG_RING_PAGES);
        rig_negotiate(rig);
        assert_int_equal(rig_test_unit(rig, 0), STORVSP_SRB_SUCCESS);
    }
}

static void a_reset_guest_finds_the_controller_as_it_was_made(void **state)
{
    struct rig *rig = *state;
    struct storvsp_lun_config config = { .kind = STORVSP_DISK, .disk = rig->disk };

    assert_int_equal(storvsp_detach(rig->controller, 0, NULL), 0);
    assert_int_equal(storvsp_attach(rig->controller, 0, &config, NULL), 0);
    fake_vmbus_close(&rig->channel);
    storvsp_ops.reset(rig->controller);
    rig_open(rig, RIG_RING_PAGES);
    rig_negotiate(rig);
    assert_int_equal(rig_test_unit(rig, 0), STORVSP_SRB_SUCCESS);
    rig_assert_silent(rig, &rig->channel);
}

#define RIG_TEST(f)        cmocka_unit_test_setup_teardown(f, rig_make, rig_drop)
#define NEGOTIATED_TEST(f) cmocka_unit_test_setup_teardown(f, rig_make_negotiated, rig_drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_controller_without_queues_or_threads_is_refused),
        RIG_TEST(the_same_controller_twice_is_refused),
        RIG_TEST(units_that_cannot_be_are_refused),
        RIG_TEST(io_before_negotiation_is_refused),
        RIG_TEST(a_packet_of_another_protocol_costs_the_channel),
        NEGOTIATED_TEST(more_sub_channels_than_told_are_refused),
        NEGOTIATED_TEST(sub_channels_carry_io_of_their_own),
        RIG_TEST(a_unit_that_comes_is_told_to_a_ready_guest_alone),
        NEGOTIATED_TEST(a_unit_that_goes_is_told_and_answers_invalid_lun),
        NEGOTIATED_TEST(a_unit_in_anothers_place_is_hidden_until_the_guest_knows),
        NEGOTIATED_TEST(media_are_changed_under_the_guest),
        NEGOTIATED_TEST(a_locked_medium_is_asked_for_and_taken_by_force),
        NEGOTIATED_TEST(a_reopened_channel_negotiates_anew),
        NEGOTIATED_TEST(a_reset_guest_finds_the_controller_as_it_was_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
