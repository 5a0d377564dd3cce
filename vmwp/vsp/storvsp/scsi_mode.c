/* SPDX-License-Identifier: Apache-2.0 */
/* MODE SENSE. SPC-4 "Mode parameters", SBC-3 "Caching mode page", MMC-6 page 2A. */
#include "vmwp/vsp/storvsp/scsi_priv.h"

#include <string.h>

enum {
    PAGE_CACHING = 0x08,
    PAGE_CONTROL = 0x0a,
    PAGE_CAPABILITIES = 0x2a,
    PAGE_ALL = 0x3f,
    SUBPAGE_ALL = 0xff
};
enum page_control { CURRENT, CHANGEABLE, DEFAULT, SAVED };
enum { WRITE_PROTECTED = 0x80, DPOFUA = 0x10 };

/* Each fills a page of zeroes behind its code and length, and returns its whole size. */
typedef unsigned mode_page_fn(uint8_t *page);

/* What a write leaves in the host's cache is durable after SYNCHRONIZE CACHE. */
static unsigned page_caching(uint8_t *page)
{
    enum { WCE = 4 };

    page[2] = WCE;
    return 20;
}

/* Simple tags may be reordered at will; sense data are of the fixed format. */
static unsigned page_control(uint8_t *page)
{
    enum { UNRESTRICTED_REORDERING = 0x10 };

    page[3] = UNRESTRICTED_REORDERING;
    return 12;
}

/* MMC-3 "MM Capabilities and Mechanical Status Page": a tray drive that reads CD and DVD */
static unsigned page_capabilities(uint8_t *page)
{
    enum { READS_CD = 0x03, READS_DVD = 0x38, MODE_2 = 0x30, TRAY_EJECT_LOCK = 0x29 };
    enum { KILOBYTES_PER_S = 11080 }; /* DVD at 8 times */

    page[2] = READS_CD | READS_DVD;
    page[4] = MODE_2;
    page[6] = TRAY_EJECT_LOCK;
    scsi_put16(page + 8, KILOBYTES_PER_S);
    scsi_put16(page + 14, KILOBYTES_PER_S);
    return 22;
}

static const struct {
    uint8_t code;
    bool is_of_disk;
    bool is_of_dvd;
    mode_page_fn *fill;
} pages[] = {
    { PAGE_CACHING, true, false, page_caching },
    { PAGE_CONTROL, true, true, page_control },
    { PAGE_CAPABILITIES, false, true, page_capabilities },
};

static bool is_wanted(const struct scsi_task *task, unsigned i)
{
    unsigned code = task->cdb[2] & 0x3f, subpage = task->cdb[3];
    bool is_there = task->unit->kind == STORVSP_DISK ? pages[i].is_of_disk : pages[i].is_of_dvd;

    if (subpage && subpage != SUBPAGE_ALL)
        return false;
    return is_there && (code == PAGE_ALL || code == pages[i].code);
}

/* Nothing can be changed: that page is all zeroes. Returns the bytes of all wanted pages. */
static unsigned fill_pages(const struct scsi_task *task, uint8_t *at)
{
    unsigned bytes = 0;

    for (unsigned i = 0; i < HV_ARRAY_SIZE(pages); i++) {
        uint8_t *page = at + bytes;
        unsigned size;

        if (!is_wanted(task, i))
            continue;
        size = pages[i].fill(page);
        if (task->cdb[2] >> 6 == CHANGEABLE)
            memset(page, 0, size);
        page[0] = pages[i].code;
        page[1] = (uint8_t)(size - 2);
        bytes += size;
    }
    return bytes;
}

static uint8_t device_specific(const struct scsi_unit *unit)
{
    if (unit->kind == STORVSP_DVD)
        return 0;
    return DPOFUA | (unit->is_read_only ? WRITE_PROTECTED : 0);
}

/* No block descriptors: they are optional. Returns the bytes of pages behind `head`, 0: failed. */
static unsigned sense(struct scsi_task *task, uint8_t *out, unsigned head)
{
    unsigned bytes;

    if (task->cdb[2] >> 6 == SAVED) {
        scsi_fail(task, SCSI_ILLEGAL_REQUEST, SCSI_ASC_NO_SAVING);
        return 0;
    }
    bytes = fill_pages(task, out + head);
    if (!bytes)
        scsi_fail_cdb(task, 2);
    return bytes;
}

void scsi_mode_sense6(struct scsi_task *task)
{
    uint8_t out[4 + 64] = { 0 };
    unsigned bytes = sense(task, out, 4);

    if (!bytes)
        return;
    out[0] = (uint8_t)(4 + bytes - 1);
    out[2] = device_specific(task->unit);
    scsi_answer(task, out, 4 + bytes, task->cdb[4]);
}

void scsi_mode_sense10(struct scsi_task *task)
{
    uint8_t out[8 + 64] = { 0 };
    unsigned bytes = sense(task, out, 8);

    if (!bytes)
        return;
    scsi_put16(out, (uint16_t)(8 + bytes - 2));
    out[3] = device_specific(task->unit);
    scsi_answer(task, out, 8 + bytes, scsi_get16(task->cdb + 7));
}
