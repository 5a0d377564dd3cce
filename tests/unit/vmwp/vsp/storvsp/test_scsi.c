/* SPDX-License-Identifier: Apache-2.0 */
/* What every unit answers, and what nobody answers. SPC-4. */
#include "tests/unit/vmwp/vsp/storvsp/world.h"

/* Linux: a failed INQUIRY becomes a disk of zeroes; only qualifier 3 keeps it away. */
static void nobody_answers_inquiry_with_qualifier_3(void **state)
{
    struct world *w = *state;
    const uint8_t inquiry[6] = { 0x12, 0, 0, 0, 36, 0 };
    struct storvsp_wire_srb *srb = run_on(w, NULL, inquiry, 6, STORVSP_DATA_IN, 36);

    assert_good(srb, 36);
    assert_int_equal(w->data[0], 0x7f);
}

static void nobody_answers_the_rest_with_invalid_lun(void **state)
{
    struct world *w = *state;

    for (unsigned opcode = 0; opcode < 256; opcode++) {
        const uint8_t cdb[16] = { (uint8_t)opcode };
        struct storvsp_wire_srb *srb;

        if (opcode == 0x12 || opcode == 0xa0)
            continue;
        srb = run_on(w, NULL, cdb, 16, STORVSP_DATA_IN, 512);
        assert_int_equal(srb->srb_status, STORVSP_SRB_INVALID_LUN);
        assert_int_equal(srb->scsi_status, SCSI_CHECK_CONDITION);
        assert_int_equal(srb->data_bytes, 0);
    }
}

/* SPC-4 "REPORT LUNS command" */
static void report_luns_refuses_short_lists_and_unknown_selections(void **state)
{
    struct world *w = *state;

    assert_cdb_field(RUN_IN(w, 64, 0xa0, 0, 3, 0, 0, 0, 0, 0, 0, 64, 0, 0), 2);
    assert_cdb_field(RUN_IN(w, 64, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 15, 0, 0), 6);
}

static void report_luns_lists_who_is_there_and_answers_for_an_empty_lun_0(void **state)
{
    struct world *w = *state;
    const uint8_t report[12] = { 0xa0, 0, 0, 0, 0, 0, 0, 0, 2, 8 + 8, 0, 0 };
    struct storvsp_wire_srb *srb;

    w->present = UINT64_C(1) << 3 | UINT64_C(1) << 63;
    srb = run_on(w, NULL, report, 12, STORVSP_DATA_IN, 600);
    assert_good(srb, 8 + 2 * 8);
    assert_int_equal(scsi_get32(w->data), 16);
    assert_int_equal(w->data[8 + 1], 3);
    assert_int_equal(w->data[16 + 1], 63);

    w->present = 0;
    assert_good(run_on(w, NULL, report, 12, STORVSP_DATA_IN, 600), 8);
    assert_int_equal(scsi_get32(w->data), 0);
}

static void report_luns_of_another_target_lists_nothing(void **state)
{
    struct world *w = *state;
    struct storvsp_wire_srb *srb = &w->request.packet.srb;

    memset(&w->request.packet, 0, sizeof(w->request.packet));
    *srb = (struct storvsp_wire_srb){ .target = 1,
                                      .cdb = { 0xa0, 0, 0, 0, 0, 0, 0, 0, 2, 0 },
                                      .cdb_bytes = 12,
                                      .direction = STORVSP_DATA_IN,
                                      .data_bytes = 512 };
    w->request.ranges[0] = (struct vmbus_range){ DATA_GPA, 512 };
    w->request.n_ranges = 1;
    w->request.data_bytes = 512;
    storvsp_request_run(&w->request, &w->gpa, NULL, 1);
    assert_good(srb, 8);
    assert_int_equal(scsi_get32(w->data), 0);
}

static void addresses_beyond_the_units_are_nobodys(void **state)
{
    struct world *w = *state;
    struct storvsp_wire_srb *srb = &w->request.packet.srb;
    unsigned lun = 77;

    *srb = (struct storvsp_wire_srb){ .lun = 64 };
    assert_false(storvsp_request_address(&w->request, &lun));
    *srb = (struct storvsp_wire_srb){ .path = 1 };
    assert_false(storvsp_request_address(&w->request, &lun));
    *srb = (struct storvsp_wire_srb){ .target = 1 };
    assert_false(storvsp_request_address(&w->request, &lun));
    assert_int_equal(lun, 77);
    *srb = (struct storvsp_wire_srb){ .lun = 63 };
    assert_true(storvsp_request_address(&w->request, &lun));
    assert_int_equal(lun, 63);
}

