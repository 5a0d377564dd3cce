/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The power goes at every point: the file then has all that was synced and any part of the rest,
 * in sectors. It must open, be free of problems, and each sector be what the last flush made
 * durable or something written after it.
 */
#include "tests/lib/cmocka.h"
#include "tests/lib/fake_disk.h"

#include "vmwp/blk/work_priv.h"

#include <string.h>

enum { MIB = 1 << 20, STEPS = 60, NOTES_MAX = STEPS + 1 };

struct noted {
    struct fake_step step;
    size_t began, ended; /* of the file's changes */
};

struct story {
    struct fake_disk fake;
    struct fake_file *start; /* the top file as it was */
    struct noted notes[NOTES_MAX];
    unsigned n_notes;
    uint32_t *durable; /* numbers at the last flush before the cut */
};

struct row {
    const char *name;
    struct blk_create_options options;
    bool has_parent, has_no_holes;
};

static const struct row rows[] = {
    { "VHDX dynamic", { BLK_FORMAT_VHDX, BLK_KIND_DYNAMIC, 5 * MIB, MIB }, false, false },
    { "VHDX dynamic, no holes", { BLK_FORMAT_VHDX, BLK_KIND_DYNAMIC, 5 * MIB, MIB }, false, true },
    { "VHD dynamic", { BLK_FORMAT_VHD, BLK_KIND_DYNAMIC, 5 * MIB, MIB }, false, false },
    { "VHD child", { BLK_FORMAT_VHD, BLK_KIND_DYNAMIC, 5 * MIB, MIB }, true, false },
    { "VHDX child", { BLK_FORMAT_VHDX, BLK_KIND_DYNAMIC, 5 * MIB, MIB }, true, false },
};

/* The closed image is compacted and grown, its table moving; what it says stays. */
static void work_at_rest(struct story *story)
{
    struct fake_file *top = story->fake.files[0];
    enum blk_format format = story->fake.format;
    uint64_t bytes = format == BLK_FORMAT_VHD ? UINT64_C(300) << 20 : UINT64_C(140) << 30;
    struct blk_file file;

    story->notes[story->n_notes++] = (struct noted){ .step = { .kind = STEP_FLUSH },
                                                     .began = top->n_changes,
                                                     .ended = top->n_changes };
    assert_int_equal(fake_file_open(top, "compacted", &file), 0);
    assert_int_equal(blk_compact_file(&file, format, BLK_COMPACT_FULL, NULL, NULL), 0);
    assert_int_equal(blk_resize_file(&file, format, bytes, NULL, NULL), 0);
    blk_file_release(&file);
}

static void tell(struct story *story, const struct row *row, uint64_t *seed)
{
    struct fake_disk *fake = &story->fake;
    struct fake_file *top = fake_file_new(), *parent = NULL;

    fake->format = row->options.format;
    if (row->has_parent) {
        struct fake_step step = { .kind = STEP_WRITE, .sector = 100, .n_sectors = 5000, .tag = 7 };

        parent = fake_file_new();
        fake_disk_create(parent, &row->options, NULL);
        fake->files[0] = parent;
        fake->n_files = 1;
        fake_disk_open(fake, 0);
        assert_int_equal(fake_disk_do(fake, &step), 0);
        fake_disk_note(fake, &step);
        fake_disk_close(fake);
    }
    fake_disk_create(top, &row->options, parent);
    fake->files[0] = top;
    fake->files[1] = parent;
    fake->n_files = parent ? 2 : 1;
    fake->next_tag = 100;
    story->start = fake_file_copy(top);
    top->is_recording = true;
    top->has_zero = !row->has_no_holes;
    fake_disk_open(fake, 0);
    story->durable = malloc(fake->n_sectors * sizeof(uint32_t));
    assert_non_null(story->durable);
    memcpy(story->durable, fake->tags, fake->n_sectors * sizeof(uint32_t));
    for (story->n_notes = 0; story->n_notes < STEPS; story->n_notes++) {
        struct noted *note = &story->notes[story->n_notes];

        note->step = fake_disk_step(fake, seed);
        note->began = top->n_changes;
        assert_int_equal(fake_disk_do(fake, &note->step), 0);
        note->ended = top->n_changes;
    }
    fake_disk_close(fake);
    work_at_rest(story);
}

