/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Heartbeat: is the guest's kernel alive, and what does it say of its applications?
 *
 * A beat every 2 s; lost after 10 in a row that were not answered. A guest that comes back is found
 * by a beat that waits without end, renewed now and then.
 *
 * thread: io. spec: hv_util.c of Linux 6.1, heartbeat_onchannelcallback
 */
#pragma once

#include "vmwp/ic/ic.h"

struct ic_heartbeat;

enum {
    IC_HEARTBEAT_PERIOD_MS = 2000,
    IC_HEARTBEAT_LOST_AFTER = 10,
    IC_HEARTBEAT_RENEW_MS = 30000 /* while lost */
};

/* Hyper-V's numbers */
enum ic_contact {
    IC_CONTACT_OK = 2,
    IC_CONTACT_MISMATCH = 7,
    IC_CONTACT_NONE = 12, /* never seen since the guest's driver opened it, or since the reset */
    IC_CONTACT_LOST = 13
};

enum ic_applications {
    IC_APPLICATIONS_UNKNOWN = 0, /* Linux never says */
    IC_APPLICATIONS_HEALTHY = 1,
    IC_APPLICATIONS_CRITICAL = 2,
    IC_APPLICATIONS_STOPPED = 3
};

struct ic_heartbeat_facts {
    /* public */
    enum ic_contact contact;
    enum ic_applications applications;
    uint64_t n_beats;   /* answered since it was opened */
    uint64_t answer_ns; /* how long the last answer took */
    uint64_t age_ns;    /* of the last answer, in running time; UINT64_MAX: none */
};

struct ic_heartbeat_config {
    /* public */
    struct ic_clock *clock;
    struct vmbus_server *server;
    struct hv_log log;
    /* Contact or the applications' state is another than before; may be NULL. */
    void (*changed)(void *opaque);
    void *opaque;
};

/* Offer it. Returns 0 or a negative errno of ic_channel_new. */
int ic_heartbeat_new(const struct ic_heartbeat_config *config, struct ic_heartbeat **ret);
struct ic_heartbeat *ic_heartbeat_free(struct ic_heartbeat *hb, bool is_server_gone);
/* As it was when it was made. */
void ic_heartbeat_reset(struct ic_heartbeat *hb);
/* Its channel, for its state and version; borrowed. */
struct ic_channel *ic_heartbeat_channel(struct ic_heartbeat *hb);
/* What is known now. */
void ic_heartbeat_get(const struct ic_heartbeat *hb, struct ic_heartbeat_facts *ret);
