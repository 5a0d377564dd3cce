/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SCSI commands as one table and a handler for each: a task goes in with CDB and data, and comes
 * out with status, sense and bytes moved. No thread, no ring.
 *
 * spec: SPC-4 and SBC-3 for disks, MMC-6 for DVD drives
 */
#pragma once

#include "vmwp/vsp/storvsp/data_priv.h"
#include "vmwp/vsp/storvsp/storvsp.h"
#include "vmwp/vsp/storvsp/wire_priv.h"

#include <stdatomic.h>

enum scsi_status { SCSI_GOOD = 0x00, SCSI_CHECK_CONDITION = 0x02, SCSI_BUSY = 0x08 };

enum scsi_sense_key {
    SCSI_NO_SENSE = 0,
    SCSI_NOT_READY = 2,
    SCSI_MEDIUM_ERROR = 3,
    SCSI_HARDWARE_ERROR = 4,
    SCSI_ILLEGAL_REQUEST = 5,
    SCSI_UNIT_ATTENTION = 6,
    SCSI_DATA_PROTECT = 7
};

/* Additional sense code in the high byte, its qualifier in the low one (SPC-4 annex D) */
enum scsi_asc {
    SCSI_ASC_NONE = 0,
    SCSI_ASC_NOT_READY = 0x0400,
    SCSI_ASC_WRITE_ERROR = 0x0c00,
    SCSI_ASC_READ_ERROR = 0x1100,
    SCSI_ASC_LIST_LENGTH = 0x1a00,
    SCSI_ASC_OPCODE = 0x2000,
    SCSI_ASC_LBA_RANGE = 0x2100,
    SCSI_ASC_CDB_FIELD = 0x2400,
    SCSI_ASC_LIST_FIELD = 0x2600,
    SCSI_ASC_WRITE_PROTECTED = 0x2700,
    SCSI_ASC_SPACE_ALLOCATION = 0x2707,
    SCSI_ASC_MEDIUM_CHANGED = 0x2800,
    SCSI_ASC_RESET = 0x2900,
    SCSI_ASC_NO_SAVING = 0x3900,
    SCSI_ASC_NO_MEDIUM = 0x3a00,
    SCSI_ASC_NO_MEDIUM_TRAY_OPEN = 0x3a02,
    SCSI_ASC_TARGET_FAILURE = 0x4400,
    SCSI_ASC_REMOVAL_PREVENTED = 0x5302
};

enum { SCSI_SENSE_BYTES = 18, SCSI_DVD_BLOCK_BYTES = 2048 };

/* MMC-6 "Media status class events" */
enum scsi_media_event { SCSI_EVENT_EJECT = 1, SCSI_EVENT_NEW = 2, SCSI_EVENT_REMOVED = 3 };

/* Limits that page B0 tells */
enum { SCSI_MAX_UNMAP_BYTES = 1 << 30, SCSI_MAX_UNMAPS = 64, SCSI_MAX_WRITE_SAME_BYTES = 64 << 20 };

struct scsi_counters {
    _Atomic uint64_t reads, read_bytes, writes, write_bytes, flushes, unmaps, errors;
};

/* A disk or DVD drive. A medium's change makes a new one: disk and size never change. */
struct scsi_unit {
    /* read only */
    enum storvsp_kind kind;
    struct blk_disk *disk; /* NULL: no medium */
    struct blk_info info;
    uint32_t block_bytes;
    uint64_t n_blocks;
    bool is_read_only;
    uint8_t identity[16];
    /* private; any thread */
    _Atomic uint16_t attention;  /* enum scsi_asc that the next command is told, or 0 */
    _Atomic uint8_t media_event; /* what GET EVENT STATUS NOTIFICATION tells next, or 0 */
    atomic_bool is_tray_open;
    atomic_bool is_locked; /* the guest prevents removal */
    struct scsi_counters counters;
    /* private; lock: the controller's */
    unsigned n_users;
};

/* Fill in a unit of zeroes. 0, or -EINVAL: a disk without blk_disk, or of a size that can't be. */
int scsi_unit_init(struct scsi_unit *unit, const struct storvsp_lun_config *config);
/* As after power-on: no attention, the door unlocked and shut. */
void scsi_unit_reset(struct scsi_unit *unit);
/* The guest's driver went away: what it wanted of the unit is forgotten. */
void scsi_unit_let_go(struct scsi_unit *unit);
bool scsi_unit_has_medium(const struct scsi_unit *unit);

struct scsi_task {
    /* public: in */
    struct scsi_unit *unit; /* NULL: nobody is there */
    bool is_target;         /* path and target are the one that has units */
    uint64_t present;       /* units there are, a bit for each LUN */
    uint8_t cdb[STORVSP_CDB_BYTES];
    uint8_t cdb_bytes;
    struct storvsp_data data;
    /* read only: out */
    uint8_t srb_status;
    uint8_t scsi_status;
    uint8_t sense_bytes;
    uint8_t sense[SCSI_SENSE_BYTES];
    uint32_t moved_bytes;
    int host_r; /* the negative errno that failed it, or 0 */
};

/* Run a task; blocks for the disk. */
void scsi_run(struct scsi_task *task);

