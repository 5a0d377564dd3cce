/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The power goes at every point: the file then has all that was synced and any part of the rest,
 * in sectors. It must open, be free of problems, and each sector be what the last flush made
 * durable or something written after it.
 */
#include "tests/lib/cmocka.h"
#include "tests/lib/fake_disk.h"

#include <string.h>

enum { MIB = 1 << 20, STEPS = 60 };

struct noted {
    struct fake_step step;
    size_t began, ended; /* of the file's changes */
};

struct story {
    struct fake_disk fake;
    struct fake_file *start; /* the top file as it was */
    struct noted notes[STEPS];
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_leaves_a_whole_image),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
