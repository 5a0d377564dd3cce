/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and deadlines of calls that make no job: management model, section 1. */
#pragma once

#include "vmmsd/core/core.h"

struct vmms_call;

/* A call's key. */
struct vmms_key {
    struct vmms_key_row row;
    struct hv_list age;       /* the oldest first */
    bool is_stored;           /* as it is, or was before what is on its way */
    bool goes_on;             /* its call was answered before what it asked for had ended */
    bool is_in_flight;        /* its call has not been answered */
    uint64_t call;            /* the number of that */
    uint64_t change;          /* on its way to the store; 0: none */
    bool is_change_own;       /* and of nothing but the key */
    struct hv_list moving;    /* in the core's list of those on their way */
    struct vmms_key_row next; /* as it will be, without texts */
    bool is_deleting;
    struct vmms_call *waiting;  /* the call, until its key is stored; or NULL */
    struct vmms_effect *answer; /* the answer, until what became of the key is stored; or NULL */
    struct hv_list again;       /* the same call again, until that is answered */
};

/* By caller and key. */
struct vmms_keys {
    struct vmms_key **keys;
    size_t count;
    size_t room;
    struct hv_list by_age;
    struct hv_list moving;
};

/* keys.c */
void vmms_keys_init(struct vmms_keys *keys);
void vmms_keys_fini(struct vmms_keys *keys);
/* Has the call a key that makes it wait, or tells its answer? Then it is dealt with. */
bool vmms_key_meets(struct vmms_core *core, struct vmms_call *call);
/* Was that key used by a call that made no job? Then the call is refused. */
bool vmms_key_is_taken(struct vmms_core *core, struct vmms_call *call, const char *key);
/* What follows cannot be taken back: its key, where it has one, goes to the store before. True when
 * the call waits for that; it comes again. */
bool vmms_key_goes_first(struct vmms_core *core, struct vmms_call *call);
/* The call's key is stored with the change. is_done: as done: the call is answered when it is
 * stored; object: the VM's or group's id; device: or NULL */
void vmms_key_ride(struct vmms_core *core, struct vmms_change *change, const struct vmms_call *call,
                   bool is_done, const char *object, const char *device);
/* The call is answered now, and what it asked for goes on. */
void vmms_key_goes_on(struct vmms_call *call);
/* Has the answer to wait until what became of its key is stored? Then it is kept. */
bool vmms_key_holds(struct vmms_core *core, struct vmms_effect *effect);
/* Does it ride on that change, or is the change its own? True for the latter: it is dealt with.
 * error: taken then */
bool vmms_key_committed(struct vmms_core *core, uint64_t change, uint64_t first_seq,
                        struct api_error *error);
void vmms_keys_prune(struct vmms_core *core);
/* NULL, or the first invariant that does not hold. */
const char *vmms_keys_check(const struct vmms_core *core);

/* deadline.c */
void vmms_deadline_begin(struct vmms_core *core, struct vmms_call *call);
/* Has it passed? Then the call is refused. */
bool vmms_is_overdue(struct vmms_core *core, struct vmms_call *call);
void vmms_deadline_tick(struct vmms_core *core);
