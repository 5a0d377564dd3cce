/* SPDX-License-Identifier: Apache-2.0 */
/* A host for vmmsd's core whose store, workers and guests do as they are told at once, and whose
 * clock stands until a test moves it. Starts and events are kept as text to compare with. */
#pragma once

#include "vmmsd/core/core.h"

enum { HOST_TEXT_BYTES = 8192 };

struct core_host {
    struct vmms_core *core;
    uint64_t clock;
    uint64_t seq, chance;
    unsigned n_loaded;
    uint64_t last_call;
    /* how the world is */
    bool starts_hang; /* a worker never answers to Start */
    bool starts_fail; /* it says no */
    bool guests_obey; /* they shut down when they are asked to */
    bool saves_fail;
    bool saves_hang; /* until they are cancelled, or the worker ends */
    bool has_pair;   /* every guest has given every pair */
    unsigned asked;  /* for pairs */
    bool is_saving;  /* and somebody waits for the answer */
    /* what was seen */
    char starts[HOST_TEXT_BYTES]; /* names, each with a blank */
    char events[HOST_TEXT_BYTES]; /* "type name" lines */
    unsigned replies, commits;
    unsigned progress;         /* of jobs, that was told */
    struct vmms_effect *reply; /* the last one */
};

struct core_host *core_host_new(void);
struct core_host *core_host_free(struct core_host *host);
/* A VM as it would be read from the store; settings: taken, without the name. */
void core_host_load(struct core_host *host, const char *name, enum api_vm_state state,
                    enum vmms_mark mark, struct api_settings settings);
/* The service begins; with_boot: the host has booted in between. */
void core_host_begin(struct core_host *host, bool with_boot);
/* Carry out what is wanted. */
void core_host_run(struct core_host *host);
void core_host_pass(struct core_host *host, uint64_t ms);
/* request: taken */
void core_host_call(struct core_host *host, struct api_request *request);
/* A call with the VM as its only argument. */
void core_host_verb(struct core_host *host, enum api_method method, const char *name);
/* Its worker tells something. fact: taken */
void core_host_fact(struct core_host *host, const char *name, struct vmms_fact *fact);
/* Its worker ends. */
void core_host_end(struct core_host *host, const char *name, const char *cause);
enum api_vm_state core_host_state(struct core_host *host, const char *name);
/* The VM's incarnation, from its last start. */
const char *core_host_incarnation(struct core_host *host, const char *name);
