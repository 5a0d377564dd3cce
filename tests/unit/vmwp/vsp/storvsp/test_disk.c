/* SPDX-License-Identifier: Apache-2.0 */
/* What disks answer. SBC-3. */
#include "tests/unit/vmwp/vsp/storvsp/world.h"

enum { LAST = DISK_BYTES / 512 - 1 };

/* LOGICAL BLOCK ADDRESS OUT OF RANGE, for every command with an address */
static void addresses_beyond_the_end_are_refused(void **state)
{
    struct world *w = *state;
    static const uint8_t cdb10[] = { 0x28, 0x2a, 0x35, 0x2f, 0x2e, 0x41 };
    static const uint8_t cdb16[] = { 0x88, 0x8a, 0x91, 0x8f, 0x8e, 0x93 };

    for (unsigned i = 0; i < sizeof(cdb10); i++) {
        uint8_t cdb[10] = { cdb10[i], 0, 0, 0, LAST >> 8, LAST & 0xff, 0, 0, 2, 0 };
        uint8_t direction = cdb10[i] == 0x28 ? STORVSP_DATA_IN : STORVSP_DATA_OUT;

        assert_sense(run_on(w, &w->unit, cdb, 10, direction, 4096), SCSI_ILLEGAL_REQUEST,
                     SCSI_ASC_LBA_RANGE);
        memset(cdb + 2, 0xff, 4);
        assert_sense(run_on(w, &w->unit, cdb, 10, direction, 4096), SCSI_ILLEGAL_REQUEST,
                     SCSI_ASC_LBA_RANGE);
    }
    for (unsigned i = 0; i < sizeof(cdb16); i++) {
        uint8_t cdb[16] = {
            cdb16[i], 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2
        };
        uint8_t direction = cdb16[i] == 0x88 ? STORVSP_DATA_IN : STORVSP_DATA_OUT;

        assert_sense(run_on(w, &w->unit, cdb, 16, direction, 4096), SCSI_ILLEGAL_REQUEST,
                     SCSI_ASC_LBA_RANGE);
    }
    assert_int_equal(w->disk->n_reads + w->disk->n_writes + w->disk->n_flushes, 0);
}

static void buffers_too_small_for_the_cdb_are_refused(void **state)
{
    struct world *w = *state;

    assert_cdb_field(RUN_IN(w, 1023, 0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0), 7);
    assert_cdb_field(RUN_OUT(w, 1024, 0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0), 7);
    assert_cdb_field(RUN_OUT(w, 511, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0), 7);
    assert_cdb_field(RUN_IN(w, 512, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0), 7);
    assert_cdb_field(RUN(w, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0), 10);
    assert_int_equal(w->disk->n_reads + w->disk->n_writes, 0);
}

static void transfers_beyond_the_limit_are_refused(void **state)
{
    struct world *w = *state;

    assert_cdb_field(RUN_IN(w, DATA_ROOM, 0x28, 0, 0, 0, 0, 0, 0, 8, 1, 0), 7);
    assert_good(RUN_IN(w, DATA_ROOM, 0x28, 0, 0, 0, 0, 0, 0, 8, 0, 0), 1 << 20);
    assert_memory_equal(w->data, w->disk->bytes, 1 << 20);
}

static void protection_information_is_refused(void **state)
{
    struct world *w = *state;

    assert_cdb_field(RUN_IN(w, 512, 0x28, 0x20, 0, 0, 0, 0, 0, 0, 1, 0), 1);
    assert_cdb_field(RUN_OUT(w, 512, 0x2a, 0x20, 0, 0, 0, 0, 0, 0, 1, 0), 1);
    assert_cdb_field(RUN_OUT(w, 512, 0x2f, 2, 0, 0, 0, 0, 0, 0, 1, 0), 1);
}

