/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ports: a table by connection ID. Who calls holds on to the port while it calls, not to the
 * table, so a port's function may add others.
 *
 * spec: TLFS inter-partition-communication "Ports", "Connections"
 */
#include "hvcore/synic/port.h"

#include "hvcore/partition/object.h"

#include <sched.h>

struct port {
    struct hv_list link;
    uint32_t connection_id;
    int eventfd;              /* of an event port, else -1 */
    hv_port_message_fn *post; /* of a message port, else NULL */
    void *opaque;
    _Atomic unsigned n_users;
};

void hv_ports_init(struct hv_ports *ports)
{
    (void)pthread_rwlock_init(&ports->lock, NULL);
    for (unsigned i = 0; i < HV_PORT_BUCKETS; i++)
        hv_list_init(&ports->buckets[i]);
    ports->n_ports = 0;
}

void hv_ports_fini(struct hv_ports *ports)
{
    for (unsigned i = 0; i < HV_PORT_BUCKETS; i++)
        HV_LIST_FOREACH (node, &ports->buckets[i])
            free(HV_LIST_ENTRY(node, struct port, link));
    (void)pthread_rwlock_destroy(&ports->lock);
}

static struct hv_list *bucket_of(struct hv_ports *ports, uint32_t connection_id)
{
    return &ports->buckets[connection_id % HV_PORT_BUCKETS];
}

static struct port *find(struct hv_ports *ports, uint32_t connection_id)
{
    HV_LIST_FOREACH (node, bucket_of(ports, connection_id)) {
        struct port *port = HV_LIST_ENTRY(node, struct port, link);

        if (port->connection_id == connection_id)
            return port;
    }
    return NULL;
}

/* ---- the guest's calls ---- */

static struct port *hold(struct hv_ports *ports, uint32_t connection_id)
{
    struct port *port;

    (void)pthread_rwlock_rdlock(&ports->lock);
    port = find(ports, connection_id);
    if (port)
        atomic_fetch_add(&port->n_users, 1);
    (void)pthread_rwlock_unlock(&ports->lock);
    return port;
}

static void let_go(struct port *port)
{
    atomic_fetch_sub(&port->n_users, 1);
}

enum tlfs_status hv_ports_post(struct hv_ports *ports, uint32_t connection_id, unsigned vp,
                               const struct hv_message *message)
{
    struct port *port = hold(ports, connection_id);
    enum tlfs_status status = TLFS_STATUS_SUCCESS;

    if (!port)
        return TLFS_STATUS_INVALID_CONNECTION_ID;
    if (!port->post)
        status = TLFS_STATUS_INVALID_PORT_ID;
    else if (!port->post(port->opaque, vp, message))
        status = TLFS_STATUS_INSUFFICIENT_BUFFERS;
    let_go(port);
    return status;
}

enum tlfs_status hv_ports_signal(struct hv_ports *ports, uint32_t connection_id)
{
    struct port *port = hold(ports, connection_id);
    enum tlfs_status status = TLFS_STATUS_SUCCESS;
    const uint64_t one = 1;

    if (!port)
        return TLFS_STATUS_INVALID_CONNECTION_ID;
    if (port->eventfd < 0)
        status = TLFS_STATUS_INVALID_PORT_ID;
    else
        /* A full counter is a signal that stands already. */
        (void)!write(port->eventfd, &one, sizeof(one));
    let_go(port);
    return status;
}

/* ---- the parent's side ---- */

static int insert(struct hv_ports *ports, struct port *port)
{
    int r = 0;

    (void)pthread_rwlock_wrlock(&ports->lock);
    if (find(ports, port->connection_id))
        r = -EEXIST;
    else if (ports->n_ports == HV_PORTS_MAX)
        r = -ENOSPC;
    if (r == 0) {
        hv_list_append(bucket_of(ports, port->connection_id), &port->link);
        ports->n_ports++;
    }
    (void)pthread_rwlock_unlock(&ports->lock);
    return r;
}

static int add(struct hv_ports *ports, const struct port *wanted)
{
    struct port *port = malloc(sizeof(*port));
    int r;

    if (!port)
        return -ENOSPC;
    *port = *wanted;
    r = insert(ports, port);
    if (r < 0)
        free(port);
    return r;
}

int hv_partition_add_message_port(struct hv_partition *partition, uint32_t connection_id,
                                  hv_port_message_fn *fn, void *opaque)
{
    struct port port = {
        .connection_id = connection_id, .eventfd = -1, .post = fn, .opaque = opaque
    };

    return add(&partition->synic_ports, &port);
}

/* A backend that can signal it by itself does; the port is there for one that can't. */
static void tell_backend(struct hv_partition *partition, const struct port *port, bool is_added)
{
    const struct hv_backend_ops *ops = partition->ops;

    if (ops->set_event_port && port->eventfd >= 0)
        (void)ops->set_event_port(partition->backend, port->connection_id, port->eventfd, is_added);
}

int hv_partition_add_event_port(struct hv_partition *partition, uint32_t connection_id, int eventfd)
{
    struct port port = { .connection_id = connection_id, .eventfd = eventfd };
    int r = add(&partition->synic_ports, &port);

    if (r == 0)
        tell_backend(partition, &port, true);
    return r;
}

void hv_partition_remove_port(struct hv_partition *partition, uint32_t connection_id)
{
    struct hv_ports *ports = &partition->synic_ports;
    struct port *port;

    (void)pthread_rwlock_wrlock(&ports->lock);
    port = find(ports, connection_id);
    if (port) {
        hv_list_remove(&port->link);
        ports->n_ports--;
    }
    (void)pthread_rwlock_unlock(&ports->lock);
    if (!port)
        return;
    tell_backend(partition, port, false);
    /* Calls don't block: this is short. */
    while (atomic_load(&port->n_users) > 0)
        (void)sched_yield();
    free(port);
}
