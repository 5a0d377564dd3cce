/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands, those of every day first. Usage is the CDB with a one for each bit that is looked
 * at, after the opcode (and service action) itself.
 *
 * spec: SPC-4, SBC-3 and MMC-6, tables of commands
 */
#include "vmwp/vsp/storvsp/scsi_priv.h"

enum {
    ALWAYS = SCSI_IGNORES_ATTENTION,
    MEDIUM = SCSI_NEEDS_MEDIUM,
    WRITE = SCSI_NEEDS_MEDIUM | SCSI_WRITES,
    DISCARD = SCSI_NEEDS_MEDIUM | SCSI_WRITES | SCSI_NEEDS_DISCARD
};

#define U10 "\xff\xff\xff\xff\x00\xff\xff\x04"
#define U12 "\xff\xff\xff\xff\xff\xff\xff\xff\x00\x04"
#define U16 "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x04"

/* clang-format off */
const struct scsi_command scsi_commands[] = {
    { 0x28, -1, 10, SCSI_DATA, MEDIUM, "READ(10)", "\x28\xf8" U10, scsi_read10, scsi_read10 },
    { 0x2a, -1, 10, SCSI_DATA, WRITE, "WRITE(10)", "\x2a\xf8" U10, scsi_write10, NULL },
    { 0x88, -1, 16, SCSI_DATA, MEDIUM, "READ(16)", "\x88\xf8" U16, scsi_read16, NULL },
    { 0x8a, -1, 16, SCSI_DATA, WRITE, "WRITE(16)", "\x8a\xf8" U16, scsi_write16, NULL },
    { 0x35, -1, 10, SCSI_WAITING, MEDIUM, "SYNCHRONIZE CACHE(10)", "\x35\x02" U10,
      scsi_synchronize_cache10, NULL },
    { 0x91, -1, 16, SCSI_WAITING, MEDIUM, "SYNCHRONIZE CACHE(16)", "\x91\x02" U16,
      scsi_synchronize_cache16, NULL },
    { 0x42, -1, 10, SCSI_WAITING, DISCARD, "UNMAP", "\x42\x01\x00\x00\x00\x00\x00\xff\xff\x04",
      scsi_unmap, NULL },
    { 0x00, -1, 6, SCSI_QUICK, MEDIUM, "TEST UNIT READY", "\x00\x00\x00\x00\x00\x04",
      scsi_test_unit_ready, scsi_test_unit_ready },
    { 0x03, -1, 6, SCSI_QUICK, ALWAYS, "REQUEST SENSE", "\x03\x01\x00\x00\xff\x04",
      scsi_request_sense, scsi_request_sense },
    { 0x12, -1, 6, SCSI_QUICK, ALWAYS, "INQUIRY", "\x12\x01\xff\xff\xff\x04",
      scsi_inquiry, scsi_inquiry },
    { 0xa0, -1, 12, SCSI_QUICK, ALWAYS, "REPORT LUNS",
      "\xa0\x00\xff\x00\x00\x00\xff\xff\xff\xff\x00\x04", scsi_report_luns, scsi_report_luns },
    { 0x1a, -1, 6, SCSI_QUICK, 0, "MODE SENSE(6)", "\x1a\x08\xff\xff\xff\x04",
      scsi_mode_sense6, scsi_mode_sense6 },
    { 0x5a, -1, 10, SCSI_QUICK, 0, "MODE SENSE(10)", "\x5a\x18\xff\xff\x00\x00\x00\xff\xff\x04",
      scsi_mode_sense10, scsi_mode_sense10 },
    { 0xa3, 0x0c, 12, SCSI_QUICK, 0, "REPORT SUPPORTED OPERATION CODES",
      "\xa3\x0c\x87\xff\xff\xff\xff\xff\xff\xff\x00\x04", scsi_report_opcodes,
      scsi_report_opcodes },
    { 0x25, -1, 10, SCSI_QUICK, MEDIUM, "READ CAPACITY(10)",
      "\x25\x00\xff\xff\xff\xff\x00\x00\x01\x04", scsi_read_capacity10, scsi_read_capacity10 },
    { 0x9e, 0x10, 16, SCSI_QUICK, MEDIUM, "READ CAPACITY(16)",
      "\x9e\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x04", scsi_read_capacity16,
      NULL },
    { 0x08, -1, 6, SCSI_DATA, MEDIUM, "READ(6)", "\x08\x1f\xff\xff\xff\x04", scsi_read6, NULL },
    { 0x0a, -1, 6, SCSI_DATA, WRITE, "WRITE(6)", "\x0a\x1f\xff\xff\xff\x04", scsi_write6, NULL },
    { 0xa8, -1, 12, SCSI_DATA, MEDIUM, "READ(12)", "\xa8\xf8" U12, scsi_read12, scsi_read12 },
    { 0xaa, -1, 12, SCSI_DATA, WRITE, "WRITE(12)", "\xaa\xf8" U12, scsi_write12, NULL },
    { 0x2e, -1, 10, SCSI_WAITING, WRITE, "WRITE AND VERIFY(10)", "\x2e\xf2" U10,
      scsi_write_verify10, NULL },
    { 0x8e, -1, 16, SCSI_WAITING, WRITE, "WRITE AND VERIFY(16)", "\x8e\xf2" U16,
      scsi_write_verify16, NULL },
    { 0x2f, -1, 10, SCSI_QUICK, MEDIUM, "VERIFY(10)", "\x2f\xf6" U10, scsi_verify10,
      scsi_verify10 },
    { 0xaf, -1, 12, SCSI_QUICK, MEDIUM, "VERIFY(12)", "\xaf\xf6" U12, scsi_verify12, NULL },
    { 0x8f, -1, 16, SCSI_QUICK, MEDIUM, "VERIFY(16)", "\x8f\xf6" U16, scsi_verify16, NULL },
    { 0x41, -1, 10, SCSI_WAITING, WRITE, "WRITE SAME(10)", "\x41\xf8" U10, scsi_write_same10,
      NULL },
    { 0x93, -1, 16, SCSI_WAITING, WRITE, "WRITE SAME(16)", "\x93\xf9" U16, scsi_write_same16,
      NULL },
    { 0x1b, -1, 6, SCSI_WAITING, 0, "START STOP UNIT", "\x1b\x01\x00\x0f\xf7\x04",
      scsi_disk_start_stop, scsi_dvd_start_stop },
    { 0x1e, -1, 6, SCSI_QUICK, 0, "PREVENT ALLOW MEDIUM REMOVAL", "\x1e\x00\x00\x00\x03\x04",
      NULL, scsi_prevent_allow },
    { 0x43, -1, 10, SCSI_QUICK, MEDIUM, "READ TOC/PMA/ATIP",
      "\x43\x02\x0f\x00\x00\x00\xff\xff\xff\xc4", NULL, scsi_read_toc },
    { 0x46, -1, 10, SCSI_QUICK, ALWAYS, "GET CONFIGURATION",
      "\x46\x03\xff\xff\x00\x00\x00\xff\xff\x04", NULL, scsi_get_configuration },
    { 0x4a, -1, 10, SCSI_QUICK, ALWAYS, "GET EVENT STATUS NOTIFICATION",
      "\x4a\x01\x00\x00\xff\x00\x00\xff\xff\x04", NULL, scsi_get_event_status },
    { 0x51, -1, 10, SCSI_QUICK, MEDIUM, "READ DISC INFORMATION",
      "\x51\x07\x00\x00\x00\x00\x00\xff\xff\x04", NULL, scsi_read_disc_info },
    { 0x52, -1, 10, SCSI_QUICK, MEDIUM, "READ TRACK INFORMATION",
      "\x52\x03\xff\xff\xff\xff\x00\xff\xff\x04", NULL, scsi_read_track_info },
    { 0xbd, -1, 12, SCSI_QUICK, 0, "MECHANISM STATUS",
      "\xbd\x00\x00\x00\x00\x00\x00\x00\xff\xff\x00\x04", NULL, scsi_mechanism_status },
};
/* clang-format on */
const unsigned scsi_n_commands = HV_ARRAY_SIZE(scsi_commands);