/* SBC-3 "READ(6)" to "READ(16) command" */
static void reads_of_all_lengths_return_the_blocks(void **state)
{
    struct world *w = *state;

    assert_good(RUN_IN(w, 512, 0x08, 0, 0, 9, 1, 0), 512);
    assert_memory_equal(w->data, w->disk->bytes + 9 * 512, 512);
    assert_good(RUN_IN(w, 256 * 512, 0x08, 0, 0, 1, 0, 0), 256 * 512); /* 0 is 256 */
    assert_memory_equal(w->data, w->disk->bytes + 512, 256 * 512);
    assert_good(RUN_IN(w, 4096, 0x28, 0, 0, 0, 0x3f, 0xff, 0, 0, 1, 0), 512); /* the last */
    assert_memory_equal(w->data, w->disk->bytes + LAST * 512, 512);
    assert_good(RUN_IN(w, 1024, 0xa8, 0, 0, 0, 1, 2, 0, 0, 0, 2, 0, 0), 1024);
    assert_memory_equal(w->data, w->disk->bytes + 0x102 * 512, 1024);
    assert_good(RUN_IN(w, 1024, 0x88, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 2, 0, 0), 1024);
    assert_memory_equal(w->data, w->disk->bytes + 0x102 * 512, 1024);
    assert_good(RUN_IN(w, 0, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0); /* nothing is no error */
    assert_int_equal(w->unit.counters.reads, 5);
    assert_int_equal(w->unit.counters.read_bytes, 512 + 256 * 512 + 512 + 1024 + 1024);
}

static void writes_of_all_lengths_reach_their_blocks(void **state)
{
    struct world *w = *state;

    memset(w->data, 0x5a, 4096);
    assert_good(RUN_OUT(w, 512, 0x0a, 0, 0, 1, 1, 0), 512);
    assert_good(RUN_OUT(w, 512, 0x2a, 0, 0, 0, 0, 3, 0, 0, 1, 0), 512);
    assert_good(RUN_OUT(w, 512, 0xaa, 0, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0), 512);
    assert_good(RUN_OUT(w, 512, 0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0), 512);
    for (unsigned lba = 1; lba < 8; lba += 2) {
        assert_memory_equal(w->disk->bytes + lba * 512, w->data, 512);
        assert_memory_not_equal(w->disk->bytes + (lba + 1) * 512, w->data, 512);
    }
    assert_int_equal(w->disk->n_fua, 0);
    assert_int_equal(w->unit.counters.write_bytes, 4 * 512);
}

/* SBC-3 "Write caching": FUA and WRITE AND VERIFY end on the medium */
static void fua_is_handed_to_the_disk(void **state)
{
    struct world *w = *state;

    assert_good(RUN_OUT(w, 512, 0x2a, 8, 0, 0, 0, 3, 0, 0, 1, 0), 512);
    assert_int_equal(w->disk->n_fua, 1);
    assert_good(RUN_OUT(w, 512, 0x8a, 8, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 1, 0, 0), 512);
    assert_good(RUN_OUT(w, 512, 0x2e, 0, 0, 0, 0, 3, 0, 0, 1, 0), 512);
    assert_int_equal(w->disk->n_fua, 3);
}

static void pieces_of_memory_are_joined_in_order(void **state)
{
    struct world *w = *state;
    struct storvsp_wire_srb *srb = &w->request.packet.srb;

    memset(&w->request.packet, 0, sizeof(w->request.packet));
    *srb = (struct storvsp_wire_srb){ .cdb = { 0x28, 0, 0, 0, 0, 0, 0, 0, 2 },
                                      .cdb_bytes = 10,
                                      .direction = STORVSP_DATA_IN,
                                      .data_bytes = 1024 };
    w->request.ranges[0] = (struct vmbus_range){ DATA_GPA + 4096, 100 };
    w->request.ranges[1] = (struct vmbus_range){ DATA_GPA, 924 };
    w->request.n_ranges = 2;
    w->request.data_bytes = 1024;
    storvsp_request_run(&w->request, &w->gpa, &w->unit, 0);
    assert_good(srb, 1024);
    assert_memory_equal(w->data + 4096, w->disk->bytes, 100);
    assert_memory_equal(w->data, w->disk->bytes + 100, 924);
}

static void a_read_is_noted_as_written_memory(void **state)
{
    struct world *w = *state;
    _Atomic uint8_t *flags = w->gpa.slots[0].page_flags + (DATA_GPA >> HV_PAGE_SHIFT);

    atomic_fetch_or(&flags[0], HV_GPA_PAGE_CLEAN);
    atomic_fetch_or(&flags[1], HV_GPA_PAGE_CLEAN);
    assert_good(RUN_IN(w, 512, 0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), 512);
    assert_false(atomic_load(&flags[0]) & HV_GPA_PAGE_CLEAN);
    assert_true(atomic_load(&flags[1]) & HV_GPA_PAGE_CLEAN);
}

/* SBC-3 "Error reporting", SPC-4 "ASC and ASCQ assignments" */
static void the_hosts_errors_become_sense_data(void **state)
{
    struct world *w = *state;
    static const struct {
        int r;
        enum scsi_sense_key key;
        enum scsi_asc asc;
    } rows[] = {
        { -EIO, SCSI_MEDIUM_ERROR, SCSI_ASC_WRITE_ERROR },
        { -ENOSPC, SCSI_DATA_PROTECT, SCSI_ASC_SPACE_ALLOCATION },
        { -EDQUOT, SCSI_DATA_PROTECT, SCSI_ASC_SPACE_ALLOCATION },
        { -EROFS, SCSI_DATA_PROTECT, SCSI_ASC_WRITE_PROTECTED },
        { -ENXIO, SCSI_NOT_READY, SCSI_ASC_NOT_READY },
        { -EINVAL, SCSI_HARDWARE_ERROR, SCSI_ASC_TARGET_FAILURE },
    };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        w->disk->fail_r = rows[i].r;
        assert_sense(RUN_OUT(w, 512, 0x2a, 0, 0, 0, 0, 3, 0, 0, 1, 0), rows[i].key, rows[i].asc);
        assert_int_equal(w->unit.counters.errors, i + 1);
    }
}

