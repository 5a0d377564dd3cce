/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "vmwp/worker/loop.h"

enum { N_POSTERS = 4, N_POSTS = 2000 };

struct counter {
    struct wp_loop *loop;
    struct wp_task task;
    _Atomic unsigned posted;
    unsigned seen; /* posts known of when the task last ran */
    unsigned runs;
};

static void count(void *opaque)
{
    struct counter *counter = opaque;

    wp_assert_io(counter->loop);
    counter->runs++;
    counter->seen = counter->posted;
    if (counter->seen == N_POSTERS * N_POSTS)
        wp_loop_stop(counter->loop);
}

static void *post_many(void *opaque)
{
    struct counter *counter = opaque;

    for (unsigned i = 0; i < N_POSTS; i++) {
        counter->posted++;
        wp_post(counter->loop, &counter->task);
    }
    return NULL;
}

/* Posts may melt into one run, but the last one is never lost. */
static void no_post_is_lost(void **state)
{
    pthread_t threads[N_POSTERS];
    struct wp_loop loop;
    struct counter counter = { .loop = &loop };

    (void)state;
    assert_int_equal(wp_loop_init(&loop), 0);
    wp_task_init(&counter.task, count, &counter);
    for (unsigned i = 0; i < N_POSTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, post_many, &counter), 0);
    wp_loop_run(&loop);
    for (unsigned i = 0; i < N_POSTERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(counter.seen, N_POSTERS * N_POSTS);
    assert_in_range(counter.runs, 1, N_POSTERS * N_POSTS);
    wp_loop_fini(&loop);
}

static void run_again(void *opaque)
{
    struct counter *counter = opaque;

    counter->runs++;
    wp_post(counter->loop, &counter->task);
}

static void stop(void *opaque)
{
    struct counter *counter = opaque;

    wp_loop_stop(counter->loop);
}

static void a_task_that_posts_itself_starves_nobody(void **state)
{
    struct wp_loop loop;
    struct counter greedy = { .loop = &loop };
    struct counter other = { .loop = &loop };

    (void)state;
    assert_int_equal(wp_loop_init(&loop), 0);
    wp_task_init(&greedy.task, run_again, &greedy);
    wp_task_init(&other.task, stop, &other);
    wp_post(&loop, &greedy.task);
    wp_post(&loop, &other.task);
    wp_loop_run(&loop);
    assert_in_range(greedy.runs, 1, 1000);
    wp_loop_fini(&loop);
}

static void a_withdrawn_task_does_not_run(void **state)
{
    struct wp_loop loop;
    struct counter withdrawn = { .loop = &loop };
    struct counter other = { .loop = &loop };

    (void)state;
    assert_int_equal(wp_loop_init(&loop), 0);
    wp_task_init(&withdrawn.task, count, &withdrawn);
    wp_task_init(&other.task, stop, &other);
    wp_post(&loop, &withdrawn.task);
    wp_post(&loop, &other.task);
    wp_task_withdraw(&loop, &withdrawn.task);
    wp_loop_run(&loop);
    assert_int_equal(withdrawn.runs, 0);
    wp_loop_fini(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_post_is_lost),
        cmocka_unit_test(a_task_that_posts_itself_starves_nobody),
        cmocka_unit_test(a_withdrawn_task_does_not_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
