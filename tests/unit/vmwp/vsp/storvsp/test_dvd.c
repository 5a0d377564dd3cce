/* SPDX-License-Identifier: Apache-2.0 */
/* What DVD drives answer. MMC-6. */
#include "tests/unit/vmwp/vsp/storvsp/world.h"

enum { BLOCKS = DISK_BYTES / 2048 };

static int make_drive(void **state)
{
    make_world(state);
    plug(*state, STORVSP_DVD);
    return 0;
}

static void take_medium(struct world *w)
{
    struct storvsp_lun_config config = { .kind = STORVSP_DVD };

    memset(&w->unit, 0, sizeof(w->unit));
    assert_int_equal(scsi_unit_init(&w->unit, &config), 0);
}

/* MMC-6 "NOT READY - MEDIUM NOT PRESENT" */
static void without_a_medium_what_needs_one_is_not_ready(void **state)
{
    struct world *w = *state;
    static const uint8_t needs[] = { 0x00, 0x25, 0x28, 0xa8, 0x2f, 0x43, 0x51, 0x52 };

    take_medium(w);
    for (unsigned i = 0; i < sizeof(needs); i++) {
        const uint8_t cdb[12] = { needs[i] };

        assert_sense(run_on(w, &w->unit, cdb, 12, STORVSP_DATA_IN, 2048), SCSI_NOT_READY,
                     SCSI_ASC_NO_MEDIUM);
    }
    assert_good(RUN_IN(w, 36, 0x12, 0, 0, 0, 36, 0), 36);
    assert_good(RUN_IN(w, 8, 0x46, 0, 0, 0, 0, 0, 0, 0, 8, 0), 8);
    assert_int_equal(scsi_get16(w->data + 6), 0);
}

static void writing_commands_are_unknown(void **state)
{
    struct world *w = *state;
    static const uint8_t unknown[] = { 0x2a, 0x8a, 0x42, 0x41, 0x93, 0x35, 0x04, 0xbe };

    for (unsigned i = 0; i < sizeof(unknown); i++) {
        const uint8_t cdb[16] = { unknown[i] };

        assert_sense(run_on(w, &w->unit, cdb, 16, STORVSP_DATA_OUT, 2048), SCSI_ILLEGAL_REQUEST,
                     SCSI_ASC_OPCODE);
    }
}

static void blocks_have_2048_bytes(void **state)
{
    struct world *w = *state;

    assert_good(RUN_IN(w, 8, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), 8);
    assert_int_equal(scsi_get32(w->data), BLOCKS - 1);
    assert_int_equal(scsi_get32(w->data + 4), 2048);
    assert_good(RUN_IN(w, 2048, 0x28, 0, 0, 0, 0, 17, 0, 0, 1, 0), 2048);
    assert_memory_equal(w->data, w->disk->bytes + 17 * 2048, 2048);
    assert_sense(RUN_IN(w, 2048, 0x28, 0, 0, 0, BLOCKS >> 8, BLOCKS & 0xff, 0, 0, 1, 0),
                 SCSI_ILLEGAL_REQUEST, SCSI_ASC_LBA_RANGE);
}

/* MMC-6 "PREVENT ALLOW MEDIUM REMOVAL command", "START STOP UNIT command" */
static void a_locked_door_stays_shut(void **state)
{
    struct world *w = *state;

    assert_cdb_field(RUN(w, 0x1e, 0, 0, 0, 3, 0), 4);
    assert_good(RUN(w, 0x1e, 0, 0, 0, 1, 0), 0);
    assert_sense(RUN(w, 0x1b, 0, 0, 0, 2, 0), SCSI_ILLEGAL_REQUEST, SCSI_ASC_REMOVAL_PREVENTED);
    assert_good(RUN(w, 0x00, 0, 0, 0, 0, 0), 0);
    assert_good(RUN(w, 0x1e, 0, 0, 0, 0, 0), 0);
    assert_good(RUN(w, 0x1b, 0, 0, 0, 2, 0), 0);
    assert_sense(RUN(w, 0x00, 0, 0, 0, 0, 0), SCSI_NOT_READY, SCSI_ASC_NO_MEDIUM_TRAY_OPEN);
}

