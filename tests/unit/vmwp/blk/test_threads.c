/* SPDX-License-Identifier: Apache-2.0 */
/* Many threads on one disk: each has sectors of its own, in blocks that all share. */
#include "tests/lib/cmocka.h"
#include "tests/lib/fake_disk.h"

#include <string.h>

enum { MIB = 1 << 20, THREADS = 6, ROUNDS = 150, SECTORS = 5 * 2048 };

struct worker {
    struct blk_disk *disk;
    unsigned number;
    uint32_t tags[SECTORS]; /* of the sectors whose number modulo THREADS is the worker's */
    uint64_t seed;
    int r;
    unsigned n_wrong;
};

static void change_one(struct worker *w)
{
    uint64_t sector = fake_random(&w->seed) % (SECTORS / THREADS) * THREADS + w->number;
    unsigned what = fake_random(&w->seed) % 16;
    uint32_t data[FAKE_SECTOR / 4], tag = (uint32_t)fake_random(&w->seed) | 1;
    struct iovec iov = { .iov_base = data, .iov_len = sizeof(data) };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(data); i++)
        data[i] = tag;
    if (what < 10) {
        w->r = blk_disk_write(w->disk, sector * FAKE_SECTOR, &iov, 1, what == 0);
        w->tags[sector] = tag;
    } else if (what < 12) {
        w->r = blk_disk_zero(w->disk, sector * FAKE_SECTOR, FAKE_SECTOR);
        w->tags[sector] = 0;
    } else if (what == 12) {
        w->r = blk_disk_flush(w->disk);
    } else {
        w->r = blk_disk_read(w->disk, sector * FAKE_SECTOR, &iov, 1);
        w->n_wrong += data[0] != w->tags[sector] || data[127] != w->tags[sector];
    }
}

static void *work(void *opaque)
{
    struct worker *w = opaque;

    for (unsigned i = 0; w->r == 0 && i < ROUNDS; i++)
        change_one(w);
    return NULL;
}

/* Drops and refills blocks that nobody else uses, so that space changes hands meanwhile. */
static void *churn(void *opaque)
{
    static uint32_t data[MIB / 4];
    struct worker *w = opaque;
    struct iovec iov = { .iov_base = data, .iov_len = MIB };
    uint64_t offset = (uint64_t)SECTORS * FAKE_SECTOR;

    for (unsigned i = 0; w->r == 0 && i < 30; i++) {
        w->r = blk_disk_write(w->disk, offset, &iov, 1, false);
        if (w->r == 0)
            w->r = blk_disk_discard(w->disk, offset, MIB);
        if (w->r == 0 && i % 4 == 0)
            w->r = blk_disk_flush(w->disk);
    }
    return NULL;
}

static void run(const struct blk_create_options *options, bool has_parent)
{
    struct worker *workers = calloc(THREADS + 1, sizeof(*workers));
    struct fake_disk fake = { .format = options->format, .n_files = 1 };
    pthread_t threads[THREADS + 1];

    assert_non_null(workers);
    fake.files[0] = fake_file_new();
    fake_disk_create(fake.files[0], options, NULL);
    if (has_parent) {
        fake.files[1] = fake.files[0];
        fake.files[0] = fake_file_new();
        fake_disk_create(fake.files[0], options, fake.files[1]);
        fake.n_files = 2;
    }
    fake_disk_open(&fake, 0);
    for (unsigned i = 0; i <= THREADS; i++) {
        workers[i].disk = fake.disk;
        workers[i].number = i;
        workers[i].seed = 0x1234567 + i;
        assert_int_equal(pthread_create(&threads[i], NULL, i < THREADS ? work : churn, &workers[i]),
                         0);
    }
    for (unsigned i = 0; i <= THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(workers[i].r, 0);
        assert_int_equal(workers[i].n_wrong, 0);
    }
    for (unsigned s = 0; s < SECTORS; s++)
        fake.tags[s] = workers[s % THREADS].tags[s];
    fake_disk_close(&fake);
    fake_disk_open(&fake, BLK_OPEN_READ_ONLY);
    memset(fake.tags + SECTORS, 0, (fake.n_sectors - SECTORS) * sizeof(*fake.tags));
    fake_disk_compare(&fake);
    fake_disk_close(&fake);
    assert_int_equal(fake_disk_check(fake.files[0], fake.format), 0);
    fake_disk_fini(&fake);
    free(workers);
}

static void threads_do_not_disturb_each_other(void **state)
{
    static const struct blk_create_options vhdx = { BLK_FORMAT_VHDX, BLK_KIND_DYNAMIC, 6 * MIB,
                                                    MIB };
    static const struct blk_create_options vhd = { BLK_FORMAT_VHD, BLK_KIND_DYNAMIC, 6 * MIB, MIB };

    for (unsigned has_parent = 0; has_parent < 2; has_parent++) {
        run(&vhdx, has_parent);
        run(&vhd, has_parent);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_do_not_disturb_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
