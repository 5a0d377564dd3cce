/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The soft backend: the software processor, a LAPIC for each VP with its timer, and the common
 * handlers, put together.
 */
#include "hvcore/backend/soft/soft_priv.h"

/* --- LAPIC to processor and timer --- */

static void lapic_kick(void *opaque)
{
    struct soft_vp *vp = opaque;

    if (vp->cpu)
        emu_cpu_request(vp->cpu, EMU_REQ_INTERRUPT);
}

static void lapic_timer_arm(void *opaque, uint64_t host_tsc)
{
    struct soft_vp *vp = opaque;

    hv_timer_arm(&vp->timer, hv_tsc_anchor_to_ns(&vp->anchor, host_tsc));
}

static void lapic_timer_disarm(void *opaque)
{
    struct soft_vp *vp = opaque;

    hv_timer_disarm(&vp->timer);
}

static void on_timer(void *opaque)
{
    struct soft_vp *vp = opaque;

    x86_lapic_raise(&vp->lapic, X86_LAPIC_EVENT_TIMER);
}

static const struct x86_lapic_ops lapic_ops = { .kick = lapic_kick,
                                                .timer_arm = lapic_timer_arm,
                                                .timer_disarm = lapic_timer_disarm };

/* --- exits --- */

static bool ring_doorbell(struct soft_partition *partition, bool is_port, uint64_t address,
                          unsigned size)
{
    const uint64_t one = 1;

    for (unsigned i = 0; i < partition->n_doorbells; i++) {
        const struct soft_doorbell *bell = &partition->doorbells[i];

        if (bell->address == address && bell->is_port == is_port && bell->size == size) {
            /* A full counter is a bell that rings already. */
            (void)!write(bell->eventfd, &one, sizeof(one));
            return true;
        }
    }
    return false;
}

static uint64_t mmio_read(void *opaque, hv_gpa_t gpa, unsigned size)
{
    struct soft_partition *partition = opaque;

    return partition->host->handlers->mmio_read(partition->host->partition, gpa, size);
}

static void mmio_write(void *opaque, hv_gpa_t gpa, unsigned size, uint64_t value)
{
    struct soft_partition *partition = opaque;

    if (!ring_doorbell(partition, false, gpa, size))
        partition->host->handlers->mmio_write(partition->host->partition, gpa, size, value);
}

static uint32_t port_read(void *opaque, uint16_t port, unsigned size)
{
    struct soft_partition *partition = opaque;

    return partition->host->handlers->port_read(partition->host->partition, port, size);
}

static void port_write(void *opaque, uint16_t port, unsigned size, uint32_t value)
{
    struct soft_partition *partition = opaque;

    if (!ring_doorbell(partition, true, port, size))
        partition->host->handlers->port_write(partition->host->partition, port, size, value);
}

static bool msr_read(void *opaque, unsigned vp, uint32_t msr, uint64_t *ret)
{
    struct soft_partition *partition = opaque;

    if (soft_apic_read(partition->vps[vp], msr, ret))
        return true;
    return partition->host->handlers->msr_read(partition->host->partition, vp, msr, ret);
}

static bool msr_write(void *opaque, unsigned vp, uint32_t msr, uint64_t value)
{
    struct soft_partition *partition = opaque;

    if (soft_apic_write(partition->vps[vp], msr, value))
        return true;
    return partition->host->handlers->msr_write(partition->host->partition, vp, msr, value);
}

static void cpuid(void *opaque, unsigned vp, uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
    struct soft_partition *partition = opaque;

    partition->host->handlers->cpuid(partition->host->partition, vp, leaf, subleaf, ret);
}

static uint64_t pair(uint64_t high, uint64_t low)
{
    return high << 32 | (uint32_t)low;
}

