/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts into KVM's local APICs: messages by KVM_SIGNAL_MSI, the 8259 pair by KVM_INTERRUPT
 * when the processor's window is open.
 *
 * KVM tells of the end of a level-triggered interrupt only for vectors that stand in its routing
 * table among the I/O APIC's pins. So each level-triggered message is entered there before it is
 * delivered for the first time.
 */
#include "hvcore/backend/kvm/kvm_priv.h"

enum {
    MSI_BASE = (int)0xfee00000,
    MSI_LOGICAL = 1 << 2,
    MSI_DESTINATION_SHIFT = 12,
    MSI_MODE_SHIFT = 8,
    MSI_ASSERT = 1 << 14,
    MSI_LEVEL = 1 << 15
};

static struct kvm_level_route message_of(const struct hv_interrupt *interrupt)
{
    struct kvm_level_route message = {
        .address = (uint32_t)MSI_BASE | (interrupt->destination & 0xff) << MSI_DESTINATION_SHIFT |
                   (uint64_t)(interrupt->destination & 0xffffff00) << 32,
        .data = interrupt->vector | (uint32_t)interrupt->delivery_mode << MSI_MODE_SHIFT,
    };

    if (interrupt->is_logical)
        message.address |= MSI_LOGICAL;
    if (interrupt->is_level)
        message.data |= MSI_LEVEL | MSI_ASSERT;
    return message;
}

static int write_routes(const struct kvm_partition *partition)
{
    struct kvm_irq_routing *table = partition->table;

    for (unsigned i = 0; i < partition->n_routes; i++) {
        const struct kvm_level_route *route = &partition->routes[i];

        table->entries[i] = (struct kvm_irq_routing_entry){
            .gsi = i,
            .type = KVM_IRQ_ROUTING_MSI,
            .u.msi = { .address_lo = (uint32_t)route->address,
                       .address_hi = (uint32_t)(route->address >> 32),
                       .data = route->data },
        };
    }
    table->nr = partition->n_routes +
                hvkvm_synic_add_routes(partition, table->entries + partition->n_routes);
    return hvkvm_ioctl(partition->vm_fd, KVM_SET_GSI_ROUTING, table);
}

int hvkvm_routes_init(struct kvm_partition *partition)
{
    size_t n = KVM_LEVEL_ROUTES + (size_t)partition->host->n_vps * HV_STATE_SINTS;

    partition->table =
        calloc(1, sizeof(*partition->table) + n * sizeof(partition->table->entries[0]));
    if (!partition->table)
        return -ENOMEM;
    return partition->has_synic ? write_routes(partition) : 0;
}

static void watch_end_of(struct kvm_partition *partition, const struct kvm_level_route *message)
{
    bool is_known = false;

    (void)pthread_mutex_lock(&partition->route_lock);
    for (unsigned i = 0; i < partition->n_routes; i++)
        is_known |= partition->routes[i].address == message->address &&
                    partition->routes[i].data == message->data;
    if (!is_known) {
        partition->routes[partition->next_route] = *message;
        partition->next_route = (partition->next_route + 1) % KVM_LEVEL_ROUTES;
        if (partition->n_routes < KVM_LEVEL_ROUTES)
            partition->n_routes++;
        if (write_routes(partition) < 0)
            hv_log_printf(partition->host->log, HV_LOG_WARNING, NULL,
                          "KVM refused an interrupt route; a level-triggered line may stall.");
    }
    (void)pthread_mutex_unlock(&partition->route_lock);
}

void hvkvm_interrupt(void *backend, const struct hv_interrupt *interrupt)
{
    struct kvm_partition *partition = backend;
    struct kvm_level_route message = message_of(interrupt);
    struct kvm_msi msi = { .address_lo = (uint32_t)message.address,
                           .address_hi = (uint32_t)(message.address >> 32),
                           .data = message.data };

    if (interrupt->is_level)
        watch_end_of(partition, &message);
    /* Nobody there to take it is no failure of ours. */
    (void)hvkvm_ioctl(partition->vm_fd, KVM_SIGNAL_MSI, &msi);
}

void hvkvm_set_pic_output(void *backend, bool level)
{
    struct kvm_partition *partition = backend;

    if (atomic_exchange(&partition->pic_output, level) != level && level)
        hvkvm_vp_kick(partition->vps[0]);
}

int hvkvm_inject_pic(struct kvm_vp *vp)
{
    struct kvm_partition *partition = vp->partition;
    struct kvm_interrupt interrupt;
    int vector;

    if (vp->index != 0)
        return 0;
    vp->run->request_interrupt_window = 0;
    if (!atomic_load(&partition->pic_output))
        return 0;
    if (!vp->run->ready_for_interrupt_injection) {
        vp->run->request_interrupt_window = 1;
        return 0;
    }
    vector = partition->host->handlers->pic_acknowledge(partition->host->partition);
    if (vector < 0)
        return 0;
    interrupt.irq = (uint32_t)vector;
    return hvkvm_ioctl(vp->fd, KVM_INTERRUPT, &interrupt);
}
