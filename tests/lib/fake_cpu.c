/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A partition without a processor, in the place of hvcore/partition: its one VP is a C function
 * that does what tests/guest/obey.S does, through the real chips. For tests of what surrounds VPs.
 */
#include "hvcore/base/clock.h"
#include "hvcore/synic.h"
#include "hvcore/time/timer.h"
#include "hvcore/vp.h"

#include <pthread.h>
#include <string.h>

struct hv_vp {
    struct hv_partition *partition;
    unsigned index;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool is_cancelled;
    bool has_greeted;
    bool is_flooding;
    struct hv_vp_state state;
    _Atomic uint64_t port_ios;
};

struct hv_partition {
    struct hv_gpa_space gpa;
    struct hv_io_space ports, mmio;
    struct hv_timer_queue *timers;
    unsigned n_vps;
    struct hv_vp vps[HV_MAX_VPS];
};

int hv_partition_new(const struct hv_partition_config *config, struct hv_partition **ret,
                     struct hv_error **reterr)
{
    struct hv_partition *partition = calloc(1, sizeof(*partition));
    int r;

    if (!partition)
        return -ENOMEM;
    r = hv_gpa_space_init(&partition->gpa, config->ram_bytes, reterr);
    r = r < 0 ? r : hv_timer_queue_new(&partition->timers);
    if (r < 0) {
        free(partition);
        return r;
    }
    partition->n_vps = config->n_vps;
    for (unsigned i = 0; i < config->n_vps; i++) {
        partition->vps[i].partition = partition;
        partition->vps[i].index = i;
        pthread_mutex_init(&partition->vps[i].lock, NULL);
        pthread_cond_init(&partition->vps[i].wake, NULL);
    }
    *ret = partition;
    return 0;
}

struct hv_partition *hv_partition_free(struct hv_partition *partition)
{
    if (!partition)
        return NULL;
    hv_timer_queue_free(partition->timers);
    hv_gpa_space_fini(&partition->gpa);
    free(partition);
    return NULL;
}

int hv_partition_seal_memory(struct hv_partition *partition, struct hv_error **reterr)
{
    return 0;
}

struct hv_gpa_space *hv_partition_gpa(struct hv_partition *partition)
{
    return &partition->gpa;
}

struct hv_io_space *hv_partition_ports(struct hv_partition *partition)
{
    return &partition->ports;
}

struct hv_io_space *hv_partition_mmio(struct hv_partition *partition)
{
    return &partition->mmio;
}

enum hv_backend hv_partition_backend(const struct hv_partition *partition)
{
    return HV_BACKEND_SOFT;
}

unsigned hv_partition_n_vps(const struct hv_partition *partition)
{
    return partition->n_vps;
}

struct hv_vp *hv_partition_vp(struct hv_partition *partition, unsigned index)
{
    return &partition->vps[index];
}

struct hv_timer_queue *hv_partition_timers(struct hv_partition *partition)
{
    return partition->timers;
}

void hv_partition_interrupt(struct hv_partition *partition, const struct hv_interrupt *interrupt)
{
}

void hv_partition_set_pic_output(struct hv_partition *partition, bool level)
{
}

void hv_partition_pause_time(struct hv_partition *partition)
{
}

void hv_partition_resume_time(struct hv_partition *partition)
{
}

uint64_t hv_partition_now_ns(const struct hv_partition *partition)
{
    return hv_clock_monotonic_ns();
}

void hv_partition_cpuid(struct hv_partition *partition, uint32_t leaf, uint32_t subleaf,
                        uint32_t ret[4])
{
    memset(ret, 0, 4 * sizeof(ret[0]));
}

uint64_t hv_partition_tsc_hz(const struct hv_partition *partition)
{
    return hv_tsc_hz();
}

void hv_partition_get_state(struct hv_partition *partition, struct hv_partition_state *ret)
{
    *ret = (struct hv_partition_state){ 0 };
}

void hv_partition_set_state(struct hv_partition *partition, const struct hv_partition_state *state)
{
}

