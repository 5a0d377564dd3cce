/* SPDX-License-Identifier: Apache-2.0 */
/* A VP under KVM: its life, the run loop, and what each exit leads to. */
#include "hvcore/backend/kvm/kvm_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

/* KVM_RUN's outcomes for the loop. */
enum outcome { GO_ON, LEAVE };

void hvkvm_vp_free(void *opaque)
{
    struct kvm_vp *vp = opaque;

    if (vp->run)
        (void)munmap(vp->run, vp->run_bytes);
    (void)hv_close(vp->fd);
    (void)pthread_mutex_destroy(&vp->lock);
    vp->partition->vps[vp->index] = NULL;
    free(vp);
}

static int map_run(struct kvm_vp *vp)
{
    int bytes = hvkvm_ioctl(vp->partition->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
    void *run;

    if (bytes < 0)
        return bytes;
    run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vp->fd, 0);
    if (run == MAP_FAILED)
        return -errno;
    vp->run = run;
    vp->run_bytes = (size_t)bytes;
    return 0;
}

int hvkvm_vp_new(void *backend, unsigned index, void **ret, struct hv_error **reterr)
{
    struct kvm_partition *partition = backend;
    struct kvm_vp *vp = calloc(1, sizeof(*vp));
    int r;

    if (!vp)
        return -ENOMEM;
    vp->partition = partition;
    vp->index = index;
    vp->fd = -1;
    (void)pthread_mutex_init(&vp->lock, NULL);
    partition->vps[index] = vp;
    vp->fd = hvkvm_ioctl(partition->vm_fd, KVM_CREATE_VCPU, (void *)(uintptr_t)index);
    r = vp->fd < 0 ? vp->fd : map_run(vp);
    r = r < 0 ? r : hvkvm_synic_init_vp(vp);
    if (r < 0) {
        hvkvm_vp_free(vp);
        return hv_error_set(reterr, r, "vm.processor",
                            "KVM could not make virtual processor %u: %s.", index, strerror(-r));
    }
    *ret = vp;
    return 0;
}

void hvkvm_vp_kick(struct kvm_vp *vp)
{
    (void)pthread_mutex_lock(&vp->lock);
    /* Read by KVM_RUN on its way in; the signal is for when it is in already. */
    __atomic_store_n(&vp->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
    if (vp->is_running && !pthread_equal(vp->thread, pthread_self()))
        (void)pthread_kill(vp->thread, HVKVM_KICK_SIGNAL);
    (void)pthread_mutex_unlock(&vp->lock);
}

void hvkvm_vp_cancel(void *opaque)
{
    struct kvm_vp *vp = opaque;

    atomic_store(&vp->is_cancelled, true);
    hvkvm_vp_kick(vp);
}

static void set_running(struct kvm_vp *vp, bool is_running)
{
    (void)pthread_mutex_lock(&vp->lock);
    vp->is_running = is_running;
    vp->thread = pthread_self();
    (void)pthread_mutex_unlock(&vp->lock);
}

static uint64_t get_bytes(const uint8_t *from, unsigned size)
{
    uint64_t value = 0;

    memcpy(&value, from, size <= sizeof(value) ? size : sizeof(value));
    return value;
}

static void on_port(struct kvm_vp *vp)
{
    const struct hv_backend_host *host = vp->partition->host;
    struct kvm_run *run = vp->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    unsigned size = run->io.size;

    vp->port_ios++;
    if (run->io.direction == KVM_EXIT_IO_OUT && run->io.port == KVM_HYPERCALL_PORT && size == 1 &&
        run->io.count == 1) {
        hvkvm_on_call_port(vp);
        return;
    }
    for (unsigned i = 0; i < run->io.count; i++, data += size) {
        if (run->io.direction == KVM_EXIT_IO_OUT) {
            host->handlers->port_write(host->partition, run->io.port, size,
                                       (uint32_t)get_bytes(data, size));
        } else {
            uint32_t value = host->handlers->port_read(host->partition, run->io.port, size);

            memcpy(data, &value, size);
        }
    }
}

static void on_mmio(struct kvm_vp *vp)
{
    const struct hv_backend_host *host = vp->partition->host;
    struct kvm_run *run = vp->run;
    unsigned size = run->mmio.len;

    vp->mmios++;
    if (run->mmio.is_write) {
        host->handlers->mmio_write(host->partition, run->mmio.phys_addr, size,
                                   get_bytes(run->mmio.data, size));
    } else {
        uint64_t value = host->handlers->mmio_read(host->partition, run->mmio.phys_addr, size);

        memcpy(run->mmio.data, &value, sizeof(value));
    }
}

static void on_msr(struct kvm_vp *vp, bool is_write)
{
    const struct hv_backend_host *host = vp->partition->host;
    struct kvm_run *run = vp->run;
    uint64_t value = run->msr.data;
    bool is_ok;

    if (is_write)
        is_ok = host->handlers->msr_write(host->partition, vp->index, run->msr.index, value);
    else
        is_ok = host->handlers->msr_read(host->partition, vp->index, run->msr.index, &value);
    run->msr.data = value;
    run->msr.error = !is_ok;
}

static enum outcome leave_with(struct kvm_vp *vp, struct hv_exit *exit, enum hv_exit_kind kind)
{
    struct kvm_regs regs;

    exit->kind = kind;
    if (hvkvm_ioctl(vp->fd, KVM_GET_REGS, &regs) == 0)
        exit->rip = regs.rip;
    return LEAVE;
}

static enum outcome on_failure(struct kvm_vp *vp, struct hv_exit *exit)
{
    const struct kvm_run *run = vp->run;

    if (run->exit_reason == KVM_EXIT_FAIL_ENTRY)
        (void)snprintf(exit->text, sizeof(exit->text),
                       "The processor refused the guest's state (hardware reason %#llx).",
                       run->fail_entry.hardware_entry_failure_reason);
    else if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR)
        (void)snprintf(exit->text, sizeof(exit->text),
                       "KVM could not go on with the guest (suberror %u).", run->internal.suberror);
    else
        (void)snprintf(exit->text, sizeof(exit->text), "KVM left the guest for reason %u.",
                       run->exit_reason);
    return leave_with(vp, exit, HV_EXIT_ERROR);
}

