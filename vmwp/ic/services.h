/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's integration components and its keyboard, in one: what the worker makes for a machine and
 * what its control channel asks.
 *
 * A service that isn't enabled is not offered; asking it is -EOPNOTSUPP with a sentence. All other
 * results are those of the component's own header, whose done functions are called on the io thread
 * and never from inside the asking function, but for ic_services_thaw of what was thawed by time.
 *
 * thread: io
 */
#pragma once

#include "vmwp/ic/filecopy.h"
#include "vmwp/ic/heartbeat.h"
#include "vmwp/ic/kvp.h"
#include "vmwp/ic/shutdown.h"
#include "vmwp/ic/timesync.h"
#include "vmwp/ic/vss.h"
#include "vmwp/vsp/inputvsp/keyboard.h"

struct ic_services;

enum ic_service {
    IC_SERVICE_HEARTBEAT,
    IC_SERVICE_SHUTDOWN,
    IC_SERVICE_TIMESYNC,
    IC_SERVICE_KVP,
    IC_SERVICE_VSS,
    IC_SERVICE_FILECOPY,
    IC_SERVICE_KEYBOARD,
    IC_N_SERVICES
};

#define IC_SERVICE_BIT(service) (1u << (service))
#define IC_SERVICES_ALL         (IC_SERVICE_BIT(IC_N_SERVICES) - 1)

struct ic_services_config {
    /* public */
    struct vmbus_server *server; /* outlives them, unless it is gone when they are freed */
    struct hv_log log;
    unsigned enabled; /* of IC_SERVICE_BIT() */
    const struct ic_time_ops *time;
    void *time_opaque;
    bool has_time_samples; /* else only start, resume and restore set the guest's clock */
    /* What the guest is told of the host and itself; outlives them. */
    const struct ic_kvp_pair *host_pairs;
    unsigned n_host_pairs;
    /* What is known of the guest has changed: heartbeat, pairs, or frozen or not. May be NULL. */
    void (*changed)(void *opaque, enum ic_service service);
    void *opaque;
};

/* Offer what is enabled; all or nothing. Returns 0, -ENOMEM or an errno of vmbus_offer_channel. */
int ic_services_new(const struct ic_services_config *config, struct ic_services **ret);
/* Offer one more, or take it from the guest. Returns 0 (also when it is so already), -ENOMEM or an
 * errno of vmbus_offer_channel. */
int ic_services_enable(struct ic_services *services, enum ic_service service, bool is_enabled);
/* Take the offers back. Nothing but free may be called afterwards. */
void ic_services_revoke(struct ic_services *services);
/* After revoke, or when the server is gone. Who waits hears nothing more. */
struct ic_services *ic_services_free(struct ic_services *services);

/* pause, resume, reset, free. A pause makes time stand for all components; resuming sets the
 * guest's clock. */
extern const struct vsp_ops ic_services_ops;

/* The alarm that was set through time->set_alarm has come. */
void ic_services_due(struct ic_services *services);

struct ic_service_status {
    /* public */
    const char *name; /* "heartbeat" */
    bool is_enabled;
    enum ic_state state;       /* IC_CLOSED unless enabled */
    struct ic_version version; /* 0.0 unless IC_READY */
};

/* How far a service has come with the guest. */
void ic_services_get_status(const struct ic_services *services, enum ic_service service,
                            struct ic_service_status *ret);

struct ic_guest_facts {
    /* public */
    struct ic_heartbeat_facts heartbeat; /* no contact unless enabled */
    uint64_t pairs_age_ns;               /* UINT64_MAX: never read */
    bool is_truncated;                   /* the guest has more pairs than were read */
    enum ic_vss_state vss;
};

/* What is known of the guest now. */
void ic_services_get_facts(const struct ic_services *services, struct ic_guest_facts *ret);
/* Its pairs, one of the first three pools; borrowed until the next event. */
void ic_services_get_pairs(const struct ic_services *services, enum ic_kvp_pool pool,
                           const struct ic_kvp_pair **ret_pairs, unsigned *ret_n);

/* Power off, restart or hibernate. */
int ic_services_shut_down(struct ic_services *services, const struct ic_shutdown_request *request,
                          ic_done_fn *done, void *opaque, struct hv_error **reterr);

/* Read the guest's pairs anew. */
int ic_services_refresh(struct ic_services *services, ic_done_fn *done, void *opaque,
                        struct hv_error **reterr);
/* What the guest is to be told, as a whole: as ic_kvp_want. It is forgotten with the service. */
int ic_services_want_pairs(struct ic_services *services, const struct ic_kvp_pair *pairs,
                           unsigned n, ic_done_fn *done, void *opaque, unsigned *ret_asked,
                           struct hv_error **reterr);
/* Ask for the addresses of the adapter with a MAC address, "00:15:5D:01:02:03". */
int ic_services_ask_ip(struct ic_services *services, const char *adapter, ic_kvp_ip_fn *done,
                       void *opaque, struct hv_error **reterr);

/* Freeze for at most frozen_ms; thaw. */
int ic_services_freeze(struct ic_services *services, uint32_t frozen_ms, ic_done_fn *done,
                       void *opaque, struct hv_error **reterr);
int ic_services_thaw(struct ic_services *services, ic_done_fn *done, void *opaque,
                     struct hv_error **reterr);

/* Copy a file; takes request->fd over in any case. */
int ic_services_copy_file(struct ic_services *services, const struct ic_filecopy_request *request,
                          struct hv_error **reterr);
void ic_services_cancel_copy(struct ic_services *services);

/* Type on the guest's keyboard. */
int ic_services_type_text(struct ic_services *services, const char *text, struct hv_error **reterr);
int ic_services_type_scancodes(struct ic_services *services, const uint8_t *codes, size_t n,
                               struct hv_error **reterr);
int ic_services_ctrl_alt_del(struct ic_services *services, struct hv_error **reterr);
/* The keyboard itself, for single keys; NULL unless enabled. Borrowed. */
struct vsp_keyboard *ic_services_keyboard(struct ic_services *services);

/* Can the VM be saved now? 0, or -EBUSY: something is under way with the guest that only this
 * process can end. */
int ic_services_may_save(const struct ic_services *services, struct hv_error **reterr);
/* Of IC_SERVICE_BIT(). */
unsigned ic_services_enabled(const struct ic_services *services);
/* The part of one that is enabled of a saved VM, out, while paused; or in, before the bus's own
 * restore. */
void ic_services_visit(struct ic_services *services, enum ic_service service,
                       struct hv_fields *fields);