void hv_partition_reset(struct hv_partition *partition)
{
    for (unsigned i = 0; i < partition->n_vps; i++) {
        partition->vps[i].has_greeted = false;
        partition->vps[i].is_flooding = false;
    }
}

static bool is_cancelled(struct hv_vp *vp, bool wait)
{
    bool was;

    pthread_mutex_lock(&vp->lock);
    while (wait && !vp->is_cancelled)
        pthread_cond_wait(&vp->wake, &vp->lock);
    was = vp->is_cancelled;
    vp->is_cancelled = false;
    pthread_mutex_unlock(&vp->lock);
    return was;
}

static void out(struct hv_vp *vp, uint16_t port, unsigned size, uint32_t value)
{
    vp->port_ios++;
    hv_io_space_write(&vp->partition->ports, port, size, value);
}

static uint8_t in(struct hv_vp *vp, uint16_t port)
{
    vp->port_ios++;
    return (uint8_t)hv_io_space_read(&vp->partition->ports, port, 1);
}

/* Returns true for a triple fault. */
static bool obey(struct hv_vp *vp, uint8_t key)
{
    switch (key) {
    case 'd': out(vp, 0xf4, 4, 21); break;
    case 'p': out(vp, 0x604, 2, 1 << 13 | 5 << 10); break;
    case 'r': out(vp, 0x64, 1, 0xfe); break;
    case 'f': vp->is_flooding = true; break;
    case 't': return true;
    default: out(vp, 0x3f8, 1, key);
    }
    return false;
}

int hv_vp_run(struct hv_vp *vp, struct hv_exit *ret)
{
    ret->kind = HV_EXIT_CANCELLED;
    while (!is_cancelled(vp, vp->index > 0)) {
        if (!vp->has_greeted)
            for (const char *at = "ready\n"; *at; at++)
                out(vp, 0x3f8, 1, (uint8_t)*at);
        vp->has_greeted = true;
        if (vp->is_flooding)
            out(vp, 0x3f8, 1, '.');
        else if (!(in(vp, 0x3fd) & 1))
            sched_yield();
        else if (obey(vp, in(vp, 0x3f8))) {
            *ret = (struct hv_exit){ .kind = HV_EXIT_SHUTDOWN, .rip = 0x100000 };
            return 0;
        }
    }
    return 0;
}

void hv_vp_cancel(struct hv_vp *vp)
{
    pthread_mutex_lock(&vp->lock);
    vp->is_cancelled = true;
    pthread_cond_signal(&vp->wake);
    pthread_mutex_unlock(&vp->lock);
}

int hv_vp_get_state(struct hv_vp *vp, struct hv_vp_state *ret)
{
    *ret = vp->state;
    return 0;
}

int hv_vp_set_state(struct hv_vp *vp, const struct hv_vp_state *state)
{
    vp->state = *state;
    return 0;
}

unsigned hv_vp_index(const struct hv_vp *vp)
{
    return vp->index;
}

void hv_vp_get_counters(const struct hv_vp *vp, struct hv_vp_counters *ret)
{
    *ret = (struct hv_vp_counters){ .port_ios = vp->port_ios };
}

/* Its VP posts and signals nothing, and hears nothing. */

int hv_partition_add_message_port(struct hv_partition *partition, uint32_t connection_id,
                                  hv_port_message_fn *fn, void *opaque)
{
    return 0;
}

int hv_partition_add_event_port(struct hv_partition *partition, uint32_t connection_id, int eventfd)
{
    return 0;
}

void hv_partition_remove_port(struct hv_partition *partition, uint32_t connection_id)
{
}

int hv_partition_post_message(struct hv_partition *partition, unsigned vp, unsigned sint,
                              const struct hv_message *message)
{
    return 0;
}

int hv_partition_signal_event(struct hv_partition *partition, unsigned vp, unsigned sint,
                              unsigned flag)
{
    return -EAGAIN;
}

void hv_partition_watch_crash(struct hv_partition *partition, hv_crash_fn *fn, void *opaque)
{
}