static enum outcome on_exit_reason(struct kvm_vp *vp, struct hv_exit *exit)
{
    const struct hv_backend_host *host = vp->partition->host;

    vp->exits++;
    switch (vp->run->exit_reason) {
    case KVM_EXIT_IO: on_port(vp); return GO_ON;
    case KVM_EXIT_MMIO: on_mmio(vp); return GO_ON;
    case KVM_EXIT_HYPERV: hvkvm_on_hyperv(vp); return GO_ON;
    case KVM_EXIT_X86_RDMSR: on_msr(vp, false); return GO_ON;
    case KVM_EXIT_X86_WRMSR: on_msr(vp, true); return GO_ON;
    case KVM_EXIT_IOAPIC_EOI:
        host->handlers->end_of_interrupt(host->partition, vp->run->eoi.vector);
        return GO_ON;
    case KVM_EXIT_IRQ_WINDOW_OPEN:
    case KVM_EXIT_INTR: return GO_ON;
    case KVM_EXIT_SHUTDOWN: return leave_with(vp, exit, HV_EXIT_SHUTDOWN);
    default: return on_failure(vp, exit);
    }
}

/* What is done for an I/O exit becomes state only when KVM is entered again: a cancelled VP leaves
 * by EINTR alone, which KVM returns after it has completed the last access. */
static int run_loop(struct kvm_vp *vp, struct hv_exit *exit)
{
    for (;;) {
        int r = hvkvm_inject_pic(vp);

        if (r < 0)
            return r;
        if (ioctl(vp->fd, KVM_RUN, 0) == 0) {
            if (on_exit_reason(vp, exit) == LEAVE)
                return 0;
            continue;
        }
        if (errno == EAGAIN)
            continue;
        if (errno != EINTR)
            return -errno;
        __atomic_store_n(&vp->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
        if (atomic_exchange(&vp->is_cancelled, false)) {
            (void)leave_with(vp, exit, HV_EXIT_CANCELLED);
            return 0;
        }
    }
}

int hvkvm_vp_run(void *opaque, struct hv_exit *ret)
{
    struct kvm_vp *vp = opaque;
    sigset_t kick, before;
    int r;

    (void)sigemptyset(&kick);
    (void)sigaddset(&kick, HVKVM_KICK_SIGNAL);
    (void)pthread_sigmask(SIG_UNBLOCK, &kick, &before);
    set_running(vp, true);
    r = run_loop(vp, ret);
    set_running(vp, false);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

void hvkvm_vp_get_counters(const void *opaque, struct hv_vp_counters *ret)
{
    const struct kvm_vp *vp = opaque;

    ret->exits = vp->exits;
    ret->port_ios = vp->port_ios;
    ret->mmios = vp->mmios;
}