static void a_medium_error_names_its_block(void **state)
{
    struct world *w = *state;
    struct storvsp_wire_srb *srb;

    w->disk->fail_r = -EIO;
    srb = RUN_IN(w, 512, 0x28, 0, 0, 0, 1, 3, 0, 0, 1, 0);
    assert_sense(srb, SCSI_MEDIUM_ERROR, SCSI_ASC_READ_ERROR);
    assert_int_equal(srb->sense[0], 0xf0);
    assert_int_equal(scsi_get32(srb->sense + 3), 0x103);
}

static void a_host_short_of_memory_is_busy(void **state)
{
    struct world *w = *state;
    struct storvsp_wire_srb *srb;

    w->disk->fail_r = -ENOMEM;
    srb = RUN_IN(w, 512, 0x28, 0, 0, 0, 1, 3, 0, 0, 1, 0);
    assert_int_equal(srb->srb_status, STORVSP_SRB_BUSY);
    assert_int_equal(srb->scsi_status, SCSI_BUSY);
}

static void nothing_is_written_to_a_read_only_disk(void **state)
{
    struct world *w = *state;
    struct storvsp_lun_config config = { .disk = w->disk, .is_read_only = true };
    static const uint8_t writes[] = { 0x2a, 0x2e, 0x41 };

    memset(&w->unit, 0, sizeof(w->unit));
    assert_int_equal(scsi_unit_init(&w->unit, &config), 0);
    for (unsigned i = 0; i < sizeof(writes); i++) {
        const uint8_t cdb[10] = { writes[i], 0, 0, 0, 0, 0, 0, 0, 1 };

        assert_sense(run_on(w, &w->unit, cdb, 10, STORVSP_DATA_OUT, 512), SCSI_DATA_PROTECT,
                     SCSI_ASC_WRITE_PROTECTED);
    }
    assert_sense(RUN_OUT(w, 24, 0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0), SCSI_ILLEGAL_REQUEST,
                 SCSI_ASC_OPCODE);
    assert_good(RUN(w, 0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0);
    assert_int_equal(w->disk->n_writes + w->disk->n_zeroed + w->disk->n_discards, 0);
}

/* SBC-3 "SYNCHRONIZE CACHE(10) command" */
static void a_flush_that_fails_is_told(void **state)
{
    struct world *w = *state;

    w->disk->fail_flush_r = -EIO;
    assert_sense(RUN(w, 0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0), SCSI_MEDIUM_ERROR, SCSI_ASC_WRITE_ERROR);
    assert_sense(RUN(w, 0x35, 2, 0, 0, 0, 0, 0, 0, 0, 0), SCSI_MEDIUM_ERROR,
                 SCSI_ASC_WRITE_ERROR); /* at once or not */
    w->disk->fail_flush_r = 0;
    assert_good(RUN(w, 0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0);
    assert_good(RUN(w, 0x91, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0);
    assert_int_equal(w->disk->n_flushes, 2);
}

static void stopping_flushes_and_loading_is_refused(void **state)
{
    struct world *w = *state;

    assert_cdb_field(RUN(w, 0x1b, 0, 0, 0, 2, 0), 4);
    assert_good(RUN(w, 0x1b, 0, 0, 0, 1, 0), 0);
    assert_int_equal(w->disk->n_flushes, 0);
    assert_good(RUN(w, 0x1b, 0, 0, 0, 0, 0), 0);
    assert_int_equal(w->disk->n_flushes, 1);
}

/* SBC-3 "READ CAPACITY(10)" and "(16) command" */
static void capacity_refuses_partial_medium_indicators(void **state)
{
    struct world *w = *state;

    assert_cdb_field(RUN_IN(w, 8, 0x25, 0, 0, 0, 0, 0, 0, 0, 1, 0), 8);
    assert_cdb_field(RUN_IN(w, 8, 0x25, 0, 0, 0, 0, 1, 0, 0, 0, 0), 2);
    assert_cdb_field(RUN_IN(w, 32, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 1, 0), 14);
}

static void capacity_tells_last_block_and_sizes(void **state)
{
    struct world *w = *state;

    assert_good(RUN_IN(w, 8, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), 8);
    assert_int_equal(scsi_get32(w->data), LAST);
    assert_int_equal(scsi_get32(w->data + 4), 512);
    assert_good(RUN_IN(w, 32, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0), 32);
    assert_int_equal(scsi_get64(w->data), LAST);
    assert_int_equal(scsi_get32(w->data + 8), 512);
    assert_int_equal(w->data[13], 3); /* 4096 physical */
    assert_int_equal(w->data[14], 0x80);
    w->unit.n_blocks = UINT64_C(1) << 33;
    assert_good(RUN_IN(w, 8, 0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), 8);
    assert_int_equal(scsi_get32(w->data), UINT32_MAX);
}

static void sectors_of_4096_bytes_work(void **state)
{
    struct world *w = *state;

    w->disk->info.logical_bytes = 4096;
    plug(w, STORVSP_DISK);
    assert_good(RUN_IN(w, 32, 0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0), 32);
    assert_int_equal(scsi_get64(w->data), DISK_BYTES / 4096 - 1);
    assert_int_equal(scsi_get32(w->data + 8), 4096);
    assert_int_equal(w->data[13], 0);
    assert_cdb_field(RUN_IN(w, 512, 0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0), 7);
    assert_good(RUN_IN(w, 4096, 0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0), 4096);
    assert_memory_equal(w->data, w->disk->bytes + 3 * 4096, 4096);
}

/* SBC-3 "UNMAP command" */
static void put_unmap(struct world *w, unsigned at, uint64_t lba, uint32_t count)
{
    scsi_put64(w->data + 8 + 16 * at, lba);
    scsi_put32(w->data + 16 + 16 * at, count);
    scsi_put16(w->data, (uint16_t)(6 + 16 * (at + 1)));
    scsi_put16(w->data + 2, (uint16_t)(16 * (at + 1)));
}

static void unmap_lists_that_lie_are_refused(void **state)
{
    struct world *w = *state;

    put_unmap(w, 0, 0, 1);
    assert_cdb_field(RUN_OUT(w, 24, 0x42, 1, 0, 0, 0, 0, 0, 0, 24, 0), 1);
    assert_sense(RUN_OUT(w, 24, 0x42, 0, 0, 0, 0, 0, 0, 0, 7, 0), SCSI_ILLEGAL_REQUEST,
                 SCSI_ASC_LIST_LENGTH);
    assert_sense(RUN_OUT(w, 20, 0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0), SCSI_ILLEGAL_REQUEST,
                 SCSI_ASC_LIST_LENGTH);
    assert_cdb_field(RUN_OUT(w, 4096, 0x42, 0, 0, 0, 0, 0, 0, 8, 0, 0), 7);
    scsi_put16(w->data + 2, 32);
    assert_sense(RUN_OUT(w, 24, 0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0), SCSI_ILLEGAL_REQUEST,
                 SCSI_ASC_LIST_FIELD);
    assert_int_equal(w->disk->n_discards, 0);
}

static void nothing_is_unmapped_unless_all_is_in_range(void **state)
{
    struct world *w = *state;

    put_unmap(w, 0, 0, 1);
    put_unmap(w, 1, LAST, 2);
    assert_sense(RUN_OUT(w, 40, 0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0), SCSI_ILLEGAL_REQUEST,
                 SCSI_ASC_LBA_RANGE);
    assert_int_equal(w->disk->n_discards, 0);
    put_unmap(w, 1, 16, 8);
    assert_good(RUN_OUT(w, 40, 0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0), 40);
    assert_int_equal(w->disk->n_discards, 2);
    assert_int_equal(w->disk->bytes[16 * 512 + 1], 0);
    assert_int_equal(w->disk->bytes[24 * 512 + 1], (24 ^ 1) & 0xff);
    assert_good(RUN_OUT(w, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0);
}

static void disks_that_cannot_discard_have_no_unmap(void **state)
{
    struct world *w = *state;

    w->disk->info.can_discard = false;
    plug(w, STORVSP_DISK);
    put_unmap(w, 0, 0, 1);
    assert_sense(RUN_OUT(w, 24, 0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0), SCSI_ILLEGAL_REQUEST,
                 SCSI_ASC_OPCODE);
    assert_cdb_field(RUN_OUT(w, 512, 0x41, 8, 0, 0, 0, 0, 0, 0, 1, 0), 1);
}

/* SBC-3 "WRITE SAME(10)" and "(16) command" */
static void write_same_refuses_none_too_many_and_no_block(void **state)
{
    struct world *w = *state;

    assert_cdb_field(RUN_OUT(w, 512, 0x41, 0, 0, 0, 0, 0, 0, 0, 0, 0), 7);
    assert_cdb_field(RUN_OUT(w, 512, 0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 0), 10);
    assert_sense(RUN_OUT(w, 511, 0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0), SCSI_ILLEGAL_REQUEST,
                 SCSI_ASC_LIST_LENGTH);
    assert_cdb_field(RUN_OUT(w, 512, 0x93, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0), 1);
    assert_int_equal(w->disk->n_writes + w->disk->n_zeroed, 0);
}

static void write_same_repeats_a_block_and_zeroes_with_one_of_zeroes(void **state)
{
    struct world *w = *state;

    memset(w->data, 0, 512);
    assert_good(RUN_OUT(w, 512, 0x41, 0, 0, 0, 0, 2, 0, 0, 4, 0), 512);
    assert_int_equal(w->disk->n_zeroed, 1);
    assert_int_equal(w->disk->bytes[5 * 512 + 7], 0);
    assert_good(RUN(w, 0x93, 1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 4, 0, 0), 0);
    assert_int_equal(w->disk->n_zeroed, 2);
    memset(w->data, 0xc3, 511);
    w->data[511] = 0x3c;
    assert_good(RUN_OUT(w, 512, 0x93, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 2, 0x30, 0, 0), 512);
    for (unsigned lba = 16; lba < 16 + 0x230; lba++)
        assert_memory_equal(w->disk->bytes + lba * 512, w->data, 512);
    assert_memory_not_equal(w->disk->bytes + (16 + 0x230) * 512, w->data, 512);
}

static void a_disk_that_cannot_be_is_refused(void **state)
{
    struct world *w = *state;
    struct storvsp_lun_config config = { .kind = STORVSP_DISK };
    struct scsi_unit unit = { 0 };

    assert_int_equal(scsi_unit_init(&unit, &config), -EINVAL);
    config.disk = w->disk;
    w->disk->info.bytes = 0;
    assert_int_equal(scsi_unit_init(&unit, &config), -EINVAL);
    w->disk->info.bytes = DISK_BYTES;
    w->disk->info.logical_bytes = 4096;
    config.kind = STORVSP_DVD;
    unit = (struct scsi_unit){ 0 };
    assert_int_equal(scsi_unit_init(&unit, &config), -EINVAL);
}

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, make_world, drop_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(addresses_beyond_the_end_are_refused),
        WORLD_TEST(buffers_too_small_for_the_cdb_are_refused),
        WORLD_TEST(transfers_beyond_the_limit_are_refused),
        WORLD_TEST(protection_information_is_refused),
        WORLD_TEST(reads_of_all_lengths_return_the_blocks),
        WORLD_TEST(writes_of_all_lengths_reach_their_blocks),
        WORLD_TEST(fua_is_handed_to_the_disk),
        WORLD_TEST(pieces_of_memory_are_joined_in_order),
        WORLD_TEST(a_read_is_noted_as_written_memory),
        WORLD_TEST(the_hosts_errors_become_sense_data),
        WORLD_TEST(a_medium_error_names_its_block),
        WORLD_TEST(a_host_short_of_memory_is_busy),
        WORLD_TEST(nothing_is_written_to_a_read_only_disk),
        WORLD_TEST(a_flush_that_fails_is_told),
        WORLD_TEST(stopping_flushes_and_loading_is_refused),
        WORLD_TEST(capacity_refuses_partial_medium_indicators),
        WORLD_TEST(capacity_tells_last_block_and_sizes),
        WORLD_TEST(sectors_of_4096_bytes_work),
        WORLD_TEST(unmap_lists_that_lie_are_refused),
        WORLD_TEST(nothing_is_unmapped_unless_all_is_in_range),
        WORLD_TEST(disks_that_cannot_discard_have_no_unmap),
        WORLD_TEST(write_same_refuses_none_too_many_and_no_block),
        WORLD_TEST(write_same_repeats_a_block_and_zeroes_with_one_of_zeroes),
        WORLD_TEST(a_disk_that_cannot_be_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
