/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"
#include "vmwp/blk/commits_priv.h"
#include "vmwp/blk/pieces_priv.h"

#include <errno.h>
#include <unistd.h>

enum { THREADS = 8, ROUNDS = 2000 };

struct world {
    struct blk_commits commits;
    struct blk_file file;
    _Atomic uint64_t n_written; /* what is to be durable */
    uint64_t n_durable;         /* lock: commits */
    unsigned n_commits;
    int result;
};

static int commit(void *opaque)
{
    struct world *w = opaque;
    uint64_t written = w->n_written;

    w->n_commits++;
    if (w->result == 0)
        w->n_durable = written;
    return w->result;
}

static void a_file_that_has_failed_takes_no_commit(void **state)
{
    struct world w = { .file = { .failure = -EIO } };

    blk_commits_init(&w.commits);
    assert_int_equal(blk_commits_do(&w.commits, &w.file, commit, &w), -EIO);
    assert_int_equal(w.n_commits, 0);
    blk_commits_fini(&w.commits);
}

static void a_commit_that_went_wrong_counts_for_nobody(void **state)
{
    struct world w = { .result = -ENOSPC };

    blk_commits_init(&w.commits);
    assert_int_equal(blk_commits_do(&w.commits, &w.file, commit, &w), -ENOSPC);
    w.result = 0;
    assert_int_equal(blk_commits_do(&w.commits, &w.file, commit, &w), 0);
    assert_int_equal(blk_commits_do(&w.commits, &w.file, commit, &w), 0);
    assert_int_equal(w.n_commits, 3); /* alone, each makes its own */
    blk_commits_fini(&w.commits);
}

static void *write_and_commit(void *opaque)
{
    struct world *w = opaque;

    for (int i = 0; i < ROUNDS; i++) {
        uint64_t mine = ++w->n_written;
        bool is_durable;

        if (blk_commits_do(&w->commits, &w->file, commit, w) < 0)
            return w;
        blk_commits_lock(&w->commits);
        is_durable = w->n_durable >= mine;
        blk_commits_unlock(&w->commits);
        if (!is_durable)
            return w;
    }
    return NULL;
}

static void what_was_written_before_the_call_is_durable_after_it(void **state)
{
    struct world w = { .result = 0 };
    pthread_t threads[THREADS];
    void *lost;

    blk_commits_init(&w.commits);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_and_commit, &w), 0);
    for (int i = 0; i < THREADS; i++) {
        (void)pthread_join(threads[i], &lost);
        assert_null(lost);
    }
    assert_true(w.n_commits <= THREADS * ROUNDS);
    blk_commits_fini(&w.commits);
}

struct seen {
    struct blk_piece pieces[4];
    unsigned n, fails_at;
};

static int see(void *opaque, const struct blk_piece *piece)
{
    struct seen *seen = opaque;

    if (seen->n == seen->fails_at)
        return -EIO;
    seen->pieces[seen->n++] = *piece;
    return 0;
}

static void a_range_is_gone_through_block_by_block(void **state)
{
    struct seen seen = { .fails_at = 4 };

    assert_int_equal(blk_pieces_do(10, 7, 0, see, &seen), 0);
    assert_int_equal(seen.n, 0);
    assert_int_equal(blk_pieces_do(10, 7, 15, see, &seen), 0);
    assert_int_equal(seen.n, 3);
    assert_int_equal(seen.pieces[0].block, 0);
    assert_int_equal(seen.pieces[0].in_block, 7);
    assert_int_equal(seen.pieces[0].bytes, 3);
    assert_int_equal(seen.pieces[1].block, 1);
    assert_int_equal(seen.pieces[1].bytes, 10);
    assert_int_equal(seen.pieces[2].in_block, 0);
    assert_int_equal(seen.pieces[2].bytes, 2);
    seen = (struct seen){ .fails_at = 1 };
    assert_int_equal(blk_pieces_do(10, 7, 15, see, &seen), -EIO);
    assert_int_equal(seen.n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_that_has_failed_takes_no_commit),
        cmocka_unit_test(a_commit_that_went_wrong_counts_for_nobody),
        cmocka_unit_test(what_was_written_before_the_call_is_durable_after_it),
        cmocka_unit_test(a_range_is_gone_through_block_by_block),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
