/* SPDX-License-Identifier: Apache-2.0 */
/* Random changes to a disk and to a model of it: they say the same, before and after reopening. */
#include "tests/lib/cmocka.h"
#include "tests/lib/fake_disk.h"

#include <string.h>

enum { MIB = 1 << 20 };

struct row {
    const char *name;
    struct blk_create_options options;
    unsigned depth; /* images under the top one */
    bool has_no_holes;
};

static const struct row rows[] = {
    { "VHDX dynamic", { BLK_FORMAT_VHDX, BLK_KIND_DYNAMIC, 9 * MIB + 512, MIB }, 0, false },
    { "VHDX dynamic, no holes", { BLK_FORMAT_VHDX, BLK_KIND_DYNAMIC, 9 * MIB, MIB }, 0, true },
    { "VHDX dynamic, 2 MiB",
      { BLK_FORMAT_VHDX, BLK_KIND_DYNAMIC, 9 * MIB + 512, 2 * MIB },
      0,
      false },
    { "VHDX dynamic, 4K", { BLK_FORMAT_VHDX, BLK_KIND_DYNAMIC, 9 * MIB, MIB, 4096 }, 0, false },
    { "VHDX fixed", { BLK_FORMAT_VHDX, BLK_KIND_FIXED, 7 * MIB + 512, MIB }, 0, false },
    { "VHDX child", { BLK_FORMAT_VHDX, BLK_KIND_DYNAMIC, 9 * MIB + 512, MIB }, 1, false },
    { "VHDX child, 4K", { BLK_FORMAT_VHDX, BLK_KIND_DYNAMIC, 9 * MIB, 2 * MIB, 4096 }, 1, true },
    { "VHD dynamic", { BLK_FORMAT_VHD, BLK_KIND_DYNAMIC, 9 * MIB + 512 }, 0, false },
    { "VHD dynamic, small", { BLK_FORMAT_VHD, BLK_KIND_DYNAMIC, 9 * MIB, MIB / 2 }, 0, true },
    { "VHD fixed", { BLK_FORMAT_VHD, BLK_KIND_FIXED, 9 * MIB + 512 }, 0, false },
    { "VHD child", { BLK_FORMAT_VHD, BLK_KIND_DYNAMIC, 9 * MIB + 512 }, 1, false },
    { "VHD chain of ten", { BLK_FORMAT_VHD, BLK_KIND_DYNAMIC, 5 * MIB }, 9, false },
    { "VHDX chain of ten", { BLK_FORMAT_VHDX, BLK_KIND_DYNAMIC, 5 * MIB, MIB }, 9, false },
};

static void change(struct fake_disk *fake, unsigned n_steps, uint64_t *seed)
{
    for (unsigned i = 0; i < n_steps; i++) {
        struct fake_step step = fake_disk_step(fake, seed);

        assert_int_equal(fake_disk_do(fake, &step), 0);
        fake_disk_note(fake, &step);
    }
}

/* A new top image over what is there. */
static void push(struct fake_disk *fake, const struct blk_create_options *options)
{
    struct fake_file *file = fake_file_new();

    fake_disk_create(file, options, fake->n_files ? fake->files[0] : NULL);
    memmove(&fake->files[1], &fake->files[0], fake->n_files * sizeof(fake->files[0]));
    fake->files[0] = file;
    fake->n_files++;
}

static void run_row(const struct row *row, uint64_t seed)
{
    struct fake_disk fake = { .format = row->options.format };

    print_message("%s, seed %lu\n", row->name, seed);
    for (unsigned i = 0; i <= row->depth; i++) {
        push(&fake, &row->options);
        fake.files[0]->has_zero = !row->has_no_holes;
        for (unsigned round = 0; round < 2; round++) {
            fake_disk_open(&fake, 0);
            change(&fake, row->depth > 2 ? 40 : 150, &seed);
            fake_disk_compare(&fake);
            fake_disk_close(&fake);
            assert_int_equal(fake_disk_check(fake.files[0], fake.format), 0);
        }
    }
    fake_disk_open(&fake, BLK_OPEN_READ_ONLY);
    fake_disk_compare(&fake);
    fake_disk_fini(&fake);
}

static void a_disk_says_what_was_written_to_it(void **state)
{
    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++)
        for (uint64_t seed = 1; seed < 4; seed++)
            run_row(&rows[i], seed * 0x9e3779b9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_disk_says_what_was_written_to_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