/* Did it fail for a reason that may pass, so that the same command may be run again as if it had
 * not been? Never what is to make earlier writes durable: the host says only once that it could
 * not. */
bool scsi_can_wait(const struct scsi_task *task);

/* Was it a list of the units, and answered? */
bool scsi_lists_luns(const struct scsi_task *task);

/* What the task's command does to the queue it came by */
enum scsi_pace {
    SCSI_QUICK,   /* no file work */
    SCSI_DATA,    /* reads or writes: quick when the host's cache helps */
    SCSI_WAITING, /* waits for the medium for certain */
};
enum scsi_pace scsi_pace(const uint8_t *cdb);

/* Fields of CDBs and answers: big endian */
static inline uint16_t scsi_get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t scsi_get32(const uint8_t *at)
{
    return (uint32_t)scsi_get16(at) << 16 | scsi_get16(at + 2);
}

static inline uint64_t scsi_get64(const uint8_t *at)
{
    return (uint64_t)scsi_get32(at) << 32 | scsi_get32(at + 4);
}

static inline void scsi_put16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void scsi_put32(uint8_t *at, uint32_t value)
{
    scsi_put16(at, (uint16_t)(value >> 16));
    scsi_put16(at + 2, (uint16_t)value);
}

static inline void scsi_put64(uint8_t *at, uint64_t value)
{
    scsi_put32(at, (uint32_t)(value >> 32));
    scsi_put32(at + 4, (uint32_t)value);
}

/* scsi_sense.c: how a task ends. What isn't failed is good. */
void scsi_fail(struct scsi_task *task, enum scsi_sense_key key, enum scsi_asc asc);
/* ILLEGAL REQUEST with the byte of the CDB (or parameter list) that is at fault */
void scsi_fail_cdb(struct scsi_task *task, unsigned byte);
void scsi_fail_list(struct scsi_task *task, unsigned byte);
/* The medium at `lba` failed; r: negative errno of the disk */
void scsi_fail_errno(struct scsi_task *task, int r, bool is_write, uint64_t lba);
void scsi_fail_srb(struct scsi_task *task, enum storvsp_srb_status status);
/* Answer with `bytes` of data, cut to the CDB's allocation length and the buffer. */
void scsi_answer(struct scsi_task *task, const void *data, uint32_t bytes, uint32_t allocation);
/* Fixed-format sense data (SPC-4 "Fixed format sense data") */
void scsi_sense_fill(uint8_t ret[static SCSI_SENSE_BYTES], enum scsi_sense_key key,
                     enum scsi_asc asc);

/* Commands of all units: scsi_inquiry.c, scsi_mode.c, scsi_common.c */
typedef void scsi_handler(struct scsi_task *task);
scsi_handler scsi_inquiry, scsi_report_luns, scsi_request_sense, scsi_mode_sense6,
    scsi_mode_sense10, scsi_test_unit_ready, scsi_report_opcodes;
/* Blocks: scsi_block.c, disks and DVD drives */
scsi_handler scsi_read6, scsi_read10, scsi_read12, scsi_read16, scsi_write6, scsi_write10,
    scsi_write12, scsi_write16, scsi_write_verify10, scsi_write_verify16, scsi_verify10,
    scsi_verify12, scsi_verify16, scsi_read_capacity10;
/* Disks: scsi_disk.c */
scsi_handler scsi_read_capacity16, scsi_synchronize_cache10, scsi_synchronize_cache16, scsi_unmap,
    scsi_write_same10, scsi_write_same16, scsi_disk_start_stop;
/* DVD drives: scsi_dvd.c */
scsi_handler scsi_dvd_start_stop, scsi_prevent_allow, scsi_read_toc, scsi_get_configuration,
    scsi_get_event_status, scsi_read_disc_info, scsi_read_track_info, scsi_mechanism_status;

struct scsi_command {
    /* read only */
    uint8_t opcode;
    int8_t service_action; /* -1: the opcode has none */
    uint8_t cdb_bytes;
    uint8_t pace;  /* enum scsi_pace */
    uint8_t flags; /* enum scsi_command_flag */
    const char *name;
    const char *usage; /* which bits of the CDB count (SPC-4 "CDB usage data") */
    scsi_handler *disk;
    scsi_handler *dvd;
};

enum scsi_command_flag {
    SCSI_IGNORES_ATTENTION = 1, /* answered while a unit attention waits, which stays */
    SCSI_NEEDS_MEDIUM = 2,
    SCSI_WRITES = 4,
    SCSI_NEEDS_DISCARD = 8 /* there for disks that can discard */
};

extern const struct scsi_command scsi_commands[];
extern const unsigned scsi_n_commands;
/* The row of a CDB that the unit has, or NULL. */
const struct scsi_command *scsi_command_of(const struct scsi_unit *unit, const uint8_t *cdb);
bool scsi_unit_knows(const struct scsi_unit *unit, const struct scsi_command *command);

/* Is [lba, +count) on the unit? Fails the task else. */
bool scsi_check_range(struct scsi_task *task, uint64_t lba, uint64_t count);
static inline void scsi_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}