static void a_loaded_medium_calls_for_attention(void **state)
{
    struct world *w = *state;

    assert_good(RUN(w, 0x1b, 0, 0, 0, 2, 0), 0);
    assert_false(scsi_unit_has_medium(&w->unit));
    assert_good(RUN(w, 0x1b, 0, 0, 0, 3, 0), 0);
    assert_sense(RUN(w, 0x00, 0, 0, 0, 0, 0), SCSI_UNIT_ATTENTION, SCSI_ASC_MEDIUM_CHANGED);
    assert_good(RUN(w, 0x00, 0, 0, 0, 0, 0), 0);
    assert_good(RUN(w, 0x1b, 0, 0, 0, 3, 0), 0); /* shut is shut */
    assert_good(RUN(w, 0x00, 0, 0, 0, 0, 0), 0);
    assert_good(RUN(w, 0x1b, 0, 0, 0, 0, 0), 0); /* without the tray: nothing */
    assert_good(RUN(w, 0x00, 0, 0, 0, 0, 0), 0);
}

/* MMC-6 "GET EVENT STATUS NOTIFICATION command" */
static void media_events_are_polled_and_told_once(void **state)
{
    struct world *w = *state;

    assert_cdb_field(RUN_IN(w, 8, 0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8, 0), 1);
    assert_good(RUN_IN(w, 8, 0x4a, 1, 0, 0, 0x02, 0, 0, 0, 8, 0), 4);
    assert_int_equal(w->data[2], 0x80);
    assert_int_equal(w->data[3], 0x10);
    w->unit.media_event = SCSI_EVENT_EJECT;
    assert_good(RUN_IN(w, 8, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 4, 0), 4); /* no room for the event */
    assert_good(RUN_IN(w, 8, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0), 8);
    assert_int_equal(scsi_get16(w->data), 6);
    assert_int_equal(w->data[2], 4);
    assert_int_equal(w->data[4], SCSI_EVENT_EJECT);
    assert_int_equal(w->data[5], 2);
    assert_good(RUN_IN(w, 8, 0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0), 8);
    assert_int_equal(w->data[4], 0);
}

/* MMC-6 "READ TOC/PMA/ATIP command" */
static void the_table_of_contents_has_one_data_track(void **state)
{
    struct world *w = *state;

    assert_cdb_field(RUN_IN(w, 64, 0x43, 0, 2, 0, 0, 0, 0, 0, 64, 0), 2);
    assert_cdb_field(RUN_IN(w, 64, 0x43, 0, 0, 0, 0, 0, 2, 0, 64, 0), 6);
    assert_good(RUN_IN(w, 64, 0x43, 0, 0, 0, 0, 0, 0, 0, 64, 0), 20);
    assert_int_equal(scsi_get16(w->data), 18);
    assert_int_equal(w->data[2], 1);
    assert_int_equal(w->data[3], 1);
    assert_int_equal(w->data[5], 0x14);
    assert_int_equal(w->data[6], 1);
    assert_int_equal(w->data[14], 0xaa);
    assert_int_equal(scsi_get32(w->data + 16), BLOCKS);
    assert_good(RUN_IN(w, 64, 0x43, 2, 0, 0, 0, 0, 0xaa, 0, 64, 0), 12); /* in time */
    assert_int_equal(w->data[9], (BLOCKS + 150) / 75 / 60);
    assert_int_equal(w->data[10], (BLOCKS + 150) / 75 % 60);
    assert_int_equal(w->data[11], (BLOCKS + 150) % 75);
    assert_good(RUN_IN(w, 64, 0x43, 0, 0, 0, 0, 0, 0, 0, 64, 0x40), 12); /* sessions, old form */
    assert_int_equal(w->data[6], 1);
}