/* SPC-4 "Fixed format sense data": INVALID COMMAND OPERATION CODE */
static void unknown_opcodes_are_illegal(void **state)
{
    struct world *w = *state;
    static const uint8_t unknown[] = { 0x04, 0x15, 0x16, 0x17, 0x1e, 0x3b, 0x43, 0x4d,
                                       0x55, 0x5e, 0x5f, 0x85, 0xa1, 0xa2, 0xff };

    for (unsigned i = 0; i < sizeof(unknown); i++) {
        const uint8_t cdb[16] = { unknown[i] };

        assert_sense(run_on(w, &w->unit, cdb, 16, STORVSP_DATA_NONE, 0), SCSI_ILLEGAL_REQUEST,
                     SCSI_ASC_OPCODE);
    }
    assert_sense(RUN(w, 0x9e, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0),
                 SCSI_ILLEGAL_REQUEST, SCSI_ASC_OPCODE);
}

static void short_cdbs_and_linked_ones_are_illegal(void **state)
{
    struct world *w = *state;

    assert_cdb_field(RUN_IN(w, 512, 0x28, 0, 0, 0, 0, 0), 6);
    assert_cdb_field(RUN(w, 0x00, 0, 0, 0, 0, 4), 5);
    assert_cdb_field(run_on(w, &w->unit, "", 0, STORVSP_DATA_NONE, 0), 0);
}

static void cdbs_beyond_16_bytes_and_oversized_data_are_invalid_requests(void **state)
{
    struct world *w = *state;
    const uint8_t cdb[16] = { 0 };
    struct storvsp_wire_srb *srb = run_on(w, &w->unit, cdb, 17, STORVSP_DATA_NONE, 0);

    assert_int_equal(srb->srb_status, STORVSP_SRB_INVALID_REQUEST);
    memset(srb, 0, sizeof(*srb));
    srb->cdb_bytes = 6;
    w->request.is_oversized = true;
    storvsp_request_run(&w->request, &w->gpa, &w->unit, 0);
    assert_int_equal(srb->srb_status, STORVSP_SRB_INVALID_REQUEST);
}

static void sense_is_cut_to_the_guests_room(void **state)
{
    struct world *w = *state;
    struct storvsp_wire_srb *srb = &w->request.packet.srb;

    memset(&w->request.packet, 0, sizeof(w->request.packet));
    srb->cdb[0] = 0xff;
    srb->cdb_bytes = 6;
    storvsp_request_run(&w->request, &w->gpa, &w->unit, 0);
    assert_int_equal(srb->srb_status, STORVSP_SRB_ERROR);
    assert_int_equal(srb->sense_bytes, 0);
    for (unsigned i = 0; i < STORVSP_SENSE_BYTES; i++)
        assert_int_equal(srb->sense[i], 0);
}

/* SAM-5 "Unit attention conditions" */
static void attention_is_told_once_and_not_to_inquiry(void **state)
{
    struct world *w = *state;

    w->unit.attention = SCSI_ASC_RESET;
    assert_good(RUN_IN(w, 36, 0x12, 0, 0, 0, 36, 0), 36);
    assert_good(RUN_IN(w, 64, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0), 8);
    assert_sense(RUN(w, 0x00, 0, 0, 0, 0, 0), SCSI_UNIT_ATTENTION, SCSI_ASC_RESET);
    assert_good(RUN(w, 0x00, 0, 0, 0, 0, 0), 0);
}

/* SPC-4 "REQUEST SENSE command" */
static void request_sense_takes_the_attention(void **state)
{
    struct world *w = *state;

    assert_cdb_field(RUN_IN(w, 18, 0x03, 1, 0, 0, 18, 0), 1);
    w->unit.attention = SCSI_ASC_RESET;
    assert_good(RUN_IN(w, 18, 0x03, 0, 0, 0, 18, 0), 18);
    assert_int_equal(w->data[2], SCSI_UNIT_ATTENTION);
    assert_int_equal(scsi_get16(w->data + 12), SCSI_ASC_RESET);
    assert_good(RUN_IN(w, 18, 0x03, 0, 0, 0, 18, 0), 18);
    assert_int_equal(w->data[2], SCSI_NO_SENSE);
}

