/* SPDX-License-Identifier: Apache-2.0 */
/* Making, wiring and ending a partition; what any thread may ask of it meanwhile. */
#include "hvcore/partition/object.h"

#include "hvcore/intercept/msr.h"

#include <inttypes.h>
#include <string.h>

enum { GPA_BITS = 40 };

static enum hv_backend choose_backend(const struct hv_partition_config *config)
{
    struct hv_host_info info;

    if (config->backend != HV_BACKEND_AUTO)
        return config->backend;
    hv_host_probe(config->kvm_fd, &info);
    return info.chosen;
}

static int check_config(const struct hv_partition_config *config, struct hv_error **reterr)
{
    if (config->n_vps < 1 || config->n_vps > HV_MAX_VPS)
        return hv_error_set_field(reterr, -EINVAL, "vm.processors.count", "processor.count",
                                  "A VM has 1 to %d virtual processors, not %u.", HV_MAX_VPS,
                                  config->n_vps);
    return 0;
}

void hv_msrs_reset(struct hv_msrs *msrs)
{
    memset(msrs, 0, sizeof(*msrs));
    /* No firmware runs before a directly started kernel: leave what firmware would, MTRRs enabled
     * and memory write-back, without which guests refuse to use the PAT. */
    msrs->machine.mtrr_default = 0x806;
    msrs->machine.hwcr = UINT64_C(1) << 24; /* the TSC counts at the nominal frequency */
}

static int make_vp(struct hv_partition *partition, unsigned index, struct hv_error **reterr)
{
    struct hv_vp *vp = calloc(1, sizeof(*vp));
    int r;

    if (!vp)
        return -ENOMEM;
    vp->partition = partition;
    vp->index = index;
    hv_msrs_reset(&vp->msrs);
    hv_synic_init(&vp->synic, partition, index);
    r = partition->ops->vp_new(partition->backend, index, &vp->backend, reterr);
    if (r < 0) {
        hv_synic_fini(&vp->synic);
        free(vp);
        return r;
    }
    partition->vps[index] = vp;
    return 0;
}

static int make_backend(struct hv_partition *partition, const struct hv_partition_config *config,
                        struct hv_error **reterr)
{
    int r;

    partition->host = (struct hv_backend_host){
        .handlers = &hv_intercept_handlers,
        .partition = partition,
        .gpa = &partition->gpa,
        .timers = partition->timers,
        .clock = &partition->clock,
        .cpuid = &partition->cpuid,
        .facts = &partition->facts,
        .log = &partition->log,
        .n_vps = config->n_vps,
        .kvm_fd = config->kvm_fd,
        .max_gpa = UINT64_C(1) << GPA_BITS,
    };
    r = partition->ops->partition_new(&partition->host, &partition->backend, reterr);
    if (r < 0)
        return r;
    partition->host.handlers->add_cpuid(partition);
    for (unsigned i = 0; i < config->n_vps; i++) {
        r = make_vp(partition, i, reterr);
        if (r < 0)
            return r;
        partition->n_vps++;
    }
    return 0;
}

int hv_partition_new(const struct hv_partition_config *config, struct hv_partition **ret,
                     struct hv_error **reterr)
{
    HV_CLEANUP(hv_partition_freep) struct hv_partition *partition = NULL;
    int r;

    r = check_config(config, reterr);
    if (r < 0)
        return r;
    partition = calloc(1, sizeof(*partition));
    if (!partition)
        return -ENOMEM;
    (void)pthread_mutex_init(&partition->lock, NULL);
    hv_ports_init(&partition->synic_ports);
    partition->log = config->log;
    if (config->chipset)
        partition->chipset = *config->chipset;
    partition->chipset_opaque = config->chipset_opaque;
    partition->kind = choose_backend(config);
    partition->ops = partition->kind == HV_BACKEND_KVM ? &hvkvm_ops : &hvsoft_ops;
    r = hv_gpa_space_init(&partition->gpa, config->ram_bytes, reterr);
    if (r < 0)
        return r;
    r = hv_timer_queue_new(&partition->timers);
    if (r < 0)
        return hv_error_set(reterr, r, "vm.timer", "The VM's timer thread could not be started.");
    partition->tsc = config->tsc;
    hv_tsc_finish(&partition->tsc);
    hv_guest_clock_init(&partition->clock, partition->tsc.hz);
    r = make_backend(partition, config, reterr);
    if (r < 0)
        return r;
    *ret = HV_TAKE_PTR(partition);
    return 0;
}

struct hv_partition *hv_partition_free(struct hv_partition *partition)
{
    if (!partition)
        return NULL;
    /* A timer that fires reaches the backend. */
    for (unsigned i = 0; i < partition->n_vps; i++)
        hv_synic_fini(&partition->vps[i]->synic);
    for (unsigned i = 0; i < partition->n_vps; i++) {
        partition->ops->vp_free(partition->vps[i]->backend);
        free(partition->vps[i]);
    }
    if (partition->backend)
        partition->ops->partition_free(partition->backend);
    partition->timers = hv_timer_queue_free(partition->timers);
    hv_gpa_space_fini(&partition->gpa);
    hv_ports_fini(&partition->synic_ports);
    (void)pthread_mutex_destroy(&partition->lock);
    free(partition);
    return NULL;
}

