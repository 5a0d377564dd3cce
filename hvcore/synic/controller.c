/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The controller's life, its MSRs, and event flags.
 *
 * spec: TLFS inter-partition-communication "Synthetic Interrupt Controller", "SIEF Page"
 */
#include "hvcore/synic/synic_priv.h"

void hv_synic_init(struct hv_synic *synic, struct hv_partition *partition, unsigned vp)
{
    synic->partition = partition;
    synic->vp = vp;
    (void)pthread_mutex_init(&synic->lock, NULL);
    hv_list_init(&synic->queue);
    hv_list_init(&synic->spare);
    synic_stimers_init(synic);
    hv_synic_reset(synic);
}

void hv_synic_fini(struct hv_synic *synic)
{
    synic_stimers_fini(synic);
    (void)pthread_mutex_destroy(&synic->lock);
}

void hv_synic_reset(struct hv_synic *synic)
{
    (void)pthread_mutex_lock(&synic->lock);
    synic_drop_queue(synic);
    synic_stimers_reset(synic);
    atomic_store(&synic->control, 0);
    atomic_store(&synic->siefp, 0);
    atomic_store(&synic->simp, 0);
    for (unsigned i = 0; i < HV_SYNIC_N_SINTS; i++)
        atomic_store(&synic->sint[i], TLFS_SINT_MASKED);
    (void)pthread_mutex_unlock(&synic->lock);
}

/* ---- interrupts ---- */

void synic_interrupt(struct hv_synic *synic, uint8_t vector)
{
    struct hv_interrupt interrupt = { .destination = synic->vp, .vector = vector };

    synic->partition->ops->interrupt(synic->partition->backend, &interrupt);
}

void synic_raise(struct hv_synic *synic, unsigned sint)
{
    const struct hv_backend_ops *ops = synic->partition->ops;
    uint64_t value = atomic_load(&synic->sint[sint]);

    if (value & (TLFS_SINT_MASKED | TLFS_SINT_POLLING))
        return;
    if (!ops->raise_sint || !ops->raise_sint(synic->partition->backend, synic->vp, sint))
        synic_interrupt(synic, (uint8_t)value);
}

/* Under the lock: a page that the guest takes back is not written any more. Returns whether the
 * flag is new, or -EAGAIN. */
static int set_flag(struct hv_synic *synic, unsigned sint, unsigned flag)
{
    uint64_t siefp = atomic_load(&synic->siefp);
    uint64_t *flags = synic_window(synic, siefp, sint);
    uint64_t bit = UINT64_C(1) << flag % 64;

    if (!flags || atomic_load(&synic->sint[sint]) & TLFS_SINT_MASKED)
        return -EAGAIN;
    if (__atomic_fetch_or(&flags[flag / 64], bit, __ATOMIC_SEQ_CST) & bit)
        return 0;
    hv_gpa_note_written(&synic->partition->gpa,
                        synic_page(siefp) + sint * TLFS_SINT_BYTES + flag / 64 * sizeof(*flags),
                        sizeof(*flags));
    return 1;
}

int hv_partition_signal_event(struct hv_partition *partition, unsigned vp, unsigned sint,
                              unsigned flag)
{
    struct hv_synic *synic;
    int r;

    if (vp >= partition->n_vps || sint >= HV_SYNIC_N_SINTS || flag >= HV_SYNIC_N_FLAGS)
        return -EINVAL;
    synic = &partition->vps[vp]->synic;
    (void)pthread_mutex_lock(&synic->lock);
    r = set_flag(synic, sint, flag);
    (void)pthread_mutex_unlock(&synic->lock);
    if (r > 0)
        synic_raise(synic, sint);
    return r < 0 ? r : 0;
}

/* ---- MSRs ---- */

static void deliver_all(struct hv_synic *synic)
{
    uint32_t waiting = atomic_load(&synic->waiting);

    for (unsigned sint = 0; sint < HV_SYNIC_N_SINTS; sint++)
        if (waiting >> sint & 1)
            synic_deliver(synic, sint);
}