/* SPC-4 "Standard INQUIRY data" */
static void inquiry_refuses_a_page_without_evpd(void **state)
{
    struct world *w = *state;

    assert_cdb_field(RUN_IN(w, 36, 0x12, 0, 0x80, 0, 36, 0), 2);
}

static void inquiry_names_a_disk_and_a_dvd_drive(void **state)
{
    struct world *w = *state;

    assert_good(RUN_IN(w, 96, 0x12, 0, 0, 0, 96, 0), 36);
    assert_int_equal(w->data[0], 0);
    assert_int_equal(w->data[1], 0);
    assert_int_equal(w->data[2], 5);
    assert_int_equal(w->data[3], 2);
    assert_int_equal(w->data[4], 31);
    assert_memory_equal(w->data + 8, "Msft    Virtual Disk    1.0 ", 28);
    plug(w, STORVSP_DVD);
    assert_good(RUN_IN(w, 36, 0x12, 0, 0, 0, 36, 0), 36);
    assert_int_equal(w->data[0], 5);
    assert_int_equal(w->data[1], 0x80);
    assert_int_equal(w->data[2], 0);
    assert_memory_equal(w->data + 8, "Msft    Virtual DVD-ROM 1.0 ", 28);
}

/* SPC-4 "Allocation length": cut, and no error */
static void answers_are_cut_to_allocation_and_buffer(void **state)
{
    struct world *w = *state;

    memset(w->data, 0xee, 64);
    assert_good(RUN_IN(w, 36, 0x12, 0, 0, 0, 5, 0), 5);
    assert_int_equal(w->data[5], 0xee);
    assert_good(RUN_IN(w, 7, 0x12, 0, 0, 0, 36, 0), 7);
    assert_int_equal(w->data[7], 0xee);
    assert_good(RUN_OUT(w, 36, 0x12, 0, 0, 0, 36, 0), 0); /* the wrong way: nothing moves */
}

/* SPC-4 "Vital product data parameters" */
static void vital_pages_are_those_that_page_0_lists(void **state)
{
    struct world *w = *state;
    static const uint8_t listed[] = { 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2 };

    assert_good(RUN_IN(w, 255, 0x12, 1, 0, 0, 255, 0), 4 + sizeof(listed));
    assert_memory_equal(w->data + 4, listed, sizeof(listed));
    for (unsigned page = 0; page < 256; page++) {
        const uint8_t cdb[6] = { 0x12, 1, (uint8_t)page, 0, 255, 0 };
        struct storvsp_wire_srb *srb = run_on(w, &w->unit, cdb, 6, STORVSP_DATA_IN, 255);

        if (!memchr(listed, (int)page, sizeof(listed))) {
            assert_cdb_field(srb, 2);
            continue;
        }
        assert_int_equal(srb->srb_status, STORVSP_SRB_SUCCESS);
        assert_int_equal(w->data[1], page);
        assert_int_equal(srb->data_bytes, 4 + scsi_get16(w->data + 2));
    }
    plug(w, STORVSP_DVD);
    assert_cdb_field(RUN_IN(w, 255, 0x12, 1, 0xb0, 0, 255, 0), 2);
}

static void identification_holds_t10_and_naa_names(void **state)
{
    struct world *w = *state;
    uint8_t first[16];

    assert_good(RUN_IN(w, 255, 0x12, 1, 0x80, 0, 255, 0), 36);
    assert_memory_equal(w->data + 4, "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf", 32);
    assert_good(RUN_IN(w, 255, 0x12, 1, 0x83, 0, 255, 0), 4 + 44 + 20);
    assert_memory_equal(w->data + 8, "Msft    a0a1", 12);
    assert_int_equal(w->data[4 + 44 + 1], 3);
    memcpy(first, w->data + 4 + 44 + 4, 16);
    assert_memory_equal(first, "\x60\x02\x24\x80", 4);
    w->unit.identity[15] ^= 1; /* every byte of the identity tells disks apart */
    RUN_IN(w, 255, 0x12, 1, 0x83, 0, 255, 0);
    assert_memory_not_equal(first, w->data + 4 + 44 + 4, 16);
}

