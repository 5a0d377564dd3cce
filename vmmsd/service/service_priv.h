/* SPDX-License-Identifier: Apache-2.0 */
/* What serving, event streams and console streams share. */
#pragma once

#include "vmmsd/bus/bus.h"
#include "vmmsd/console/console.h"
#include "vmmsd/core/core.h"
#include "vmmsd/metrics/metrics.h"
#include "vmmsd/remote/remote.h"
#include "vmmsd/rpc/rpc.h"
#include "vmmsd/service/service.h"
#include "vmmsd/spawn/image.h"
#include "vmmsd/spawn/spawn.h"
#include "vmmsd/store/store.h"

/* Above all call numbers of the rim: reads of events for a stream. */
#define STREAM_TOKEN (UINT64_C(1) << 63)

/* The service's own: the host goes down, all VMs are to be stopped. */
#define VMMS_HOST_END_CALL (UINT64_C(1) << 60)

struct vmms_host_end;

struct vmms_service {
    struct vmms_service_config config;
    struct vmms_core *core;
    struct vmms_store *store;
    struct vmms_spawner *spawner;
    struct vmms_images *images;
    struct vmms_consoles *consoles;
    struct vmms_rpc *rpc;
    struct vmms_remote *remote;
    struct vmms_dbus *dbus; /* NULL: --bus none */
    struct vmms_metrics *metrics;
    char *socket_path;
    char boot_id[HV_GUID_TEXT_BYTES];
    uv_async_t stored;
    uv_timer_t adoption;
    uv_timer_t ticker;
    struct hv_list event_streams;
    struct hv_list console_streams;
    struct hv_list wakes;
    struct hv_list copies;
    struct vmms_host_end *host_end; /* NULL: not watched */
    uint64_t next_token;
    uint64_t last_event;
    uint64_t event_bytes; /* of those that are kept */
    uint64_t n_commits;
    uint64_t memberships; /* as of when console streams were looked at last */
    bool is_draining;
    bool is_closing;
    bool is_begun;     /* the loop runs */
    bool is_listening; /* clients can call */
    bool is_open;      /* and what they ask for is done */
};

/* service.c */
void vmms_service_drain(struct vmms_service *service);
/* What was stored brought these events: they may be read now. */
void vmms_service_know_events(struct vmms_service *service, const struct vmms_stored *stored);
/* Answer a call by whichever rim it came in. */
void vmms_service_reply(struct vmms_service *service, uint64_t call, enum api_method method,
                        const union api_result *result, uint64_t fields,
                        const struct api_error *error);
void vmms_service_reply_error(struct vmms_service *service, uint64_t call, enum api_method method,
                              struct api_error *error);

/* remote.c */
int vmms_service_open_remote(struct vmms_service *service, struct hv_error **reterr);
/* A call from either rim; opaque: the service. */
void vmms_service_call(void *opaque, uint64_t call, struct api_request *request, const char *actor);
void vmms_service_took_identity(struct vmms_service *service, struct vmms_stored *stored);
/* Drop events of VMs and groups that are not in the scope; NULL: all are. */
void vmms_sift_events(const struct vmms_service *service, const struct vmms_scope *scope,
                      struct api_event_list *events);

/* serve.c */
void vmms_serve(struct vmms_service *service, struct vmms_effect *effect);
void vmms_check_files(struct vmms_service *service, struct vmms_effect *effect);
void vmms_remove_saved(struct vmms_service *service, const char *vm_id);
void vmms_remove_vm_files(struct vmms_service *service, const char *vm_id);

/* jobs.c */
int vmms_jobs_open(struct vmms_service *service);
void vmms_job_tell(struct vmms_service *service, struct vmms_job_fact *fact);
void vmms_job_effect(struct vmms_service *service, const struct vmms_effect *effect);
void vmms_serve_image(struct vmms_service *service, struct vmms_effect *effect);
/* What is waited for may have changed: let the core know of time as often as it must. */
void vmms_jobs_watch_time(struct vmms_service *service);
/* guest.c */
void vmms_serve_guest(struct vmms_service *service, const struct vmms_effect *effect);
void vmms_serve_pairs(struct vmms_service *service, const struct vmms_effect *effect);
void vmms_serve_order(struct vmms_service *service, const struct vmms_effect *effect);

/* copy.c */
/* An order of the core about a job: is it one that copies a file? Then it is carried out. */
bool vmms_copy_effect(struct vmms_service *service, const struct vmms_effect *effect);

/* figures.c: scope and peer NULL for somebody on this host */
void vmms_serve_summaries(struct vmms_service *service, uint64_t call,
                          const struct vmms_scope *scope);
char *vmms_serve_metrics(void *opaque, const struct vmms_peer *peer);
/* host_end.c */
void vmms_host_end_open(struct vmms_service *service);
void vmms_host_end_answered(struct vmms_service *service);
void vmms_host_end_close(struct vmms_service *service);
void vmms_host_end_free(struct vmms_service *service);

/* pairs.c */
void vmms_look_for_kvp(struct vmms_service *service, const struct vmms_effect *effect);

/* wake.c */
void vmms_wake_later(struct vmms_service *service, const struct vmms_effect *effect);
void vmms_wakes_close(struct vmms_service *service);

/* event_stream.c */
void vmms_events_subscribe(struct vmms_service *service, uint64_t call,
                           const struct api_events_subscribe_args *args);
void vmms_events_wake(struct vmms_service *service);
/* How far a job is: effect TELL_PROGRESS. */
void vmms_events_progress(struct vmms_service *service, const struct vmms_effect *effect);
/* What a read for a stream brought. */
void vmms_events_arrived(struct vmms_service *service, struct vmms_stored *stored);
void vmms_events_close(struct vmms_service *service);

/* console_stream.c */
void vmms_console_serve(struct vmms_service *service, uint64_t call, const char *vm_id,
                        const struct api_vm_console_args *args);
/* Who is in which group may have changed: streams of VMs that their clients see no more end. */
void vmms_console_check(struct vmms_service *service);
void vmms_console_close(struct vmms_service *service);
