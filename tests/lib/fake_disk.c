/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fake_disk.h"

#include "tests/lib/cmocka.h"
#include "vmwp/blk/check_priv.h"

#include <stdio.h>
#include <string.h>

void fake_disk_create(struct fake_file *file, const struct blk_create_options *options,
                      struct fake_file *parent)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct blk_report report = { .path = "made", .reterr = &error };
    struct blk_create_options o = *options;
    struct blk_layer *layer = NULL;
    struct blk_file f;
    int r;

    if (parent) {
        assert_int_equal(fake_file_open(parent, "parent", &f), 0);
        r = blk_layer_open(&f, o.format, BLK_OPEN_READ_ONLY, &report, &layer);
        if (r < 0)
            fail_msg("%s", hv_error_message(error, r));
        o.parent = &layer->probe;
        o.parent_relative = "parent.img";
        o.kind = BLK_KIND_DIFFERENCING;
    }
    assert_int_equal(fake_file_open(file, "made", &f), 0);
    r = blk_create(&f, &o, &report);
    if (r < 0)
        fail_msg("%s", hv_error_message(error, r));
    blk_file_release(&f);
    blk_layer_free(layer);
}

int fake_disk_try_open(struct fake_disk *fake, unsigned flags, struct hv_error **reterr)
{
    struct blk_file files[FAKE_CHAIN_MAX];
    enum blk_format formats[FAKE_CHAIN_MAX];
    int r;

    for (unsigned i = 0; i < fake->n_files; i++) {
        char name[32];

        (void)snprintf(name, sizeof(name), "file%u", i);
        assert_int_equal(fake_file_open(fake->files[i], name, &files[i]), 0);
        formats[i] = fake->format;
    }
    r = blk_disk_open_files(files, formats, fake->n_files, flags, &fake->disk, reterr);
    for (unsigned i = 0; r < 0 && i < fake->n_files; i++)
        blk_file_release(&files[i]);
    return r;
}

void fake_disk_open(struct fake_disk *fake, unsigned flags)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    int r = fake_disk_try_open(fake, flags, &error);
    struct blk_info info;

    if (r < 0)
        fail_msg("%s", hv_error_message(error, r));
    blk_disk_get_info(fake->disk, &info);
    if (!fake->tags) {
        fake->n_sectors = info.bytes / FAKE_SECTOR;
        fake->tags = calloc(fake->n_sectors, sizeof(*fake->tags));
        assert_non_null(fake->tags);
    }
}

void fake_disk_close(struct fake_disk *fake)
{
    fake->disk = blk_disk_close(fake->disk);
}

void fake_disk_fini(struct fake_disk *fake)
{
    fake_disk_close(fake);
    for (unsigned i = 0; i < fake->n_files; i++)
        fake_file_free(fake->files[i]);
    free(fake->tags);
    *fake = (struct fake_disk){ 0 };
}

struct fake_step fake_disk_step(struct fake_disk *fake, uint64_t *seed)
{
    static const struct {
        unsigned below;
        unsigned kind;
    } rows[] = { { 60, STEP_WRITE }, { 68, STEP_FUA }, { 80, STEP_ZERO }, { 90, STEP_DISCARD } };
    struct fake_step step = { .kind = STEP_FLUSH };
    unsigned chance = fake_random(seed) % 100;
    struct blk_info info;
    uint64_t unit;

    blk_disk_get_info(fake->disk, &info);
    unit = info.logical_bytes / FAKE_SECTOR;
    for (unsigned i = HV_ARRAY_SIZE(rows); i-- > 0;)
        if (chance < rows[i].below)
            step.kind = rows[i].kind;
    step.sector = fake_random(seed) % (fake->n_sectors / unit) * unit;
    step.n_sectors = (1 + fake_random(seed) % (fake_random(seed) % 8 ? 100 : 5000)) * unit;
    if (fake_random(seed) % 4 == 0) { /* whole MiB, so that blocks come and go */
        step.sector &= ~UINT64_C(2047);
        step.n_sectors = 2048 * (1 + fake_random(seed) % 2);
    }
    if (step.n_sectors > fake->n_sectors - step.sector)
        step.n_sectors = fake->n_sectors - step.sector;
    if (step.kind == STEP_WRITE || step.kind == STEP_FUA)
        step.tag = ++fake->next_tag;
    return step;
}

