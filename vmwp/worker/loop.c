/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/worker/loop.h"

static struct wp_task *next_task(struct wp_loop *loop)
{
    struct wp_task *task = NULL;

    pthread_mutex_lock(&loop->lock);
    if (!hv_list_is_empty(&loop->tasks)) {
        task = HV_LIST_ENTRY(loop->tasks.next, struct wp_task, node);
        hv_list_remove(&task->node);
        task->is_queued = false;
    }
    pthread_mutex_unlock(&loop->lock);
    return task;
}

/* A turn is bounded by the number of distinct tasks that were queued, so that a guest that keeps
 * posting cannot keep the sockets from being served: what comes meanwhile waits for the next. */
enum { TASKS_PER_TURN = 64 };

static void on_wake(uv_async_t *handle)
{
    struct wp_loop *loop = handle->data;

    for (unsigned i = 0; i < TASKS_PER_TURN; i++) {
        struct wp_task *task = next_task(loop);

        if (!task)
            return;
        task->run(task->opaque);
    }
    (void)uv_async_send(&loop->wake);
}

int wp_loop_init(struct wp_loop *loop)
{
    int r;

    hv_list_init(&loop->tasks);
    r = uv_loop_init(&loop->uv);
    if (r < 0)
        return r;
    r = uv_async_init(&loop->uv, &loop->wake, on_wake);
    if (r < 0) {
        (void)uv_loop_close(&loop->uv);
        return r;
    }
    loop->wake.data = loop;
    loop->thread = pthread_self();
    pthread_mutex_init(&loop->lock, NULL);
    return 0;
}

static void close_handle(uv_handle_t *handle, void *opaque)
{
    (void)opaque;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

void wp_loop_fini(struct wp_loop *loop)
{
    uv_walk(&loop->uv, close_handle, NULL);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop->uv);
    pthread_mutex_destroy(&loop->lock);
}

void wp_loop_run(struct wp_loop *loop)
{
    wp_assert_io(loop);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void wp_loop_stop(struct wp_loop *loop)
{
    uv_stop(&loop->uv);
}

void wp_task_init(struct wp_task *task, void (*run)(void *opaque), void *opaque)
{
    hv_list_init(&task->node);
    task->is_queued = false;
    task->run = run;
    task->opaque = opaque;
}

void wp_post(struct wp_loop *loop, struct wp_task *task)
{
    bool was_queued;

    pthread_mutex_lock(&loop->lock);
    was_queued = task->is_queued;
    if (!was_queued) {
        task->is_queued = true;
        hv_list_append(&loop->tasks, &task->node);
    }
    pthread_mutex_unlock(&loop->lock);
    if (!was_queued)
        (void)uv_async_send(&loop->wake);
}

void wp_task_withdraw(struct wp_loop *loop, struct wp_task *task)
{
    wp_assert_io(loop);
    pthread_mutex_lock(&loop->lock);
    if (task->is_queued) {
        hv_list_remove(&task->node);
        task->is_queued = false;
    }
    pthread_mutex_unlock(&loop->lock);
}

bool wp_loop_is_mine(const struct wp_loop *loop)
{
    return pthread_equal(loop->thread, pthread_self());
}