/* SBC-3 "Block Limits VPD page" and "Logical Block Provisioning VPD page" */
static void limits_and_provisioning_follow_the_disk(void **state)
{
    struct world *w = *state;

    assert_good(RUN_IN(w, 64, 0x12, 1, 0xb0, 0, 64, 0), 64);
    assert_int_equal(scsi_get32(w->data + 8), STORVSP_MAX_TRANSFER_BYTES / 512);
    assert_int_equal(scsi_get32(w->data + 20), SCSI_MAX_UNMAP_BYTES / 512);
    assert_int_equal(scsi_get32(w->data + 24), SCSI_MAX_UNMAPS);
    assert_int_equal(scsi_get64(w->data + 36), SCSI_MAX_WRITE_SAME_BYTES / 512);
    assert_good(RUN_IN(w, 64, 0x12, 1, 0xb2, 0, 64, 0), 8);
    assert_int_equal(w->data[5] & 0x80, 0x80);
    assert_good(RUN_IN(w, 64, 0x12, 1, 0xb1, 0, 64, 0), 64);
    assert_int_equal(scsi_get16(w->data + 4), 1);

    w->disk->info.can_discard = false;
    plug(w, STORVSP_DISK);
    assert_good(RUN_IN(w, 64, 0x12, 1, 0xb0, 0, 64, 0), 64);
    assert_int_equal(scsi_get32(w->data + 20), 0);
    assert_good(RUN_IN(w, 64, 0x12, 1, 0xb2, 0, 64, 0), 8);
    assert_int_equal(w->data[5], 0);
}

/* SPC-4 "MODE SENSE(6) command" */
static void mode_sense_refuses_saved_values_and_unknown_pages(void **state)
{
    struct world *w = *state;

    assert_sense(RUN_IN(w, 64, 0x1a, 0, 0xc8, 0, 64, 0), SCSI_ILLEGAL_REQUEST, SCSI_ASC_NO_SAVING);
    assert_cdb_field(RUN_IN(w, 64, 0x1a, 0, 0x1c, 0, 64, 0), 2);
    assert_cdb_field(RUN_IN(w, 64, 0x1a, 0, 0x08, 1, 64, 0), 2);
    assert_cdb_field(RUN_IN(w, 64, 0x1a, 0, 0x2a, 0, 64, 0), 2);
}

/* SBC-3 "Caching mode page": WCE, and DPOFUA in the header */
static void mode_sense_tells_of_the_write_cache_and_fua(void **state)
{
    struct world *w = *state;

    assert_good(RUN_IN(w, 4, 0x1a, 0, 0x3f, 0, 4, 0), 4);
    assert_int_equal(w->data[0], 4 + 20 + 12 - 1);
    assert_int_equal(w->data[2], 0x10);
    assert_good(RUN_IN(w, 64, 0x1a, 8, 0x08, 0, 64, 0), 24);
    assert_int_equal(w->data[4], 0x08);
    assert_int_equal(w->data[5], 18);
    assert_int_equal(w->data[6] & 4, 4);
    assert_good(RUN_IN(w, 64, 0x1a, 8, 0x48, 0, 64, 0), 24); /* changeable: nothing */
    assert_int_equal(w->data[6], 0);
    assert_good(RUN_IN(w, 64, 0x5a, 8, 0x08, 0, 0, 0, 0, 0, 64, 0), 28);
    assert_int_equal(scsi_get16(w->data), 26);
    assert_int_equal(w->data[3], 0x10);
}

static void mode_sense_tells_of_write_protection(void **state)
{
    struct world *w = *state;

    w->disk->info.is_read_only = true;
    plug(w, STORVSP_DISK);
    assert_good(RUN_IN(w, 4, 0x1a, 0, 0x3f, 0, 4, 0), 4);
    assert_int_equal(w->data[2] & 0x80, 0x80);
}

/* SPC-4 "REPORT SUPPORTED OPERATION CODES command" */
static void supported_opcodes_are_those_of_the_table(void **state)
{
    struct world *w = *state;

    assert_cdb_field(RUN_IN(w, 64, 0xa3, 0x0c, 4, 0, 0, 0, 0, 0, 0, 64, 0, 0), 2);
    assert_cdb_field(RUN_IN(w, 64, 0xa3, 0x0c, 1, 0x9e, 0, 0, 0, 0, 0, 64, 0, 0), 2);
    assert_cdb_field(RUN_IN(w, 64, 0xa3, 0x0c, 2, 0x28, 0, 0, 0, 0, 0, 64, 0, 0), 2);

    assert_good(RUN_IN(w, 64, 0xa3, 0x0c, 1, 0x28, 0, 0, 0, 0, 0, 64, 0, 0), 14);
    assert_int_equal(w->data[1], 3);
    assert_int_equal(scsi_get16(w->data + 2), 10);
    assert_int_equal(w->data[4], 0x28);
    assert_good(RUN_IN(w, 64, 0xa3, 0x0c, 2, 0x9e, 0, 0x10, 0, 0, 0, 64, 0, 0), 20);
    assert_int_equal(w->data[1], 3);
    assert_good(RUN_IN(w, 64, 0xa3, 0x0c, 1, 0x5e, 0, 0, 0, 0, 0, 64, 0, 0), 4);
    assert_int_equal(w->data[1], 1);
    assert_good(RUN_IN(w, 64, 0xa3, 0x0c, 0x81, 0x28, 0, 0, 0, 0, 0, 64, 0, 0), 26);
}

