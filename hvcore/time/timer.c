/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A binary heap of deadlines under one lock, and a thread that sleeps until the earliest.
 *
 * Arming is cheap because the thread is woken only when a deadline becomes earlier than the one it
 * sleeps for; a disarmed deadline lets it wake for nothing, once.
 */
#include "hvcore/time/timer.h"

#include "hvcore/base/clock.h"

#include <pthread.h>

/* A LAPIC timer and four synthetic ones for each of 64 VPs, and every chip, leave room to spare. */
enum { MAX_ARMED = 1024 };

struct hv_timer_queue {
    pthread_mutex_t lock;
    pthread_cond_t wake;  /* an earlier deadline, or the end */
    pthread_cond_t fired; /* no callback runs */
    pthread_t thread;
    uint64_t sleeps_until; /* 0: awake */
    struct hv_timer *running;
    bool is_ending;
    size_t n_armed;
    struct hv_timer *heap[MAX_ARMED];
};

static void heap_put(struct hv_timer_queue *queue, size_t at, struct hv_timer *timer)
{
    queue->heap[at] = timer;
    timer->heap_index = at;
}

static void sift_up(struct hv_timer_queue *queue, size_t at, struct hv_timer *timer)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;

        if (queue->heap[parent]->deadline_ns <= timer->deadline_ns)
            break;
        heap_put(queue, at, queue->heap[parent]);
        at = parent;
    }
    heap_put(queue, at, timer);
}

static void sift_down(struct hv_timer_queue *queue, size_t at, struct hv_timer *timer)
{
    for (;;) {
        size_t child = at * 2 + 1;

        if (child >= queue->n_armed)
            break;
        if (child + 1 < queue->n_armed &&
            queue->heap[child + 1]->deadline_ns < queue->heap[child]->deadline_ns)
            child++;
        if (timer->deadline_ns <= queue->heap[child]->deadline_ns)
            break;
        heap_put(queue, at, queue->heap[child]);
        at = child;
    }
    heap_put(queue, at, timer);
}

static void heap_remove(struct hv_timer_queue *queue, struct hv_timer *timer)
{
    size_t at = timer->heap_index;
    struct hv_timer *last;

    if (at == SIZE_MAX)
        return;
    timer->heap_index = SIZE_MAX;
    last = queue->heap[--queue->n_armed];
    if (last == timer)
        return;
    if (at > 0 && last->deadline_ns < queue->heap[(at - 1) / 2]->deadline_ns)
        sift_up(queue, at, last);
    else
        sift_down(queue, at, last);
}

static void heap_insert(struct hv_timer_queue *queue, struct hv_timer *timer, uint64_t deadline_ns)
{
    hv_assert(queue->n_armed < MAX_ARMED);
    timer->deadline_ns = deadline_ns;
    sift_up(queue, queue->n_armed++, timer);
    if (deadline_ns < queue->sleeps_until) {
        /* Once is enough, until the thread has looked. */
        queue->sleeps_until = 0;
        (void)pthread_cond_signal(&queue->wake);
    }
}

static void sleep_until(struct hv_timer_queue *queue, uint64_t deadline_ns)
{
    struct timespec until = { .tv_sec = (time_t)(deadline_ns / HV_NS_PER_SEC),
                              .tv_nsec = (long)(deadline_ns % HV_NS_PER_SEC) };

    queue->sleeps_until = deadline_ns;
    if (deadline_ns == UINT64_MAX)
        (void)pthread_cond_wait(&queue->wake, &queue->lock);
    else
        (void)pthread_cond_timedwait(&queue->wake, &queue->lock, &until);
    /* Awake: who arms now needn't wake us. */
    queue->sleeps_until = 0;
}

/* Run the first timer's callback without the lock. */
static void fire_first(struct hv_timer_queue *queue)
{
    struct hv_timer *timer = queue->heap[0];

    heap_remove(queue, timer);
    queue->running = timer;
    (void)pthread_mutex_unlock(&queue->lock);
    timer->fn(timer->opaque);
    (void)pthread_mutex_lock(&queue->lock);
    queue->running = NULL;
    (void)pthread_cond_broadcast(&queue->fired);
}

static void *queue_run(void *opaque)
{
    struct hv_timer_queue *queue = opaque;

    (void)pthread_setname_np(pthread_self(), "timer");
    (void)pthread_mutex_lock(&queue->lock);
    while (!queue->is_ending) {
        uint64_t first = queue->n_armed > 0 ? queue->heap[0]->deadline_ns : UINT64_MAX;

        if (first <= hv_clock_monotonic_ns())
            fire_first(queue);
        else
            sleep_until(queue, first);
    }
    (void)pthread_mutex_unlock(&queue->lock);
    return NULL;
}

static void queue_fini(struct hv_timer_queue *queue)
{
    (void)pthread_cond_destroy(&queue->fired);
    (void)pthread_cond_destroy(&queue->wake);
    (void)pthread_mutex_destroy(&queue->lock);
    free(queue);
}

int hv_timer_queue_new(struct hv_timer_queue **ret)
{
    struct hv_timer_queue *queue = calloc(1, sizeof(*queue));
    pthread_condattr_t attr;
    int r;

    if (!queue)
        return -ENOMEM;
    (void)pthread_mutex_init(&queue->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&queue->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    (void)pthread_cond_init(&queue->fired, NULL);
    r = pthread_create(&queue->thread, NULL, queue_run, queue);
    if (r != 0) {
        queue_fini(queue);
        return -r;
    }
    *ret = queue;
    return 0;
}

struct hv_timer_queue *hv_timer_queue_free(struct hv_timer_queue *queue)
{
    if (!queue)
        return NULL;
    (void)pthread_mutex_lock(&queue->lock);
    queue->is_ending = true;
    (void)pthread_cond_signal(&queue->wake);
    (void)pthread_mutex_unlock(&queue->lock);
    (void)pthread_join(queue->thread, NULL);
    queue_fini(queue);
    return NULL;
}

void hv_timer_init(struct hv_timer *timer, struct hv_timer_queue *queue, hv_timer_fn *fn,
                   void *opaque)
{
    *timer =
        (struct hv_timer){ .queue = queue, .fn = fn, .opaque = opaque, .heap_index = SIZE_MAX };
}

void hv_timer_arm(struct hv_timer *timer, uint64_t deadline_ns)
{
    struct hv_timer_queue *queue = timer->queue;

    (void)pthread_mutex_lock(&queue->lock);
    heap_remove(queue, timer);
    if (!timer->is_cancelled)
        heap_insert(queue, timer, deadline_ns);
    (void)pthread_mutex_unlock(&queue->lock);
}

void hv_timer_disarm(struct hv_timer *timer)
{
    struct hv_timer_queue *queue = timer->queue;

    (void)pthread_mutex_lock(&queue->lock);
    heap_remove(queue, timer);
    (void)pthread_mutex_unlock(&queue->lock);
}

void hv_timer_cancel_sync(struct hv_timer *timer)
{
    struct hv_timer_queue *queue = timer->queue;

    (void)pthread_mutex_lock(&queue->lock);
    hv_assert(!pthread_equal(pthread_self(), queue->thread));
    heap_remove(queue, timer);
    timer->is_cancelled = true;
    while (queue->running == timer)
        (void)pthread_cond_wait(&queue->fired, &queue->lock);
    timer->is_cancelled = false;
    (void)pthread_mutex_unlock(&queue->lock);
}
