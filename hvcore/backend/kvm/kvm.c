/* SPDX-License-Identifier: Apache-2.0 */
/* A partition under KVM: made, sealed, paused, reset. */
#include "hvcore/backend/kvm/kvm_priv.h"
#include "hvcore/spec/tlfs.h"

#include <string.h>

enum {
    /* Three pages and one that Intel processors without unrestricted guest mode need, in the hole
     * below 4 GiB where no chip lives. */
    TSS_ADDRESS = (int)0xfffbd000,
    IDENTITY_MAP_ADDRESS = (int)0xfffbc000
};

static void hvkvm_partition_free(void *opaque)
{
    struct kvm_partition *partition = opaque;

    (void)hv_close(partition->vm_fd);
    (void)hv_close(partition->kvm_fd);
    free(partition->table);
    (void)pthread_mutex_destroy(&partition->route_lock);
    free(partition);
}

static int enable(int vm_fd, uint32_t capability, uint64_t argument)
{
    struct kvm_enable_cap cap = { .cap = capability, .args = { argument } };

    return hvkvm_ioctl(vm_fd, KVM_ENABLE_CAP, &cap);
}

/* One bit an MSR: what KVM answers itself. */
struct msr_bitmaps {
    uint8_t read[(TLFS_MSR_LAST - TLFS_MSR_FIRST + 1) / 8];
    uint8_t write[(TLFS_MSR_LAST - TLFS_MSR_FIRST + 1) / 8];
};

static void allow(uint8_t *bitmap, uint32_t first, uint32_t last)
{
    for (uint32_t i = first - TLFS_MSR_FIRST; i <= last - TLFS_MSR_FIRST; i++)
        bitmap[i / 8] |= (uint8_t)(1U << i % 8);
}

/* Of the SynIC KVM takes all but what is to pass by us first: EOM and the SINTs (synic.c). */
static void allow_msrs(const struct kvm_partition *partition, struct msr_bitmaps *ret)
{
    uint32_t last = partition->has_lazy_eoi ? TLFS_MSR_VP_ASSIST_PAGE : TLFS_MSR_TPR;

    if (partition->host->facts->offers & HV_OFFER_APIC_MSRS) {
        allow(ret->read, TLFS_MSR_EOI, last);
        allow(ret->write, TLFS_MSR_EOI, last);
    }
    if (partition->has_synic) {
        allow(ret->read, TLFS_MSR_SCONTROL, TLFS_MSR_SIMP);
        allow(ret->read, TLFS_MSR_SINT0, TLFS_MSR_SINT15);
        allow(ret->write, TLFS_MSR_SCONTROL, TLFS_MSR_SIMP);
    }
}

/* The synthetic MSRs are ours but for those; so are MSRs that KVM doesn't know. */
static int route_msrs(const struct kvm_partition *partition)
{
    const uint32_t n = TLFS_MSR_LAST - TLFS_MSR_FIRST + 1;
    struct msr_bitmaps allowed = { 0 };
    struct kvm_msr_filter filter = {
        .flags = KVM_MSR_FILTER_DEFAULT_ALLOW,
        .ranges = { { .flags = KVM_MSR_FILTER_READ,
                      .nmsrs = n,
                      .base = TLFS_MSR_FIRST,
                      .bitmap = allowed.read },
                    { .flags = KVM_MSR_FILTER_WRITE,
                      .nmsrs = n,
                      .base = TLFS_MSR_FIRST,
                      .bitmap = allowed.write } },
    };
    int r;

    allow_msrs(partition, &allowed);
    r = enable(partition->vm_fd, KVM_CAP_X86_USER_SPACE_MSR,
               KVM_MSR_EXIT_REASON_FILTER | KVM_MSR_EXIT_REASON_UNKNOWN);
    return r < 0 ? r : hvkvm_ioctl(partition->vm_fd, KVM_X86_SET_MSR_FILTER, &filter);
}