static void all_supported_opcodes_are_listed_once_with_their_usage(void **state)
{
    struct world *w = *state;
    struct storvsp_wire_srb *srb = RUN_IN(w, 4096, 0xa3, 0x0c, 0x80, 0, 0, 0, 0, 0, 0x10, 0, 0, 0);
    uint32_t bytes = scsi_get32(w->data);

    assert_good(srb, bytes + 4);
    assert_int_equal(bytes % 20, 0);
    for (unsigned i = 0; i < scsi_n_commands; i++) {
        const struct scsi_command *command = &scsi_commands[i];

        assert_int_equal((uint8_t)command->usage[0], command->opcode);
        if (command->service_action >= 0)
            assert_int_equal(command->usage[1], command->service_action);
        for (unsigned j = 0; j < i; j++)
            assert_false(scsi_commands[j].opcode == command->opcode &&
                         scsi_commands[j].service_action == command->service_action);
    }
}

static void what_waits_for_the_medium_is_known_by_its_cdb(void **state)
{
    assert_int_equal(scsi_pace((const uint8_t[16]){ 0x12 }), SCSI_QUICK);
    assert_int_equal(scsi_pace((const uint8_t[16]){ 0xff }), SCSI_QUICK);
    assert_int_equal(scsi_pace((const uint8_t[16]){ 0x28, 8 }), SCSI_DATA);
    assert_int_equal(scsi_pace((const uint8_t[16]){ 0x2a }), SCSI_DATA);
    assert_int_equal(scsi_pace((const uint8_t[16]){ 0x2a, 8 }), SCSI_WAITING);
    assert_int_equal(scsi_pace((const uint8_t[16]){ 0x0a, 8 }), SCSI_DATA);
    assert_int_equal(scsi_pace((const uint8_t[16]){ 0x35 }), SCSI_WAITING);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, make_world, drop_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(nobody_answers_inquiry_with_qualifier_3),
        WORLD_TEST(nobody_answers_the_rest_with_invalid_lun),
        WORLD_TEST(report_luns_refuses_short_lists_and_unknown_selections),
        WORLD_TEST(report_luns_lists_who_is_there_and_answers_for_an_empty_lun_0),
        WORLD_TEST(report_luns_of_another_target_lists_nothing),
        WORLD_TEST(addresses_beyond_the_units_are_nobodys),
        WORLD_TEST(unknown_opcodes_are_illegal),
        WORLD_TEST(short_cdbs_and_linked_ones_are_illegal),
        WORLD_TEST(cdbs_beyond_16_bytes_and_oversized_data_are_invalid_requests),
        WORLD_TEST(sense_is_cut_to_the_guests_room),
        WORLD_TEST(attention_is_told_once_and_not_to_inquiry),
        WORLD_TEST(request_sense_takes_the_attention),
        WORLD_TEST(inquiry_refuses_a_page_without_evpd),
        WORLD_TEST(inquiry_names_a_disk_and_a_dvd_drive),
        WORLD_TEST(answers_are_cut_to_allocation_and_buffer),
        WORLD_TEST(vital_pages_are_those_that_page_0_lists),
        WORLD_TEST(identification_holds_t10_and_naa_names),
        WORLD_TEST(limits_and_provisioning_follow_the_disk),
        WORLD_TEST(mode_sense_refuses_saved_values_and_unknown_pages),
        WORLD_TEST(mode_sense_tells_of_the_write_cache_and_fua),
        WORLD_TEST(mode_sense_tells_of_write_protection),
        WORLD_TEST(supported_opcodes_are_those_of_the_table),
        WORLD_TEST(all_supported_opcodes_are_listed_once_with_their_usage),
        WORLD_TEST(what_waits_for_the_medium_is_known_by_its_cdb),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