int hv_partition_seal_memory(struct hv_partition *partition, struct hv_error **reterr)
{
    int r;

    if (partition->is_sealed)
        return -EALREADY;
    r = partition->ops->seal(partition->backend, reterr);
    if (r < 0)
        return r;
    partition->is_sealed = true;
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
    return partition->kind;
}

unsigned hv_partition_n_vps(const struct hv_partition *partition)
{
    return partition->n_vps;
}

struct hv_vp *hv_partition_vp(struct hv_partition *partition, unsigned index)
{
    hv_assert(index < partition->n_vps);
    return partition->vps[index];
}

struct hv_timer_queue *hv_partition_timers(struct hv_partition *partition)
{
    return partition->timers;
}

uint64_t hv_partition_now_ns(const struct hv_partition *partition)
{
    return hv_guest_clock_ns(&partition->clock);
}

void hv_partition_interrupt(struct hv_partition *partition, const struct hv_interrupt *interrupt)
{
    partition->ops->interrupt(partition->backend, interrupt);
}

void hv_partition_set_pic_output(struct hv_partition *partition, bool level)
{
    partition->ops->set_pic_output(partition->backend, level);
}

void hv_partition_pause_time(struct hv_partition *partition)
{
    for (unsigned i = 0; i < partition->n_vps; i++)
        hv_synic_stop_time(&partition->vps[i]->synic);
    partition->ops->pause_time(partition->backend);
    hv_guest_clock_stop(&partition->clock);
}

void hv_partition_resume_time(struct hv_partition *partition)
{
    uint64_t ticks = hv_guest_clock_start(&partition->clock);

    if (ticks > 0)
        partition->ops->resume_time(partition->backend, ticks);
    for (unsigned i = 0; i < partition->n_vps; i++)
        hv_synic_start_time(&partition->vps[i]->synic);
}

void hv_partition_reset(struct hv_partition *partition)
{
    struct hv_synthetic *synthetic = &partition->synthetic;

    atomic_store(&synthetic->guest_os_id, 0);
    atomic_store(&synthetic->hypercall, 0);
    if (partition->ops->enable_hypercalls)
        partition->ops->enable_hypercalls(partition->backend, 0, false);
    atomic_store(&synthetic->reference_tsc, 0);
    for (unsigned i = 0; i < HV_CRASH_PARAMETERS; i++)
        atomic_store(&synthetic->crash[i], 0);
    for (unsigned i = 0; i < partition->n_vps; i++) {
        hv_msrs_reset(&partition->vps[i]->msrs);
        hv_synic_reset(&partition->vps[i]->synic);
        partition->vps[i]->runtime_ns = 0;
    }
    partition->ops->reset(partition->backend);
}

void hv_partition_get_state(struct hv_partition *partition, struct hv_partition_state *ret)
{
    const struct hv_synthetic *synthetic = &partition->synthetic;

    *ret = (struct hv_partition_state){
        .guest_os_id = atomic_load(&synthetic->guest_os_id),
        .hypercall = atomic_load(&synthetic->hypercall),
        .reference_tsc = atomic_load(&synthetic->reference_tsc),
        .tsc = hv_guest_clock_tsc(&partition->clock),
    };
    for (unsigned i = 0; i < HV_CRASH_PARAMETERS; i++)
        ret->crash[i] = atomic_load(&synthetic->crash[i]);
}

void hv_partition_set_state(struct hv_partition *partition, const struct hv_partition_state *state)
{
    struct hv_synthetic *synthetic = &partition->synthetic;

    hv_guest_clock_set_tsc(&partition->clock, state->tsc);
    for (unsigned i = 0; i < HV_CRASH_PARAMETERS; i++)
        atomic_store(&synthetic->crash[i], state->crash[i]);
    hv_synthetic_restore(partition, state);
}

void hv_partition_cpuid(struct hv_partition *partition, uint32_t leaf, uint32_t subleaf,
                        uint32_t ret[4])
{
    partition->host.handlers->cpuid(partition, 0, leaf, subleaf, ret);
}

uint64_t hv_partition_tsc_hz(const struct hv_partition *partition)
{
    return partition->clock.tsc_hz;
}

int hv_partition_add_doorbell(struct hv_partition *partition, bool is_port, uint64_t address,
                              unsigned size, int eventfd)
{
    if (size != 1 && size != 2 && size != 4 && (size != 8 || is_port))
        return -EINVAL;
    if (!partition->is_sealed)
        return -EBUSY;
    return partition->ops->add_doorbell(partition->backend, is_port, address, size, eventfd);
}
