/* SPDX-License-Identifier: Apache-2.0 */
/* One request against one unit: guest memory, a disk and an SRB, without channel or threads. */
#pragma once

#include "tests/lib/cmocka.h"

#include "tests/lib/fake_blk.h"
#include "vmwp/vsp/storvsp/request_priv.h"

#include <string.h>

enum { DISK_BYTES = 8 << 20, RAM_BYTES = 4 << 20, DATA_GPA = 0x10000, DATA_ROOM = 2 << 20 };

struct world {
    struct hv_gpa_space gpa;
    struct blk_disk *disk;
    struct scsi_unit unit;
    struct storvsp_request request;
    struct vmbus_range ranges[STORVSP_MAX_PIECES];
    uint64_t present;
    uint8_t target;
    uint8_t *data; /* the guest's buffer, from DATA_GPA on */
};

static inline void plug(struct world *w, enum storvsp_kind kind)
{
    struct storvsp_lun_config config = { .kind = kind, .disk = w->disk };

    memset(&w->unit, 0, sizeof(w->unit));
    assert_int_equal(scsi_unit_init(&w->unit, &config), 0);
}

static inline int make_world(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    uint64_t bytes;

    assert_non_null(w);
    assert_int_equal(hv_gpa_space_init(&w->gpa, RAM_BYTES, NULL), 0);
    assert_int_equal(hv_gpa_space_add_ram(&w->gpa, 0, RAM_BYTES, 0), 0);
    w->data = hv_gpa_window(&w->gpa, DATA_GPA, DATA_ROOM, &bytes);
    w->disk = fake_disk_new(DISK_BYTES, 512);
    for (unsigned i = 0; i < DISK_BYTES; i++)
        w->disk->bytes[i] = (uint8_t)(i >> 9 ^ i);
    plug(w, STORVSP_DISK);
    w->request.ranges = w->ranges;
    *state = w;
    return 0;
}

static inline int drop_world(void **state)
{
    struct world *w = *state;

    blk_disk_close(w->disk);
    hv_gpa_space_fini(&w->gpa);
    free(w);
    return 0;
}

/* Run a CDB with `bytes` of data in pages that lie backwards in memory; returns the SRB. */
static inline struct storvsp_wire_srb *run_on(struct world *w, struct scsi_unit *unit,
                                              const void *cdb, unsigned cdb_bytes,
                                              uint8_t direction, uint32_t bytes)
{
    struct storvsp_wire_srb *srb = &w->request.packet.srb;

    memset(&w->request.packet, 0, sizeof(w->request.packet));
    w->request.packet.operation = STORVSP_EXECUTE_SRB;
    srb->target = w->target;
    srb->cdb_bytes = (uint8_t)cdb_bytes;
    srb->sense_bytes = STORVSP_SENSE_BYTES;
    srb->direction = direction;
    srb->data_bytes = bytes;
    memcpy(srb->cdb, cdb, cdb_bytes < 16 ? cdb_bytes : 16);
    w->request.ranges[0] = (struct vmbus_range){ DATA_GPA, bytes };
    w->request.n_ranges = bytes ? 1 : 0;
    w->request.data_bytes = bytes;
    w->request.is_oversized = false;
    storvsp_request_run(&w->request, &w->gpa, unit, w->present);
    return srb;
}

#define RUN_IN(w, bytes, ...)                                                                      \
    run_on(w, &(w)->unit, (const uint8_t[]){ __VA_ARGS__ },                                        \
           sizeof((const uint8_t[]){ __VA_ARGS__ }), STORVSP_DATA_IN, bytes)
#define RUN_OUT(w, bytes, ...)                                                                     \
    run_on(w, &(w)->unit, (const uint8_t[]){ __VA_ARGS__ },                                        \
           sizeof((const uint8_t[]){ __VA_ARGS__ }), STORVSP_DATA_OUT, bytes)
#define RUN(w, ...)                                                                                \
    run_on(w, &(w)->unit, (const uint8_t[]){ __VA_ARGS__ },                                        \
           sizeof((const uint8_t[]){ __VA_ARGS__ }), STORVSP_DATA_NONE, 0)

static inline void assert_good(const struct storvsp_wire_srb *srb, uint32_t moved)
{
    assert_int_equal(srb->srb_status, STORVSP_SRB_SUCCESS);
    assert_int_equal(srb->scsi_status, SCSI_GOOD);
    assert_int_equal(srb->sense_bytes, 0);
    assert_int_equal(srb->data_bytes, moved);
}

static inline void assert_sense(const struct storvsp_wire_srb *srb, enum scsi_sense_key key,
                                enum scsi_asc asc)
{
    assert_int_equal(srb->srb_status, STORVSP_SRB_ERROR | STORVSP_SRB_AUTOSENSE_VALID);
    assert_int_equal(srb->scsi_status, SCSI_CHECK_CONDITION);
    assert_int_equal(srb->sense_bytes, SCSI_SENSE_BYTES);
    assert_int_equal(srb->sense[0] & 0x7f, 0x70);
    assert_int_equal(srb->sense[2], key);
    assert_int_equal(srb->sense[7], 10);
    assert_int_equal(scsi_get16(srb->sense + 12), asc);
    assert_int_equal(srb->data_bytes, 0);
}

/* ILLEGAL REQUEST, INVALID FIELD IN CDB, with the field pointed at */
static inline void assert_cdb_field(const struct storvsp_wire_srb *srb, unsigned byte)
{
    assert_sense(srb, SCSI_ILLEGAL_REQUEST, SCSI_ASC_CDB_FIELD);
    assert_int_equal(srb->sense[15] & 0xc0, 0xc0);
    assert_int_equal(scsi_get16(srb->sense + 16), byte);
}
