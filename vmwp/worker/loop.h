/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's one I/O loop, and wp_post(), the only way from another thread to it.
 *
 * A task is embedded in whatever it concerns and queued at most once at a time, so posting neither
 * allocates nor blocks beyond a short lock: a chip may do it on a VP thread.
 */
#pragma once

#include "hvcore/base/list.h"

#include <pthread.h>
#include <uv.h>

struct wp_loop;

struct wp_task {
    /* private; lock: loop->lock */
    struct hv_list node;
    bool is_queued;
    void (*run)(void *opaque);
    void *opaque;
};

struct wp_loop {
    /* read only; owner: the io thread */
    uv_loop_t uv;
    /* private */
    pthread_t thread;
    uv_async_t wake;
    pthread_mutex_t lock;
    struct hv_list tasks;
};

/* Returns 0 or a negative errno. The calling thread is the io thread. */
int wp_loop_init(struct wp_loop *loop);
/* Close what is left in the loop; tasks still queued are forgotten. */
void wp_loop_fini(struct wp_loop *loop);

/* Run until wp_loop_stop. */
void wp_loop_run(struct wp_loop *loop);
void wp_loop_stop(struct wp_loop *loop);

/* Prepare a task that is in no loop. */
void wp_task_init(struct wp_task *task, void (*run)(void *opaque), void *opaque);

/* Run task->run(task->opaque) once on the io thread, soon. Does nothing when it is already queued.
 * Any thread. */
void wp_post(struct wp_loop *loop, struct wp_task *task);

/* Take a task back; io thread. It doesn't run any more unless posted again. */
void wp_task_withdraw(struct wp_loop *loop, struct wp_task *task);

/* Is the calling thread the io thread? */
bool wp_loop_is_mine(const struct wp_loop *loop);
#define wp_assert_io(loop) hv_assert(wp_loop_is_mine(loop))