int fake_disk_do(struct fake_disk *fake, const struct fake_step *step)
{
    uint64_t offset = step->sector * FAKE_SECTOR, bytes = step->n_sectors * FAKE_SECTOR;
    uint32_t *data;
    struct iovec iov;
    int r;

    switch (step->kind) {
    case STEP_ZERO: return blk_disk_zero(fake->disk, offset, bytes);
    case STEP_DISCARD: return blk_disk_discard(fake->disk, offset, bytes);
    case STEP_FLUSH: return blk_disk_flush(fake->disk);
    case STEP_WRITE:
    case STEP_FUA: break;
    }
    data = malloc(bytes);
    assert_non_null(data);
    for (uint64_t i = 0; i < bytes / 4; i++)
        data[i] = step->tag;
    iov = (struct iovec){ .iov_base = data, .iov_len = bytes };
    r = blk_disk_write(fake->disk, offset, &iov, 1, step->kind == STEP_FUA);
    free(data);
    return r;
}

void fake_disk_note(struct fake_disk *fake, const struct fake_step *step)
{
    hv_autofree uint32_t *found = NULL;

    if (step->kind == STEP_FLUSH)
        return;
    if (step->kind == STEP_DISCARD) {
        found = calloc(step->n_sectors, sizeof(*found));
        assert_non_null(found);
        fake_disk_read(fake, step->sector, step->n_sectors, found);
    }
    for (uint64_t i = 0; i < step->n_sectors; i++) {
        uint32_t *tag = &fake->tags[step->sector + i];

        if (found && found[i] != 0 && found[i] != *tag)
            fail_msg("sector %lu: %u after a discard of %u", step->sector + i, found[i], *tag);
        *tag = found ? found[i] : step->tag;
    }
}

void fake_disk_read(struct fake_disk *fake, uint64_t sector, uint64_t n, uint32_t *ret)
{
    uint32_t *data = malloc(n * FAKE_SECTOR);
    struct iovec iov = { .iov_base = data, .iov_len = n * FAKE_SECTOR };

    assert_non_null(data);
    assert_int_equal(blk_disk_read(fake->disk, sector * FAKE_SECTOR, &iov, 1), 0);
    for (uint64_t i = 0; i < n; i++) {
        const uint32_t *at = data + i * FAKE_SECTOR / 4;

        ret[i] = at[0];
        for (unsigned j = 1; j < FAKE_SECTOR / 4; j++)
            if (at[j] != at[0])
                fail_msg("sector %lu is torn: %u and %u", sector + i, at[0], at[j]);
    }
    free(data);
}

void fake_disk_compare(struct fake_disk *fake)
{
    uint32_t found[2048];

    for (uint64_t at = 0; at < fake->n_sectors; at += 2048) {
        uint64_t n = fake->n_sectors - at < 2048 ? fake->n_sectors - at : 2048;

        fake_disk_read(fake, at, n, found);
        for (uint64_t i = 0; i < n; i++)
            if (found[i] != fake->tags[at + i])
                fail_msg("sector %lu is %u and ought to be %u", at + i, found[i],
                         fake->tags[at + i]);
    }
}

static void print_problem(void *opaque, const char *code, const char *sentence)
{
    print_message("%s: %s\n", code, sentence);
}

unsigned fake_disk_check(struct fake_file *file, enum blk_format format)
{
    struct blk_check_result result;
    struct blk_file f;

    assert_int_equal(fake_file_open(file, "checked", &f), 0);
    assert_int_equal(blk_check_file(&f, format, print_problem, NULL, &result, NULL), 0);
    blk_file_release(&f);
    return result.n_problems;
}
