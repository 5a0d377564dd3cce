/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/worker/vps.h"

#include "hvcore/base/clock.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum vps_wish { VPS_PARK, VPS_RUN, VPS_END };

/* Guest code runs on the soft backend's own structures; this is for the C code around it. Reserved
 * only, touched as needed. */
enum { VP_STACK_BYTES = 1 << 20 };

struct vp_thread {
    /* owner: the VP thread once it runs */
    struct wp_vps *vps;
    struct hv_vp *vp;
    pthread_t thread;
    bool is_started;
    unsigned round; /* lock: vps->lock; the round that the thread last joined */
    bool is_parked; /* lock: vps->lock */
};

struct wp_vps {
    struct hv_partition *partition;
    wp_vps_exit_fn *on_exit;
    void *opaque;
    pthread_mutex_t lock;
    pthread_cond_t wished; /* wish or round changed */
    pthread_cond_t parked; /* n_parked grew */
    _Atomic unsigned wish; /* enum vps_wish; written under the lock */
    unsigned round;        /* lock */
    unsigned n_parked;     /* lock */
    unsigned n_threads;
    struct vp_thread threads[];
};

/* Wait for a round to run in. Returns false when the thread shall end. */
static bool park(struct vp_thread *t)
{
    struct wp_vps *vps = t->vps;
    unsigned wish;

    pthread_mutex_lock(&vps->lock);
    t->is_parked = true;
    vps->n_parked++;
    pthread_cond_broadcast(&vps->parked);
    while ((wish = vps->wish) != VPS_END && (wish == VPS_PARK || t->round == vps->round))
        pthread_cond_wait(&vps->wished, &vps->lock);
    t->round = vps->round;
    t->is_parked = false;
    vps->n_parked--;
    pthread_mutex_unlock(&vps->lock);
    return wish != VPS_END;
}

/* Run until the round is over or the VP came to an end of its own. */
static void run_round(struct vp_thread *t)
{
    struct wp_vps *vps = t->vps;
    struct hv_exit exit = { 0 };

    while (vps->wish == VPS_RUN) {
        int r;

        r = hv_vp_run(t->vp, &exit);
        if (r < 0) {
            exit.kind = HV_EXIT_ERROR;
            (void)snprintf(exit.text, sizeof(exit.text), "The host cannot run the VP: %s",
                           strerror(-r));
        }
        if (exit.kind != HV_EXIT_CANCELLED) {
            vps->on_exit(vps->opaque, hv_vp_index(t->vp), &exit);
            return;
        }
    }
}

static void *vp_main(void *opaque)
{
    struct vp_thread *t = opaque;
    char name[16];

    (void)snprintf(name, sizeof(name), "vp/%u", hv_vp_index(t->vp));
    (void)pthread_setname_np(pthread_self(), name);
    while (park(t))
        run_round(t);
    return NULL;
}

/* Signals are for the io thread: a VP thread starts with all of them blocked but those that a
 * fault of its own raises. KVM's kick signal is unblocked by the backend that uses it. */
static int start_thread(struct vp_thread *t, const pthread_attr_t *attributes)
{
    sigset_t all, before;
    int r;

    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGTRAP);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&t->thread, attributes, vp_main, t);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    t->is_started = r == 0;
    return -r;
}

static void wait_until_parked(struct wp_vps *vps)
{
    pthread_mutex_lock(&vps->lock);
    while (vps->n_parked < vps->n_threads)
        pthread_cond_wait(&vps->parked, &vps->lock);
    pthread_mutex_unlock(&vps->lock);
}

int wp_vps_new(struct hv_partition *partition, wp_vps_exit_fn *on_exit, void *opaque,
               struct wp_vps **ret, struct hv_error **reterr)
{
    unsigned count = hv_partition_n_vps(partition);
    pthread_attr_t attributes;
    struct wp_vps *vps;
    int r = 0;

    vps = calloc(1, sizeof(*vps) + count * sizeof(vps->threads[0]));
    if (!vps)
        return -ENOMEM;
    vps->partition = partition;
    vps->on_exit = on_exit;
    vps->opaque = opaque;
    pthread_mutex_init(&vps->lock, NULL);
    pthread_cond_init(&vps->wished, NULL);
    pthread_cond_init(&vps->parked, NULL);
    pthread_attr_init(&attributes);
    (void)pthread_attr_setstacksize(&attributes, VP_STACK_BYTES);
    for (unsigned i = 0; i < count && r == 0; i++) {
        vps->threads[i] = (struct vp_thread){ .vps = vps, .vp = hv_partition_vp(partition, i) };
        r = start_thread(&vps->threads[i], &attributes);
        if (r == 0)
            vps->n_threads++;
    }
    pthread_attr_destroy(&attributes);
    wait_until_parked(vps);
    if (r < 0) {
        (void)wp_vps_free(vps);
        return hv_error_set(reterr, r, "vm.vp.thread",
                            "The host cannot start %u threads for virtual processors: %s.", count,
                            strerror(-r));
    }
    *ret = vps;
    return 0;
}

static void set_wish(struct wp_vps *vps, enum vps_wish wish)
{
    pthread_mutex_lock(&vps->lock);
    vps->wish = wish;
    if (wish == VPS_RUN)
        vps->round++;
    pthread_cond_broadcast(&vps->wished);
    pthread_mutex_unlock(&vps->lock);
}

struct wp_vps *wp_vps_free(struct wp_vps *vps)
{
    if (!vps)
        return NULL;
    wp_vps_stop(vps);
    set_wish(vps, VPS_END);
    for (unsigned i = 0; i < vps->n_threads; i++)
        (void)pthread_join(vps->threads[i].thread, NULL);
    pthread_cond_destroy(&vps->parked);
    pthread_cond_destroy(&vps->wished);
    pthread_mutex_destroy(&vps->lock);
    free(vps);
    return NULL;
}

void wp_vps_run(struct wp_vps *vps)
{
    set_wish(vps, VPS_RUN);
}

void wp_vps_halt(struct wp_vps *vps)
{
    set_wish(vps, VPS_PARK);
    for (unsigned i = 0; i < vps->n_threads; i++)
        hv_vp_cancel(vps->threads[i].vp);
}

void wp_vps_stop(struct wp_vps *vps)
{
    wp_vps_halt(vps);
    wait_until_parked(vps);
}

uint64_t wp_vps_cpu_time_ns(struct wp_vps *vps)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < vps->n_threads; i++) {
        clockid_t clock;

        if (pthread_getcpuclockid(vps->threads[i].thread, &clock) == 0)
            sum += hv_clock_ns(clock);
    }
    return sum;
}