/* MMC-6 "GET CONFIGURATION command" */
static void configuration_tells_profile_and_features(void **state)
{
    struct world *w = *state;
    struct storvsp_wire_srb *srb;

    assert_cdb_field(RUN_IN(w, 255, 0x46, 3, 0, 0, 0, 0, 0, 0, 255, 0), 1);
    srb = RUN_IN(w, 255, 0x46, 0, 0, 0, 0, 0, 0, 0, 255, 0);
    assert_good(srb, scsi_get32(w->data) + 4);
    assert_int_equal(scsi_get16(w->data + 6), 0x0008); /* small enough for a CD */
    assert_good(RUN_IN(w, 255, 0x46, 2, 0, 3, 0, 0, 0, 0, 255, 0), 16);
    assert_int_equal(scsi_get16(w->data + 8), 3);
    w->unit.n_blocks = 2000000;
    assert_good(RUN_IN(w, 8, 0x46, 0, 0, 0, 0, 0, 0, 0, 8, 0), 8);
    assert_int_equal(scsi_get16(w->data + 6), 0x0010);
    assert_good(RUN_IN(w, 255, 0x46, 1, 0, 0x1d, 0, 0, 0, 0, 255, 0), 8 + 4 + 4 + 4);
    assert_int_equal(scsi_get16(w->data + 8), 0x1f);
}

/* MMC-6 "READ DISC INFORMATION command", "READ TRACK INFORMATION command" */
static void disc_and_track_are_complete(void **state)
{
    struct world *w = *state;

    assert_cdb_field(RUN_IN(w, 64, 0x51, 1, 0, 0, 0, 0, 0, 0, 64, 0), 1);
    assert_good(RUN_IN(w, 64, 0x51, 0, 0, 0, 0, 0, 0, 0, 64, 0), 34);
    assert_int_equal(w->data[2], 0x0e);
    assert_cdb_field(RUN_IN(w, 64, 0x52, 1, 0, 0, 0, 2, 0, 0, 64, 0), 2);
    assert_sense(RUN_IN(w, 64, 0x52, 0, 0xff, 0, 0, 2, 0, 0, 64, 0), SCSI_ILLEGAL_REQUEST,
                 SCSI_ASC_LBA_RANGE);
    assert_good(RUN_IN(w, 64, 0x52, 1, 0, 0, 0, 1, 0, 0, 64, 0), 36);
    assert_int_equal(scsi_get32(w->data + 24), BLOCKS);
    assert_good(RUN_IN(w, 8, 0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0), 8);
    assert_int_equal(w->data[1], 0);
}

/* MMC-3 "MM Capabilities and Mechanical Status Page": what Linux' sr asks for */
static void capabilities_are_those_of_a_tray_drive(void **state)
{
    struct world *w = *state;

    assert_good(RUN_IN(w, 128, 0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128, 0), 8 + 22);
    assert_int_equal(scsi_get16(w->data), 28);
    assert_int_equal(w->data[8], 0x2a);
    assert_int_equal(w->data[8 + 2] & 8, 8);
    assert_int_equal(w->data[8 + 6] >> 5, 1);
    assert_int_equal(w->data[8 + 6] & 8, 8);
}

#define DRIVE_TEST(f) cmocka_unit_test_setup_teardown(f, make_drive, drop_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DRIVE_TEST(without_a_medium_what_needs_one_is_not_ready),
        DRIVE_TEST(writing_commands_are_unknown),
        DRIVE_TEST(blocks_have_2048_bytes),
        DRIVE_TEST(a_locked_door_stays_shut),
        DRIVE_TEST(a_loaded_medium_calls_for_attention),
        DRIVE_TEST(media_events_are_polled_and_told_once),
        DRIVE_TEST(the_table_of_contents_has_one_data_track),
        DRIVE_TEST(configuration_tells_profile_and_features),
        DRIVE_TEST(disc_and_track_are_complete),
        DRIVE_TEST(capabilities_are_those_of_a_tray_drive),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