static int prepare_vm(struct kvm_partition *partition)
{
    uint64_t identity_map = (uint32_t)IDENTITY_MAP_ADDRESS;
    int fd = partition->vm_fd;
    int r;

    if ((r = hvkvm_ioctl(fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map)) < 0 ||
        (r = hvkvm_ioctl(fd, KVM_SET_TSS_ADDR, (void *)(uintptr_t)(uint32_t)TSS_ADDRESS)) < 0 ||
        (r = enable(fd, KVM_CAP_SPLIT_IRQCHIP, KVM_LEVEL_ROUTES)) < 0 ||
        (r = enable(fd, KVM_CAP_X2APIC_API,
                    KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK)) < 0)
        return r;
    return route_msrs(partition);
}

static int open_kvm(struct kvm_partition *partition, struct hv_error **reterr)
{
    int r = hvkvm_open(partition->host->kvm_fd);

    if (r < 0)
        return hv_error_set(reterr, r, "host.kvm.open", "/dev/kvm cannot be opened: %s.",
                            strerror(-r));
    partition->kvm_fd = r;
    return hvkvm_check_capabilities(partition->kvm_fd, reterr);
}

static int make_vm(struct kvm_partition *partition, struct hv_error **reterr)
{
    const struct hv_backend_host *host = partition->host;
    int r = hvkvm_ioctl(partition->kvm_fd, KVM_CREATE_VM, NULL);

    if (r >= 0) {
        partition->vm_fd = r;
        r = prepare_vm(partition);
    }
    if (r >= 0)
        r = hvkvm_cpuid_build(partition->kvm_fd, host->cpuid, host->n_vps);
    if (r < 0)
        return hv_error_set(reterr, r, "vm.kvm", "KVM could not make the VM: %s.", strerror(-r));
    return 0;
}

static int hvkvm_partition_new(const struct hv_backend_host *host, void **ret,
                               struct hv_error **reterr)
{
    struct kvm_partition *partition = calloc(1, sizeof(*partition));
    int r;

    if (!partition)
        return -ENOMEM;
    partition->host = host;
    partition->kvm_fd = partition->vm_fd = -1;
    (void)pthread_mutex_init(&partition->route_lock, NULL);
    hvkvm_install_kick();
    r = open_kvm(partition, reterr);
    if (r >= 0) {
        hvkvm_hypercalls_init(partition);
        r = make_vm(partition, reterr);
    }
    if (r < 0) {
        hvkvm_partition_free(partition);
        return r;
    }
    *ret = partition;
    return 0;
}

static int map_memory(struct kvm_partition *partition)
{
    struct hv_gpa_space *gpa = partition->host->gpa;

    for (unsigned i = 0; i < gpa->n_slots; i++) {
        const struct hv_gpa_slot *slot = &gpa->slots[i];
        struct kvm_userspace_memory_region region = {
            .slot = i,
            .guest_phys_addr = slot->first,
            .memory_size = slot->bytes,
            .userspace_addr = (uintptr_t)slot->host,
        };
        int r = hvkvm_ioctl(partition->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);

        if (r < 0)
            return r;
    }
    return 0;
}

static bool has_tsc_offset(const struct kvm_vp *vp)
{
    struct kvm_device_attr attr = { .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET };

    return hvkvm_ioctl(vp->fd, KVM_HAS_DEVICE_ATTR, &attr) == 0;
}

static int seal_vp(struct kvm_vp *vp)
{
    uint64_t offset = hv_guest_clock_offset(vp->partition->host->clock);
    int r;

    if ((r = hvkvm_cpuid_set(vp)) < 0 || (r = hvkvm_vp_set_tsc_offset(vp, offset)) < 0 ||
        (r = hvkvm_vp_set_machine_msrs(vp)) < 0 || (r = hvkvm_vp_get_state(vp, &vp->power_up)) < 0)
        return r;
    /* KVM has its SynIC enabled at first. */
    vp->power_up.synic.control = 0;
    return hvkvm_synic_set_state(vp, &vp->power_up);
}