/* What is switched off forgets what waited for it; what is switched on gets what waits. */
static void switched(struct hv_synic *synic, uint64_t old, uint64_t value)
{
    if (old & 1 && !(value & 1))
        synic_drop_queue(synic);
    deliver_all(synic);
}

/* An overlay page that comes into being is zero. */
static void write_page(struct hv_synic *synic, _Atomic uint64_t *msr, uint64_t value)
{
    uint64_t old = atomic_load(msr);
    bool is_new = !(old & TLFS_PAGE_MSR_ENABLE) || synic_page(old) != synic_page(value);

    if (value & TLFS_PAGE_MSR_ENABLE && is_new)
        (void)hv_gpa_fill(&synic->partition->gpa, synic_page(value), 0, HV_PAGE_BYTES);
    atomic_store(msr, value);
}

bool synic_is_sint_valid(uint64_t value)
{
    if (value & TLFS_SINT_AUTO_EOI)
        return false;
    return value & TLFS_SINT_MASKED || (value & TLFS_SINT_VECTOR) >= TLFS_SINT_FIRST_VECTOR;
}

static bool write_sint(struct hv_synic *synic, unsigned sint, uint64_t value)
{
    const struct hv_backend_ops *ops = synic->partition->ops;

    if (!synic_is_sint_valid(value) ||
        (ops->set_sint && !ops->set_sint(synic->partition->backend, synic->vp, sint, value)))
        return false;
    atomic_store(&synic->sint[sint], value);
    synic_deliver(synic, sint);
    return true;
}

static uint64_t read_stimer(struct hv_synic *synic, uint32_t msr)
{
    uint64_t value;

    (void)pthread_mutex_lock(&synic->lock);
    value = synic_stimer_read(synic, msr);
    (void)pthread_mutex_unlock(&synic->lock);
    return value;
}

bool hv_synic_read(struct hv_synic *synic, uint32_t msr, uint64_t *ret)
{
    switch (msr) {
    case TLFS_MSR_SCONTROL: *ret = atomic_load(&synic->control); return true;
    case TLFS_MSR_SVERSION: *ret = TLFS_SYNIC_VERSION; return true;
    case TLFS_MSR_SIEFP: *ret = atomic_load(&synic->siefp); return true;
    case TLFS_MSR_SIMP: *ret = atomic_load(&synic->simp); return true;
    case TLFS_MSR_EOM: *ret = 0; return true;
    case TLFS_MSR_SINT0 ... TLFS_MSR_SINT15:
        *ret = atomic_load(&synic->sint[msr - TLFS_MSR_SINT0]);
        return true;
    case TLFS_MSR_STIMER0_CONFIG ... TLFS_MSR_STIMER3_COUNT:
        *ret = read_stimer(synic, msr);
        return true;
    default: return false;
    }
}

static bool write_locked(struct hv_synic *synic, uint32_t msr, uint64_t value)
{
    uint64_t old;

    switch (msr) {
    case TLFS_MSR_SCONTROL:
        old = atomic_exchange(&synic->control, value);
        switched(synic, old, value);
        return true;
    case TLFS_MSR_SIEFP: write_page(synic, &synic->siefp, value); return true;
    case TLFS_MSR_SIMP:
        old = atomic_load(&synic->simp);
        write_page(synic, &synic->simp, value);
        switched(synic, old, value);
        return true;
    case TLFS_MSR_EOM: deliver_all(synic); return true;
    case TLFS_MSR_SINT0 ... TLFS_MSR_SINT15: return write_sint(synic, msr - TLFS_MSR_SINT0, value);
    case TLFS_MSR_STIMER0_CONFIG ... TLFS_MSR_STIMER3_COUNT:
        synic_stimer_write(synic, msr, value);
        return true;
    default: return false;
    }
}

bool hv_synic_write(struct hv_synic *synic, uint32_t msr, uint64_t value)
{
    bool is_ok;

    /* The usual case: the guest ended the only message. */
    if (msr == TLFS_MSR_EOM && atomic_load(&synic->waiting) == 0)
        return true;
    (void)pthread_mutex_lock(&synic->lock);
    is_ok = write_locked(synic, msr, value);
    (void)pthread_mutex_unlock(&synic->lock);
    return is_ok;
}
