/* SPDX-License-Identifier: Apache-2.0 */
/* INQUIRY: who is there, and the pages of vital product data. SPC-4 chapter 7.8, SBC-3 6.5. */
#include "vmwp/vsp/storvsp/scsi_priv.h"

#include <stdio.h>
#include <string.h>

enum {
    TYPE_DISK = 0x00,
    TYPE_DVD = 0x05,
    TYPE_NOBODY = 0x7f, /* qualifier 3, type 1F: no unit can be here */
    REMOVABLE = 0x80,
    VERSION_NONE = 0,
    VERSION_SPC3 = 5,
    RESPONSE_FORMAT = 2,
    CMD_QUE = 0x02,
    STANDARD_BYTES = 36
};

static const char vendor[] = "Msft    ";
static const char product_disk[] = "Virtual Disk    ";
static const char product_dvd[] = "Virtual DVD-ROM ";
static const char revision[] = "1.0 ";

static uint8_t type_of(const struct scsi_unit *unit)
{
    return unit->kind == STORVSP_DISK ? TYPE_DISK : TYPE_DVD;
}

/* SPC-4 "Standard INQUIRY data". seen: Hyper-V's DVD drives claim no version; one that claims SPC-3
 * is sent ATA commands by Debian 12's udev. */
static void answer_standard(struct scsi_task *task)
{
    const struct scsi_unit *unit = task->unit;
    bool is_dvd = unit && unit->kind == STORVSP_DVD;
    uint8_t out[STANDARD_BYTES] = { 0 };

    out[0] = unit ? type_of(unit) : TYPE_NOBODY;
    out[1] = is_dvd ? REMOVABLE : 0;
    out[2] = is_dvd ? VERSION_NONE : VERSION_SPC3;
    out[3] = RESPONSE_FORMAT;
    out[4] = STANDARD_BYTES - 5;
    out[7] = CMD_QUE;
    memcpy(out + 8, vendor, 8);
    memcpy(out + 16, is_dvd ? product_dvd : product_disk, 16);
    memcpy(out + 32, revision, 4);
    scsi_answer(task, out, sizeof(out), scsi_get16(task->cdb + 3));
}

static void format_serial(const struct scsi_unit *unit, char ret[static 33])
{
    for (unsigned i = 0; i < sizeof(unit->identity); i++)
        snprintf(ret + 2 * i, 3, "%02x", unit->identity[i]);
}

/* A page writes what follows its 4-byte head and returns how much that is. */
typedef unsigned page_fn(const struct scsi_unit *unit, uint8_t *at);

static page_fn page_list;

static unsigned page_serial(const struct scsi_unit *unit, uint8_t *at)
{
    char serial[33];

    format_serial(unit, serial);
    memcpy(at, serial, 32);
    return 32;
}

/* "Device Identification VPD page": a T10 vendor ID and an NAA IEEE registered extended one, of
 * Microsoft's company ID as its disks have it. All 16 bytes of the identity go into the 12 left. */
static unsigned page_identification(const struct scsi_unit *unit, uint8_t *at)
{
    enum { CODE_BINARY = 1, CODE_ASCII = 2, TYPE_T10 = 1, TYPE_NAA = 3, NAA_BYTES = 16 };
    static const uint8_t naa[4] = { 0x60, 0x02, 0x24, 0x80 };
    char serial[33];
    uint8_t *id = at + 4 + 40 + 4;

    format_serial(unit, serial);
    at[0] = CODE_ASCII;
    at[1] = TYPE_T10;
    at[3] = 8 + 32;
    memcpy(at + 4, vendor, 8);
    memcpy(at + 12, serial, 32);
    at[44] = CODE_BINARY;
    at[45] = TYPE_NAA;
    at[47] = NAA_BYTES;
    memcpy(id, naa, sizeof(naa));
    for (unsigned i = 0; i < 16; i++)
        id[4 + i % 12] ^= unit->identity[i];
    return 4 + 40 + 4 + NAA_BYTES;
}

/* SBC-3 "Block Limits VPD page" */
static unsigned page_limits(const struct scsi_unit *unit, uint8_t *at)
{
    enum { BYTES = 60, WSNZ = 1, GRANULARITY_VALID = 0x80 };
    uint32_t block = unit->block_bytes;
    uint8_t *page = at - 4;

    page[4] = WSNZ;
    scsi_put16(page + 6, (uint16_t)(4096 / block));
    scsi_put32(page + 8, STORVSP_MAX_TRANSFER_BYTES / block);
    if (unit->info.can_discard && !unit->is_read_only) {
        scsi_put32(page + 20, SCSI_MAX_UNMAP_BYTES / block);
        scsi_put32(page + 24, SCSI_MAX_UNMAPS);
        scsi_put32(page + 28, 4096 / block);
        page[32] = GRANULARITY_VALID;
    }
    scsi_put64(page + 36, SCSI_MAX_WRITE_SAME_BYTES / block);
    return BYTES;
}

/* SBC-3 "Block Device Characteristics VPD page": a medium that does not turn */
static unsigned page_characteristics(const struct scsi_unit *unit, uint8_t *at)
{
    scsi_put16(at, 1);
    return 60;
}

/* SBC-3 "Logical Block Provisioning VPD page" */
static unsigned page_provisioning(const struct scsi_unit *unit, uint8_t *at)
{
    enum { LBPU = 0x80, LBPWS = 0x40, LBPWS10 = 0x20, THIN = 2 };

    if (unit->info.can_discard && !unit->is_read_only) {
        at[1] = LBPU | LBPWS | LBPWS10;
        at[2] = THIN;
    }
    return 4;
}

static const struct {
    uint8_t code;
    bool is_of_dvd;
    page_fn *fill;
} pages[] = {
    { 0x00, true, page_list },
    { 0x80, true, page_serial },
    { 0x83, true, page_identification },
    { 0xb0, false, page_limits },
    { 0xb1, false, page_characteristics },
    { 0xb2, false, page_provisioning },
};

static unsigned page_list(const struct scsi_unit *unit, uint8_t *at)
{
    unsigned n = 0;

    for (unsigned i = 0; i < HV_ARRAY_SIZE(pages); i++)
        if (pages[i].is_of_dvd || unit->kind == STORVSP_DISK)
            at[n++] = pages[i].code;
    return n;
}

static void answer_page(struct scsi_task *task)
{
    uint8_t out[128] = { 0 };
    unsigned bytes;

    for (unsigned i = 0; i < HV_ARRAY_SIZE(pages); i++) {
        if (pages[i].code != task->cdb[2] ||
            (!pages[i].is_of_dvd && task->unit->kind != STORVSP_DISK))
            continue;
        out[0] = type_of(task->unit);
        out[1] = pages[i].code;
        bytes = pages[i].fill(task->unit, out + 4);
        scsi_put16(out + 2, (uint16_t)bytes);
        scsi_answer(task, out, 4 + bytes, scsi_get16(task->cdb + 3));
        return;
    }
    scsi_fail_cdb(task, 2);
}

void scsi_inquiry(struct scsi_task *task)
{
    enum { EVPD = 1 };

    if (!task->unit)
        answer_standard(task); /* also where a page is asked for: nobody is there is the answer */
    else if (task->cdb[1] & EVPD)
        answer_page(task);
    else if (task->cdb[2])
        scsi_fail_cdb(task, 2);
    else
        answer_standard(task);
}