/* What every sector may be: durable, or what a later step made of it. */
static bool is_allowed(const struct story *story, uint64_t sector, uint32_t tag, unsigned first,
                       size_t cut)
{
    if (tag == story->durable[sector])
        return true;
    for (unsigned i = first; i < story->n_notes && story->notes[i].began < cut; i++) {
        const struct fake_step *step = &story->notes[i].step;

        if (step->kind != STEP_FLUSH && sector >= step->sector &&
            sector < step->sector + step->n_sectors && tag == step->tag)
            return true;
    }
    return false;
}

/* Bring `durable` up to the last flush that had ended at the cut; the first step after it. A
 * discarded sector may be zero or old for ever, and is left out by taking the number it has not. */
static unsigned settle(struct story *story, size_t cut, bool *is_open)
{
    unsigned first = 0;

    for (unsigned i = 0; i < story->n_notes && story->notes[i].ended <= cut; i++)
        if (story->notes[i].step.kind == STEP_FLUSH)
            first = i + 1;
    memset(is_open, 0, story->fake.n_sectors);
    memcpy(story->durable, story->fake.tags, story->fake.n_sectors * sizeof(uint32_t));
    for (unsigned i = 0; i < story->n_notes && story->notes[i].ended <= cut; i++) {
        const struct fake_step *step = &story->notes[i].step;

        if (step->kind == STEP_FLUSH || (i >= first && step->kind != STEP_FUA))
            continue;
        for (uint64_t s = step->sector; s < step->sector + step->n_sectors; s++) {
            is_open[s] = step->kind == STEP_DISCARD;
            story->durable[s] = step->kind == STEP_DISCARD ? 0 : step->tag;
        }
    }
    return first;
}

static void verify(struct story *story, struct fake_file *crashed, size_t cut)
{
    struct fake_disk after = { .format = story->fake.format };
    bool *is_open = calloc(story->fake.n_sectors, sizeof(bool));
    uint32_t *found = calloc(story->fake.n_sectors, sizeof(uint32_t));
    unsigned first = settle(story, cut, is_open);

    assert_true(is_open && found);
    after.files[0] = crashed;
    after.files[1] = story->fake.files[1];
    after.n_files = story->fake.n_files;
    fake_disk_open(&after, BLK_OPEN_READ_ONLY); /* reads as it will be, and changes nothing */
    after.n_sectors = story->fake.n_sectors;    /* it may have grown since */
    fake_disk_read(&after, 0, after.n_sectors, found);
    fake_disk_close(&after);
    for (uint64_t s = 0; s < after.n_sectors; s++)
        if (!is_open[s] && !is_allowed(story, s, found[s], first, cut))
            fail_msg("cut at %zu: sector %lu is %u, was %u", cut, s, found[s], story->durable[s]);
    free(after.tags);
    after.tags = found;
    fake_disk_open(&after, 0); /* and for writing, and says the same */
    fake_disk_compare(&after);
    fake_disk_close(&after);
    if (fake_disk_check(crashed, after.format) != 0)
        fail_msg("cut at %zu: problems remain", cut);
    free(found);
    free(is_open);
}

static void cut_everywhere(struct story *story, uint64_t *seed)
{
    struct fake_file *top = story->fake.files[0];
    struct fake_file *durable = fake_file_copy(story->start);
    size_t synced = 0;

    for (size_t cut = 0; cut <= top->n_changes; cut++) {
        struct fake_file *crashed;

        if (cut > 0 && top->changes[cut - 1].kind == FAKE_SYNC)
            for (; synced < cut; synced++)
                fake_file_apply(durable, &top->changes[synced]);
        crashed = fake_file_copy(durable);
        for (size_t i = synced; i < cut; i++)
            fake_file_apply_torn(crashed, &top->changes[i], seed);
        verify(story, crashed, cut);
        fake_file_free(crashed);
    }
    fake_file_free(durable);
}

static void every_cut_leaves_a_whole_image(void **state)
{
    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        for (uint64_t seed = 1; seed < 3; seed++) {
            uint64_t random = seed * 0x9e3779b97f4a7c15;
            struct story story = { 0 };
            uint32_t *before;

            print_message("%s, seed %lu\n", rows[i].name, seed);
            tell(&story, &rows[i], &random);
            before = story.fake.tags; /* numbers as they were before the first step */
            cut_everywhere(&story, &random);
            assert_ptr_equal(before, story.fake.tags);
            fake_file_free(story.start);
            free(story.durable);
            fake_disk_fini(&story.fake);
        }
    }
}