/* Registers of a call by mode (TLFS "Hypercall Inputs"). */
static bool hypercall(void *opaque, unsigned vp, uint64_t gpr[HV_N_GPRS], bool is_64bit)
{
    struct soft_partition *partition = opaque;
    struct hv_hypercall call;
    uint64_t result;

    if (is_64bit)
        call = (struct hv_hypercall){ .input = gpr[HV_RCX],
                                      .parameters = gpr[HV_RDX],
                                      .output = gpr[HV_R8] };
    else
        call = (struct hv_hypercall){ .input = pair(gpr[HV_RDX], gpr[HV_RAX]),
                                      .parameters = pair(gpr[HV_RBX], gpr[HV_RCX]),
                                      .output = pair(gpr[HV_RDI], gpr[HV_RSI]) };
    if (!partition->host->handlers->hypercall(partition->host->partition, vp, &call, &result))
        return false;
    gpr[HV_RAX] = is_64bit ? result : (uint32_t)result;
    if (!is_64bit)
        gpr[HV_RDX] = result >> 32;
    return true;
}

static int pic_acknowledge(void *opaque)
{
    struct soft_partition *partition = opaque;

    return partition->host->handlers->pic_acknowledge(partition->host->partition);
}

static void end_of_interrupt(void *opaque, uint8_t vector)
{
    struct soft_partition *partition = opaque;

    partition->host->handlers->end_of_interrupt(partition->host->partition, vector);
}

static void watched_eoi(void *opaque, uint32_t vp, uint8_t vector)
{
    struct soft_partition *partition = opaque;

    partition->host->handlers->watched_eoi(partition->host->partition, vp, vector);
}

static void soft_watch_eoi(void *opaque, unsigned vp, uint8_t vector)
{
    struct soft_partition *partition = opaque;

    x86_lapic_watch_eoi(&partition->vps[vp]->lapic, vector);
}

/* --- the partition --- */

static int soft_partition_new(const struct hv_backend_host *host, void **ret,
                              struct hv_error **reterr)
{
    struct soft_partition *partition = calloc(1, sizeof(*partition));
    struct x86_cpuid_wish wish = {
        .sets = X86_FEATURES_SOFT,
        .n_vps = host->n_vps,
        .physical_bits = (unsigned)__builtin_ctzll(host->max_gpa),
    };

    (void)reterr;
    if (!partition)
        return -ENOMEM;
    partition->host = host;
    *host->facts = (struct hv_backend_facts){
        .offers = HV_OFFER_STIMERS | HV_OFFER_FLUSH | HV_OFFER_IPI | HV_OFFER_APIC_MSRS |
                  HV_OFFER_GUEST_IDLE,
        .hypercall_code = { 0x0f, 0x01, 0xd9 }, /* vmmcall */
        .hypercall_code_bytes = 3,
    };
    x86_cpuid_build(host->cpuid, &wish);
    x86_lapic_bus_init(&partition->bus, host->clock->tsc_hz);
    partition->bus.end_of_interrupt = end_of_interrupt;
    partition->bus.pic_acknowledge = pic_acknowledge;
    partition->bus.watched_eoi = watched_eoi;
    partition->bus.opaque = partition;
    partition->bus.max_gpa = host->max_gpa;
    *ret = partition;
    return 0;
}

static void soft_partition_free(void *opaque)
{
    struct soft_partition *partition = opaque;

    (void)emu_machine_free(partition->machine);
    free(partition);
}

static int soft_seal(void *opaque, struct hv_error **reterr)
{
    struct soft_partition *partition = opaque;
    struct emu_machine_config config = {
        .gpa = partition->host->gpa,
        .bus = { .mmio_read = mmio_read,
                 .mmio_write = mmio_write,
                 .port_read = port_read,
                 .port_write = port_write,
                 .msr_read = msr_read,
                 .msr_write = msr_write,
                 .cpuid = cpuid,
                 .hypercall = hypercall,
                 .pic_acknowledge = pic_acknowledge,
                 .opaque = partition },
        .n_cpus = partition->host->n_vps,
        .tsc_hz = partition->host->clock->tsc_hz,
        .log = *partition->host->log,
    };
    uint64_t offset = hv_guest_clock_offset(partition->host->clock);
    int r;

    r = emu_machine_new(&config, &partition->machine);
    for (unsigned i = 0; r >= 0 && i < partition->host->n_vps; i++) {
        struct soft_vp *vp = partition->vps[i];

        r = emu_machine_add_cpu(partition->machine, i, &vp->lapic, &vp->cpu);
        if (r < 0)
            break;
        x86_lapic_set_tsc_offset(&vp->lapic, offset);
        emu_cpu_set_tsc_offset(vp->cpu, offset);
    }
    if (r < 0)
        return hv_error_set(reterr, r, "vm.processor", "The software processor needs more memory.");
    return 0;
}

