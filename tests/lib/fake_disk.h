/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk over fake files beside what it ought to say: a number for each sector, which is what the
 * sector is filled with.
 */
#pragma once

#include "tests/lib/fake_file.h"

#include "vmwp/blk/chain_priv.h"

enum { FAKE_SECTOR = 512, FAKE_CHAIN_MAX = 12 };

struct fake_disk {
    enum blk_format format;
    struct fake_file *files[FAKE_CHAIN_MAX]; /* the top one first; the caller's */
    unsigned n_files;
    struct blk_disk *disk;
    uint64_t n_sectors;
    uint32_t *tags;
    uint32_t next_tag;
};

/* Make an image in `file`; parent: NULL, or the file its parent is in. */
void fake_disk_create(struct fake_file *file, const struct blk_create_options *options,
                      struct fake_file *parent);
/* Open the chain; asserts that it opens. */
void fake_disk_open(struct fake_disk *fake, unsigned flags);
int fake_disk_try_open(struct fake_disk *fake, unsigned flags, struct hv_error **reterr);
void fake_disk_close(struct fake_disk *fake);
/* Release the model, and files too. */
void fake_disk_fini(struct fake_disk *fake);

struct fake_step {
    enum { STEP_WRITE, STEP_ZERO, STEP_DISCARD, STEP_FLUSH, STEP_FUA } kind;
    uint64_t sector, n_sectors;
    uint32_t tag;
};

/* A random step; ranges are short, now and then long. */
struct fake_step fake_disk_step(struct fake_disk *fake, uint64_t *seed);
/* Do it to the disk alone; what the disk said. */
int fake_disk_do(struct fake_disk *fake, const struct fake_step *step);
/* And to the model. After a discard the model takes what the disk reads, zeroes or the old. */
void fake_disk_note(struct fake_disk *fake, const struct fake_step *step);

/* Read n sectors and give their numbers; asserts that every sector is of one number. */
void fake_disk_read(struct fake_disk *fake, uint64_t sector, uint64_t n, uint32_t *ret);
/* Asserts that the disk says what the model says. */
void fake_disk_compare(struct fake_disk *fake);

/* Problems a strict check finds in a file; printed. */
unsigned fake_disk_check(struct fake_file *file, enum blk_format format);