static int hvkvm_seal(void *opaque, struct hv_error **reterr)
{
    struct kvm_partition *partition = opaque;
    int r = map_memory(partition);

    if (r < 0)
        return hv_error_set(reterr, r, "vm.memory.map", "KVM could not map the VM's memory: %s.",
                            strerror(-r));
    partition->has_tsc_offset = has_tsc_offset(partition->vps[0]);
    partition->has_xcrs =
        hvkvm_ioctl(partition->kvm_fd, KVM_CHECK_EXTENSION, (void *)KVM_CAP_XCRS) > 0;
    r = hvkvm_routes_init(partition);
    if (r < 0)
        return hv_error_set(reterr, r, "vm.kvm", "KVM refused the VM's interrupt routes: %s.",
                            strerror(-r));
    for (unsigned i = 0; i < partition->host->n_vps; i++) {
        r = seal_vp(partition->vps[i]);
        if (r < 0)
            return hv_error_set(reterr, r, "vm.processor",
                                "KVM refused to set up virtual processor %u: %s.", i, strerror(-r));
    }
    return 0;
}

static void hvkvm_pause_time(void *opaque)
{
    struct kvm_partition *partition = opaque;

    if (partition->is_paused)
        return;
    for (unsigned i = 0; i < partition->host->n_vps; i++)
        (void)hvkvm_vp_freeze_timer(partition->vps[i]);
    partition->is_paused = true;
}

/* Each VP's TSC keeps its distance to the clock; then its timer runs on from where it was. */
static void hvkvm_resume_time(void *opaque, uint64_t ticks)
{
    struct kvm_partition *partition = opaque;

    for (unsigned i = 0; i < partition->host->n_vps; i++) {
        (void)hvkvm_vp_skip_tsc(partition->vps[i], ticks);
        (void)hvkvm_vp_thaw_timer(partition->vps[i]);
    }
    partition->is_paused = false;
}

static void hvkvm_reset(void *opaque)
{
    struct kvm_partition *partition = opaque;

    atomic_store(&partition->pic_output, false);
    for (unsigned i = 0; i < partition->host->n_vps; i++) {
        struct kvm_vp *vp = partition->vps[i];

        vp->power_up.tsc = hv_guest_clock_tsc(partition->host->clock);
        if (hvkvm_vp_set_state(vp, &vp->power_up) < 0 || hvkvm_vp_set_machine_msrs(vp) < 0)
            hv_log_printf(partition->host->log, HV_LOG_ERROR, NULL,
                          "KVM refused to reset virtual processor %u.", i);
    }
}

static int hvkvm_add_doorbell(void *opaque, bool is_port, uint64_t address, unsigned size,
                              int eventfd)
{
    struct kvm_partition *partition = opaque;
    struct kvm_ioeventfd bell = {
        .addr = address,
        .len = size,
        .fd = eventfd,
        .flags = is_port ? KVM_IOEVENTFD_FLAG_PIO : 0,
    };
    int r = hvkvm_ioctl(partition->vm_fd, KVM_IOEVENTFD, &bell);

    return r < 0 ? r : 0;
}

const struct hv_backend_ops hvkvm_ops = {
    .name = "kvm",
    .partition_new = hvkvm_partition_new,
    .partition_free = hvkvm_partition_free,
    .seal = hvkvm_seal,
    .interrupt = hvkvm_interrupt,
    .set_pic_output = hvkvm_set_pic_output,
    .enable_hypercalls = hvkvm_enable_hypercalls,
    .set_event_port = hvkvm_set_event_port,
    .set_sint = hvkvm_set_sint,
    .raise_sint = hvkvm_raise_sint,
    .pause_time = hvkvm_pause_time,
    .resume_time = hvkvm_resume_time,
    .reset = hvkvm_reset,
    .add_doorbell = hvkvm_add_doorbell,
    .vp_new = hvkvm_vp_new,
    .vp_free = hvkvm_vp_free,
    .vp_run = hvkvm_vp_run,
    .vp_cancel = hvkvm_vp_cancel,
    .vp_get_state = hvkvm_vp_get_state,
    .vp_set_state = hvkvm_vp_set_state,
    .vp_get_counters = hvkvm_vp_get_counters,
};