static void soft_interrupt(void *opaque, const struct hv_interrupt *interrupt)
{
    struct soft_partition *partition = opaque;

    x86_lapic_bus_deliver(&partition->bus, interrupt);
}

static void soft_set_pic_output(void *opaque, bool level)
{
    struct soft_partition *partition = opaque;

    x86_lapic_set_lint(&partition->vps[0]->lapic, 0, level);
}

static void soft_flush(void *opaque, unsigned caller, uint64_t vps)
{
    struct soft_partition *partition = opaque;

    emu_machine_flush(partition->vps[caller]->cpu, vps);
}

/* Nothing to do: a timer that fires meanwhile finds its deadline not reached after the pause. */
static void soft_pause_time(void *opaque)
{
    (void)opaque;
}

static void set_tsc_offsets(struct soft_partition *partition)
{
    for (unsigned i = 0; i < partition->host->n_vps; i++) {
        struct soft_vp *vp = partition->vps[i];

        emu_cpu_set_tsc_offset(vp->cpu, x86_lapic_tsc_offset(&vp->lapic));
    }
}

static void soft_resume_time(void *opaque, uint64_t ticks)
{
    struct soft_partition *partition = opaque;

    x86_lapic_bus_skip_time(&partition->bus, ticks);
    set_tsc_offsets(partition);
}

static void soft_reset(void *opaque)
{
    struct soft_partition *partition = opaque;
    uint64_t offset = hv_guest_clock_offset(partition->host->clock);

    for (unsigned i = 0; i < partition->host->n_vps; i++) {
        struct soft_vp *vp = partition->vps[i];

        x86_lapic_reset(&vp->lapic, false);
        x86_lapic_set_tsc_offset(&vp->lapic, offset);
        emu_cpu_reset(vp->cpu, true);
    }
    set_tsc_offsets(partition);
}

static int soft_add_doorbell(void *opaque, bool is_port, uint64_t address, unsigned size,
                             int eventfd)
{
    struct soft_partition *partition = opaque;

    if (partition->n_doorbells == MAX_DOORBELLS)
        return -ENOSPC;
    for (unsigned i = 0; i < partition->n_doorbells; i++)
        if (partition->doorbells[i].address == address &&
            partition->doorbells[i].is_port == is_port && partition->doorbells[i].size == size)
            return -EEXIST;
    partition->doorbells[partition->n_doorbells++] = (struct soft_doorbell){
        .address = address, .size = size, .eventfd = eventfd, .is_port = is_port
    };
    return 0;
}

/* --- VPs --- */

static int soft_vp_new(void *opaque, unsigned index, void **ret, struct hv_error **reterr)
{
    struct soft_partition *partition = opaque;
    struct soft_vp *vp = calloc(1, sizeof(*vp));

    (void)reterr;
    if (!vp)
        return -ENOMEM;
    vp->partition = partition;
    vp->index = index;
    hv_timer_init(&vp->timer, partition->host->timers, on_timer, vp);
    hv_tsc_anchor_init(&vp->anchor, partition->host->clock->tsc_hz);
    x86_lapic_init(&vp->lapic, &partition->bus, &lapic_ops, vp);
    partition->vps[index] = vp;
    *ret = vp;
    return 0;
}

static void soft_vp_free(void *opaque)
{
    struct soft_vp *vp = opaque;

    /* The timer's callback reaches the processor. */
    hv_timer_cancel_sync(&vp->timer);
    vp->cpu = NULL;
    free(vp);
}