/* The n-th write, sync or change of length fails, and all after it for a while. */
struct failing {
    struct story story;
    bool *is_open;
    bool is_failed[STEPS];
    unsigned first; /* step after the last flush that went well */
};

static void settle_flushed(struct failing *f, unsigned end)
{
    for (unsigned i = f->first; i < end; i++) {
        const struct fake_step *step = &f->story.notes[i].step;

        if (step->kind == STEP_FLUSH)
            continue;
        for (uint64_t s = step->sector; s < step->sector + step->n_sectors; s++) {
            f->is_open[s] = step->kind == STEP_DISCARD || f->is_failed[i];
            f->story.durable[s] = step->tag;
        }
    }
    f->first = end;
}

static void run_failing(struct failing *f, int *left, int n, uint64_t *seed)
{
    struct fake_disk *fake = &f->story.fake;

    *left = n;
    for (unsigned i = 0; i < STEPS; i++) {
        struct noted *note = &f->story.notes[i];
        int r;

        note->step = fake_disk_step(fake, seed);
        note->began = 0;
        if (i == STEPS - 10)
            *left = -1; /* the host is well again; the disk may remain failed */
        r = fake_disk_do(fake, &note->step);
        f->is_failed[i] = r < 0;
        f->story.n_notes = i + 1;
        if (r == 0 && note->step.kind == STEP_FLUSH)
            settle_flushed(f, i + 1);
    }
    *left = -1;
    fake_disk_close(fake);
}

static void tell_failing(const struct failing *f, uint64_t sector, uint32_t tag)
{
    for (unsigned i = 0; i < f->story.n_notes; i++) {
        const struct fake_step *step = &f->story.notes[i].step;

        if (step->kind == STEP_FLUSH ||
            (sector >= step->sector && sector < step->sector + step->n_sectors))
            print_message("%u: kind %d, number %u%s\n", i, (int)step->kind, step->tag,
                          f->is_failed[i] ? ", failed" : "");
    }
    fail_msg("sector %lu is %u, was %u", sector, tag, f->story.durable[sector]);
}

static void verify_failing(struct failing *f)
{
    struct fake_disk *fake = &f->story.fake;
    uint32_t *found = calloc(fake->n_sectors, sizeof(*found));

    assert_non_null(found);
    fake_disk_open(fake, 0);
    fake_disk_read(fake, 0, fake->n_sectors, found);
    fake_disk_close(fake);
    for (uint64_t s = 0; s < fake->n_sectors; s++)
        if (!f->is_open[s] && !is_allowed(&f->story, s, found[s], f->first, 1))
            tell_failing(f, s, found[s]);
    free(found);
    assert_int_equal(fake_disk_check(fake->files[0], fake->format), 0);
}

static void fail_at(const struct row *row, unsigned what, int n)
{
    struct failing f = { .story.fake = { .format = row->options.format, .n_files = 1 } };
    struct fake_disk *fake = &f.story.fake;
    uint64_t seed = 0x51ed2701 + (unsigned)n;
    struct fake_file *top;

    fake->files[0] = fake_file_new();
    fake_disk_create(fake->files[0], &row->options, NULL);
    if (row->has_parent) {
        fake->files[1] = fake->files[0];
        fake->files[0] = fake_file_new();
        fake_disk_create(fake->files[0], &row->options, fake->files[1]);
        fake->n_files = 2;
    }
    top = fake->files[0];
    top->has_zero = !row->has_no_holes;
    top->failure = n % 2 ? -EIO : -ENOSPC;
    fake_disk_open(fake, 0);
    f.is_open = calloc(fake->n_sectors, sizeof(bool));
    f.story.durable = calloc(fake->n_sectors, sizeof(uint32_t));
    assert_true(f.is_open && f.story.durable);
    run_failing(&f,
                what == 0   ? &top->writes_left
                : what == 1 ? &top->syncs_left
                            : &top->truncates_left,
                n, &seed);
    verify_failing(&f);
    free(f.is_open);
    free(f.story.durable);
    fake_disk_fini(fake);
}

static void whatever_fails_flushed_data_is_there(void **state)
{
    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        print_message("%s\n", rows[i].name);
        for (int n = 0; n < 70; n++)
            fail_at(&rows[i], 0, n);
        for (int n = 0; n < 24; n++)
            fail_at(&rows[i], 1, n);
        for (int n = 0; n < 6; n++)
            fail_at(&rows[i], 2, n);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_leaves_a_whole_image),
        cmocka_unit_test(whatever_fails_flushed_data_is_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
