/* SPDX-License-Identifier: Apache-2.0 */
/* The parent's ports behind connection IDs, as hypercalls find them. */
#pragma once

#include "hvcore/base/list.h"
#include "hvcore/spec/tlfs.h"
#include "hvcore/synic.h"

#include <pthread.h>

enum { HV_PORT_BUCKETS = 256, HV_PORTS_MAX = 8192 };

struct hv_ports {
    /* private; lock: who adds and removes writes, calls read */
    pthread_rwlock_t lock;
    struct hv_list buckets[HV_PORT_BUCKETS];
    unsigned n_ports;
};

/* No port yet. */
void hv_ports_init(struct hv_ports *ports);
void hv_ports_fini(struct hv_ports *ports);

/* Hand a guest's message or signal to the port. The message's type and size are checked. */
enum tlfs_status hv_ports_post(struct hv_ports *ports, uint32_t connection_id, unsigned vp,
                               const struct hv_message *message);
enum tlfs_status hv_ports_signal(struct hv_ports *ports, uint32_t connection_id);