static int soft_vp_run(void *opaque, struct hv_exit *ret)
{
    struct soft_vp *vp = opaque;

    switch (emu_cpu_run(vp->cpu)) {
    case EMU_EXIT_CANCELLED: ret->kind = HV_EXIT_CANCELLED; break;
    case EMU_EXIT_SHUTDOWN: ret->kind = HV_EXIT_SHUTDOWN; break;
    }
    ret->rip = vp->cpu->rip;
    return 0;
}

static void soft_vp_cancel(void *opaque)
{
    struct soft_vp *vp = opaque;

    if (vp->cpu)
        emu_cpu_request(vp->cpu, EMU_REQ_CANCEL);
}

static int soft_vp_get_state(void *opaque, struct hv_vp_state *ret)
{
    struct soft_vp *vp = opaque;
    const struct hv_guest_clock *clock = vp->partition->host->clock;

    emu_cpu_get_state(vp->cpu, ret);
    x86_lapic_get_page(&vp->lapic, ret->lapic);
    ret->apic_base = vp->lapic.apic_base;
    ret->tsc_deadline = vp->lapic.tsc_deadline;
    ret->cr8 = x86_lapic_cr8(&vp->lapic);
    /* The VP's own TSC may have been written by the guest: it keeps its distance to the clock. */
    ret->tsc = hv_guest_clock_tsc(clock) +
               (x86_lapic_tsc_offset(&vp->lapic) - hv_guest_clock_offset(clock));
    ret->nmi_pending = (atomic_load(&vp->lapic.events) & X86_LAPIC_EVENT_NMI) != 0;
    return 0;
}

static int soft_vp_set_state(void *opaque, const struct hv_vp_state *state)
{
    struct soft_vp *vp = opaque;
    const struct hv_guest_clock *clock = vp->partition->host->clock;
    uint64_t offset = hv_guest_clock_offset(clock) + (state->tsc - hv_guest_clock_tsc(clock));
    int r;

    r = emu_cpu_set_state(vp->cpu, state);
    if (r < 0)
        return r;
    x86_lapic_set_tsc_offset(&vp->lapic, offset);
    emu_cpu_set_tsc_offset(vp->cpu, offset);
    r = x86_lapic_set_page(&vp->lapic, state->apic_base, state->tsc_deadline, state->lapic);
    if (r < 0)
        return r;
    atomic_store(&vp->lapic.events, state->nmi_pending ? X86_LAPIC_EVENT_NMI : 0);
    /* This backend leaves none behind; another one may have. */
    if (state->interrupt_in_flight != 0 &&
        !x86_lapic_requeue(&vp->lapic, state->interrupt_in_flight))
        return -EINVAL;
    return 0;
}

static void soft_vp_get_counters(const void *opaque, struct hv_vp_counters *ret)
{
    const struct soft_vp *vp = opaque;

    if (!vp->cpu)
        return;
    ret->exits = vp->cpu->counters_exits;
    ret->port_ios = vp->cpu->counters_ports;
    ret->mmios = vp->cpu->counters_mmios;
    ret->interrupts = vp->cpu->counters_interrupts;
    ret->halts = vp->cpu->counters_halts;
}

const struct hv_backend_ops hvsoft_ops = {
    .name = "soft",
    .partition_new = soft_partition_new,
    .partition_free = soft_partition_free,
    .seal = soft_seal,
    .interrupt = soft_interrupt,
    .set_pic_output = soft_set_pic_output,
    .watch_eoi = soft_watch_eoi,
    .flush = soft_flush,
    .pause_time = soft_pause_time,
    .resume_time = soft_resume_time,
    .reset = soft_reset,
    .add_doorbell = soft_add_doorbell,
    .vp_new = soft_vp_new,
    .vp_free = soft_vp_free,
    .vp_run = soft_vp_run,
    .vp_cancel = soft_vp_cancel,
    .vp_get_state = soft_vp_get_state,
    .vp_set_state = soft_vp_set_state,
    .vp_get_counters = soft_vp_get_counters,
};
