/* SPDX-License-Identifier: Apache-2.0 */
/* What the core's files share: the VM, calls under way, changes on their way to the store. */
#pragma once

#include "vmmsd/core/core.h"
#include "vmmsd/core/identity.h"
#include "vmmsd/core/keys_priv.h"
#include "vmmsd/core/plan.h"

struct json_doc;
struct nearest;
struct vmms_saga;
struct vmms_tx;
struct vmms_vm;

/* Calls that a transaction tries have this bit, which no rim's numbers reach. */
#define VMMS_TX_CALL (UINT64_C(1) << 61)
/* Calls that a transaction's job makes: the bit, and the job's number. */
#define VMMS_SAGA_CALL (UINT64_C(1) << 59)

struct vmms_call {
    struct hv_list node;
    uint64_t id;
    struct api_request request;
    char *actor;
    struct vmms_scope *scope; /* the only VMs that the caller sees, or NULL */
    bool are_files_checked;
    bool is_planned;  /* it came as tx.plan, and is answered so */
    size_t *file_ops; /* of a transaction: which of its calls named each file */
    size_t n_file_ops;
    uint64_t saga;                         /* the transaction's job that makes it; 0: none */
    char device_id[HV_GUID_TEXT_BYTES];    /* of a device that is to have it; or empty */
    const struct api_job_step *taken_back; /* the job's step that is to be undone, or NULL */
    unsigned own; /* 0: a client's; else the core's own, of enum vmms_own */
    char own_vm[HV_GUID_TEXT_BYTES];
    uint64_t wait_until_ns; /* monotonic, of one that waits for a job; 0: without end */
    struct vmms_key *key;   /* that the client gave it; or NULL */
    uint64_t due_ns;        /* monotonic: its deadline; 0: none */
    struct hv_list due;     /* in the core's list of those that have one */
};

/* What a VM is in the middle of: an answer of its worker is awaited. */
enum vmms_op {
    VMMS_OP_NONE,
    VMMS_OP_START,
    VMMS_OP_TURN_OFF,
    VMMS_OP_PAUSE,
    VMMS_OP_RESUME,
    VMMS_OP_RESET,
    VMMS_OP_DEVICE,
    VMMS_OP_SAVE,
    VMMS_OP_SHUT_DOWN,
    VMMS_OP_REBOOT
};

/* A change on its way to the store. */
struct vmms_pending {
    struct hv_list node; /* of the core's pendings */
    struct vmms_vm *vm;
    uint64_t change;
    struct vmms_row row;
    size_t n_events;
    bool is_delete;
    bool is_fact;           /* true in the world already: holds even when it cannot be stored */
    struct vmms_call *call; /* who asked, or NULL */
    bool replies;           /* the call is answered when it is stored */
    /* Instead: answers the call, which it takes, when it is stored; or NULL. */
    void (*reply)(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);
    void (*then)(struct vmms_core *core, struct vmms_vm *vm);
};

/* What the worker told last of the guest, so that nobody need ask it. */
struct vmms_guest {
    bool has_heartbeat;
    enum api_heartbeat heartbeat;
    char *os;
    char **addresses;
    size_t n_addresses;
};

/* What the core itself is about with a VM. */
enum vmms_phase {
    VMMS_PHASE_NONE,
    VMMS_PHASE_START_WAIT,   /* until it may start by itself */
    VMMS_PHASE_STARTING,     /* own call under way */
    VMMS_PHASE_RECOVER_WAIT, /* until it may be started again */
    VMMS_PHASE_RECOVERING,   /* own call under way */
    VMMS_PHASE_RESET_WAIT,   /* whether its guest begins anew after a panic */
    VMMS_PHASE_RESETTING,    /* own call under way */
    VMMS_PHASE_STOP_WAIT,    /* until it is its turn to be stopped with the host */
    VMMS_PHASE_STOPPING      /* own call under way */
};

enum { VMMS_MAX_RECOVERIES = 3 };

struct vmms_auto {
    enum vmms_phase phase;
    uint64_t due_ns;   /* not before that */
    unsigned attempts; /* that failed */
    /* When it was started again after crashes, the latest last; 0: never. */
    uint64_t recovered_ns[VMMS_MAX_RECOVERIES];
    char *cause; /* of the crash */
    /* Of VMs whose start it waits for: so many, the first in its list, have the pair. */
    uint64_t n_kvp_found;
    uint64_t kvp_due_ns;
    unsigned step;                /* of its way to a stop */
    enum api_auto_stop stop_mode; /* as it was when that began: which steps there are */
};

/* Pointers in no order, each once. */
struct vmms_set {
    void **items;
    size_t count;
};

struct vmms_vm {
    struct vmms_row row; /* as stored */
    bool is_new;         /* not stored yet: nobody sees it */
    bool is_deleted;     /* to be freed when nothing is in flight */
    bool is_adopting;
    bool is_found; /* while it is adopted: its worker's process lives */
    struct vmms_pending *pending;
    struct hv_list facts; /* wait for the pending change */
    struct hv_list calls; /* likewise, behind the facts */
    enum vmms_op op;
    struct hv_list op_calls; /* who waits for it */
    struct hv_list queued;   /* calls that wait for its end */
    uint64_t last_seq;       /* of the newest event about it */
    enum api_vm_health health;
    char *backend;
    char *backend_reason;
    bool is_greeted;
    bool is_kill_sent;
    bool is_start_late; /* its deadline has passed, which says why its worker ends */
    /* What the worker said when it stopped, until its process is gone. */
    char *stop_cause;
    char *stop_message;
    bool has_stop_status;
    uint32_t stop_status;
    struct api_error *gone_error; /* for who waited when its worker ended */
    /* Of VMMS_OP_DEVICE: what becomes of the device. */
    struct api_device op_device;
    enum vmms_worker_verb op_verb;
    struct api_error *op_error;  /* for who waits, when it is stored that it went wrong */
    uint64_t op_token;           /* of the wait that is on */
    bool is_shutdown_asked;      /* the guest has accepted to shut down */
    bool is_save_adopted;        /* somebody asked before we were there: nobody is answered */
    bool is_save_abandoned;      /* it was given up, and its worker may still be at it */
    bool is_tidied;              /* nothing is left of a stale saved state */
    uint64_t save_job;           /* number of the job that saves it; 0: none */
    enum api_vm_state save_from; /* where a save that fails leads back to */
    bool are_services_changed;   /* the worker is to be told when it is stored */
    bool is_critical_changed;    /* likewise */
    struct vmms_auto self;
    char *critical_reason; /* NULL: its storage is good */
    uint64_t critical_ns;  /* since when not */
    bool is_storage_given_up;
    bool is_of_last_boot; /* its worker ended with the host */
    struct vmms_guest guest;
    struct vmms_set groups; /* that it is in */
};

/* VMs in an order, found by bisection. */
struct vmms_index {
    struct vmms_vm **vms;
    size_t count;
    size_t room;
    const char *(*key)(const struct vmms_vm *vm);
};

struct vmms_group {
    struct vmms_group_row row; /* as stored */
    struct vmms_set vms;       /* by its kind: one of both is empty */
    struct vmms_set groups;
    struct vmms_set parents;          /* management groups that it is in */
    size_t place;                     /* in the list */
    const struct vmms_group_op *last; /* of what is on its way, or NULL */
};

/* What becomes of a group when the store has it. */
struct vmms_group_op {
    struct hv_list node;
    int kind; /* of its change: VMMS_GROUP_ROW_... */
    struct vmms_group *group;
    struct vmms_group_row row; /* as it will be; while a transaction is tried: as it was */
    struct vmms_vm *vm;        /* who comes or goes: a VM, */
    struct vmms_group *child;  /* or a group */
};

/* All groups, by name. One change of them is on its way at a time: what one may become depends on
 * what the others are. */
struct vmms_groups {
    struct vmms_group *list[VMMS_MAX_GROUPS];
    size_t count;
    size_t memberships;
    uint64_t version;           /* of who is in which */
    uint64_t change;            /* on its way to the store; 0: none */
    size_t n_events;            /* of that change, where it is of groups alone */
    struct hv_list ops;         /* of that change, in their order */
    struct hv_list tried;       /* done already, by the transaction that is being tried */
    struct vmms_call *call;     /* who asked, where it is of groups alone */
    struct vmms_group *subject; /* of that call; NULL: it is deleted */
    struct hv_list calls;       /* wait for the change */
};

/* What is known of a job's work and not stored yet. */
struct vmms_job_news {
    bool is_worked;
    char *result;
    bool is_ended;
    struct api_error *error;
    bool is_progress;
};

struct vmms_job {
    struct vmms_job_row row; /* as stored, and what is newer of its progress */
    struct vmms_job_row next;
    bool is_new; /* not stored yet: nobody sees it */
    bool is_cancelling;
    bool is_late;          /* of a save: its deadline has passed, and its worker was told so */
    bool is_after_restart; /* it was under way when the service ended */
    char *canceller;
    uint64_t change; /* on its way to the store; 0: none */
    size_t n_events; /* of that change */
    uint64_t stored_ns;
    uint64_t heard_ns; /* of a save: when its worker was heard of last */
    uint64_t asked_ns; /* and when it was asked whether it is there */
    uint64_t told_ns;  /* when somebody was last told of its progress; 0: never */
    uint64_t last_seq;
    struct vmms_job_news news;
    struct api_error *undo_error; /* its end, whatever undoing brings */
    uint64_t retry_ns; /* monotonic: when its end, which could not be stored, is tried again; 0 */
    bool is_deleting;
    bool is_unmade;            /* it is done, and what it made is being removed */
    struct vmms_saga *saga;    /* of a transaction that has not ended; else NULL */
    struct hv_list submitters; /* calls that are answered when it is stored */
    struct hv_list waiters;    /* calls that are answered when it has ended */
};

/* Jobs in the order of their numbers. */
struct vmms_jobs {
    struct vmms_job **jobs;
    size_t count;
    size_t room;
    size_t active; /* not ended */
    size_t waiting;
    uint64_t last_id;
};

struct vmms_core {
    struct vmms_env env;
    struct vmms_jobs jobs;
    struct vmms_groups groups;
    struct vmms_keys keys;
    struct hv_list due; /* calls that have a deadline */
    struct vmms_index by_name;
    struct vmms_index by_id;
    struct hv_list effects;
    struct hv_list pendings; /* all VMs', in the order of their changes */
    struct vmms_tx *tx;      /* the transaction that is being tried, or NULL */
    struct hv_list queued;   /* calls that wait for a job in their way to end */
    struct hv_list txs;      /* those that are on their way to the store, or at their power verbs */
    struct hv_list checking; /* calls that wait for files */
    struct hv_list wait_probe; /* calls that wait for the probe */
    struct hv_list held;       /* calls that wait for all workers to be heard of */
    bool is_holding;
    struct api_host host;
    bool is_probe_done;
    char *boot_id;
    uint64_t next_change;
    uint64_t next_token;
    uint64_t last_event;
    size_t n_critical;
    size_t n_phases;  /* VMs that are in one */
    bool is_stopping; /* all VMs are */
    uint32_t n_stopping;
    struct hv_list stop_calls; /* who waits until they are */
    uint64_t ready_ns;         /* when clients could call; 0: not yet */
};

/* core.c */
struct vmms_effect *vmms_emit(struct vmms_core *core, enum vmms_effect_kind kind);
struct vmms_effect *vmms_emit_worker(struct vmms_core *core, enum vmms_effect_kind kind,
                                     const struct vmms_vm *vm);
void vmms_ask_worker(struct vmms_core *core, const struct vmms_vm *vm, enum vmms_worker_verb verb);
/* Is its choice `auto`, and the software processor what that means on this host? */
bool vmms_is_soft_by_probe(const struct vmms_core *core, const struct vmms_vm *vm);
void vmms_kill_worker(struct vmms_core *core, struct vmms_vm *vm);
struct vmms_call *vmms_call_free(struct vmms_call *call);
struct vmms_vm *vmms_vm_new(void);
struct vmms_vm *vmms_vm_free(struct vmms_vm *vm);
void vmms_vm_pump(struct vmms_core *core, struct vmms_vm *vm);
const char *vmms_vm_name(const struct vmms_vm *vm);
/* NULL stays NULL. */
char *vmms_text_copy(const char *text);
uint64_t vmms_now_ms(const struct vmms_core *core);
void vmms_random_guid(const struct vmms_core *core, char ret[static HV_GUID_TEXT_BYTES]);
/* An id of which the text is in the order of time (RFC 9562, version 7): what is made together then
 * lies together in the database, and a thousand new VMs cost tens of pages, not thousands. */
void vmms_new_id(const struct vmms_core *core, char ret[static HV_GUID_TEXT_BYTES]);

/* device_list.c */
int vmms_devices_copy(const struct vmms_row *from, struct vmms_row *ret);
void vmms_devices_fini(struct vmms_row *row);
struct api_device *vmms_devices_at(const struct vmms_row *row, uint32_t controller, uint32_t lun);
struct api_device *vmms_devices_controller(const struct vmms_row *row, uint32_t number);
/* By id, or by place as "1:12". */
struct api_device *vmms_devices_named(const struct vmms_row *row, const char *ref);
/* A device as JSON text; freed by the caller. */
/* message: NULL, or what is said of it. */
char *vmms_device_data(const struct api_device *device, const char *message);

/* index.c */
struct vmms_vm *vmms_index_find(const struct vmms_index *index, const char *key);
size_t vmms_index_after(const struct vmms_index *index, const char *key);
int vmms_index_add(struct vmms_index *index, struct vmms_vm *vm);
void vmms_index_remove(struct vmms_index *index, const struct vmms_vm *vm);

/* calls.c */
void vmms_handle_call(struct vmms_core *core, struct vmms_call *call);
void vmms_handle_vm_call(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);
void vmms_reply_error(struct vmms_core *core, struct vmms_call *call, struct api_error *error);
struct vmms_effect *vmms_reply(struct vmms_core *core, struct vmms_call *call);
void vmms_reply_changed(struct vmms_core *core, struct vmms_call *call, const struct vmms_vm *vm,
                        bool already, uint64_t event_seq);
void vmms_reply_device(struct vmms_core *core, struct vmms_call *call, const struct vmms_vm *vm,
                       const char *device, bool already, uint64_t event_seq);
/* Is it of the generation that the caller expects? Refuses the call otherwise. */
bool vmms_check_generation(struct vmms_core *core, const struct vmms_vm *vm,
                           struct vmms_call *call);
/* The same of any object. what, name: "VM", "web" */
bool vmms_is_generation(struct vmms_core *core, struct vmms_call *call, uint64_t generation,
                        const char *what, const char *name);
/* Names that were perhaps meant, or the method that tells which there are. */
void vmms_say_nearest(const struct nearest *nearest, const char *method, struct api_error *error);
/* A name that reads as an id could not be told from one. code: of the error; object: "VM" */
int vmms_check_no_id(const char *name, const char *code, const char *object,
                     struct api_error **reterr);
/* vm NULL: a read that is about none */
void vmms_serve_call(struct vmms_core *core, const struct vmms_vm *vm, struct vmms_call *call);
/* By id first; NULL: there is none that anybody sees. */
struct vmms_vm *vmms_look_up(const struct vmms_core *core, const char *ref);
struct vmms_vm *vmms_find_vm(struct vmms_core *core, const char *ref, struct api_error **reterr);

/* view.c */
/* scope: of who looks, or NULL */
int vmms_view_vm(const struct vmms_core *core, const struct vmms_vm *vm, uint64_t fields,
                 const struct vmms_scope *scope, struct api_vm *ret);

/* groups.c */
void vmms_groups_init(struct vmms_groups *groups);
bool vmms_set_has(const struct vmms_set *set, const void *item);
/* By id first, as far as the scope has it; NULL: there is none. */
struct vmms_group *vmms_group_look_up(const struct vmms_core *core, const struct vmms_scope *scope,
                                      const char *ref);
struct vmms_group *vmms_group_find(const struct vmms_core *core, const struct vmms_scope *scope,
                                   const char *ref, const char *field, struct api_error **reterr);
/* NULL, or the first invariant that does not hold. */
const char *vmms_groups_check(const struct vmms_core *core);

/* group_change.c */
void vmms_groups_fini(struct vmms_groups *groups);
/* A VM is deleted by that change: it leaves its groups by the same. */
void vmms_groups_leave(struct vmms_core *core, struct vmms_vm *vm, struct vmms_change *change,
                       const char *actor);
/* Is anything of groups on its way to the store? Then the call waits for that, and true is
 * returned. */
bool vmms_groups_wait(struct vmms_core *core, struct vmms_call *call);
/* The change is stored, or not: the groups become what they are to be. */
void vmms_groups_settle(struct vmms_core *core, bool is_stored);
/* What a transaction that was tried did with groups is taken back; `keep`: it becomes so when the
 * change of that number is stored. */
void vmms_groups_take_back(struct vmms_core *core, bool keep, uint64_t change);
/* Those who waited go on. */
void vmms_groups_release(struct vmms_core *core);
/* Was the change of groups alone? Then who asked is answered, and error taken. */
bool vmms_groups_answered(struct vmms_core *core, uint64_t first_seq, struct api_error *error);

/* group_calls.c */
void vmms_group_call(struct vmms_core *core, struct vmms_call *call);
/* Is it one of group.*? */
bool vmms_is_group_method(enum api_method method);

/* change.c */
void vmms_create(struct vmms_core *core, struct vmms_call *call);
void vmms_configure(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);
/* A running worker hears of integration services that were switched. */
void vmms_after_configure(struct vmms_core *core, struct vmms_vm *vm);
void vmms_delete(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);

/* queue.c */
/* Let a call wait for the VM's operation, or for any job to end, if it asked for that and there is
 * room. Returns true when it waits. */
bool vmms_queue_on_vm(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);
bool vmms_queue_on_jobs(struct vmms_core *core, struct vmms_call *call);
/* The operation is over: who waited for it is an input again. */
void vmms_queue_release_vm(struct vmms_vm *vm);
void vmms_queue_release_jobs(struct vmms_core *core);

/* transact.c */
void vmms_transact(struct vmms_core *core, struct vmms_call *call);
/* What a call of the transaction that is being tried would commit. */
struct vmms_pending *vmms_tx_capture(struct vmms_core *core, struct vmms_vm *vm,
                                     struct vmms_change *change, struct vmms_call *call);
void vmms_tx_capture_groups(struct vmms_core *core, struct vmms_change *change,
                            struct vmms_call *call);
/* The files that it wants to have looked at; effect is taken. */
void vmms_tx_note_files(struct vmms_core *core, struct vmms_effect *effect);
struct api_error *vmms_tx_error(size_t index, const char *method, const struct api_error *cause);

/* transact_end.c */
/* Is that the name of another VM that the transaction being tried has changed? */
bool vmms_tx_had_name(const struct vmms_core *core, const char *name, const struct vmms_vm *self);
/* Was the change a transaction's? Then it is dealt with; error is taken. */
bool vmms_tx_committed(struct vmms_core *core, uint64_t change, uint64_t first_seq,
                       struct api_error *error);
void vmms_tx_free_all(struct vmms_core *core);

/* plan.c */
/* steps: ends in NULL; none: nothing to do. vm NULL: a new one. Returns the plan in the answer, for
 * the caller to say more. */
struct api_plan *vmms_reply_plan(struct vmms_core *core, struct vmms_call *call,
                                 const struct vmms_vm *vm, const char *const *steps);
/* The call would be answered with this error, which is taken. */
void vmms_reply_refused(struct vmms_core *core, struct vmms_call *call, struct api_error *error);
void vmms_plan_refuse(struct api_plan *plan, const struct api_error *error);
/* What a plan for this call stands on. */
void vmms_plan_begin(const struct vmms_core *core, const struct api_request *request,
                     const struct vmms_vm *vm, struct api_plan *ret);
void vmms_plan_identify(const struct api_request *request, struct api_plan *plan);
/* Does the plan whose id the call gives still hold? Answers the call when not. */
bool vmms_plan_is_current(struct vmms_core *core, const struct vmms_vm *vm, struct vmms_call *call);
bool vmms_plan_holds(struct vmms_core *core, struct vmms_call *call, const struct api_plan *now);
void vmms_plan_step(struct api_plan *plan, const char *what, const char *object);
/* Counts once for each object. */
void vmms_plan_generation(struct api_plan *plan, const char *object, uint64_t generation);
void vmms_plan_text(char ***list, size_t *count, const char *text);
/* Returns 0, -EINVAL with *reterr, -EBADMSG or -ENOMEM. */
int vmms_json_argument(const char *text, const char *field, struct json_doc **ret,
                       struct api_error **reterr);
/* A call tx.plan: it goes on as the call that it is about. */
void vmms_plan_call(struct vmms_core *core, struct vmms_call *call);

/* FNV-1a, begun with the seed, over a text and its end. */
#define VMMS_HASH_SEED UINT64_C(0xcbf29ce484222325)
uint64_t vmms_text_hash(uint64_t hash, const char *text);
/* The state that a power verb ends in, where there is one. */
bool vmms_leads_to(enum api_method method, enum api_vm_state *ret);

/* plan_diff.c: from NULL: it is made; to NULL: it is deleted. */
void vmms_plan_diff_rows(struct api_plan *plan, const struct vmms_row *from,
                         const struct vmms_row *to);
/* A text that is there, or not (NULL or empty). */
void vmms_plan_diff_text(struct api_plan *plan, const char *object, const char *field,
                         const char *from, const char *to);
void vmms_plan_diff_state(struct api_plan *plan, const struct vmms_vm *vm, enum api_vm_state to);
void vmms_plan_diff_staged(struct api_plan *plan, const struct vmms_vm *vm,
                           const struct api_pending_config *staged, bool is_to_wait);

/* staged.c */
/* A call's change of settings, parted by when it can be done. */
struct vmms_edit {
    struct api_settings now;
    struct api_pending_config staged; /* as it will be */
    bool is_staged;                   /* that differs from what is */
};
void vmms_edit_begin(const struct vmms_vm *vm, const struct api_settings *patch, bool stage,
                     struct vmms_edit *ret);
void vmms_edit_fini(struct vmms_edit *edit);
bool vmms_staged_is_empty(const struct api_pending_config *staged);
/* The change gets what waits, with its event; staged is taken. */
void vmms_staged_put(struct vmms_core *core, struct vmms_change *change,
                     struct api_pending_config *staged, const char *actor);
/* A row's devices become what waits of them. */
void vmms_staged_devices_apply(struct vmms_row *row);
/* The change brings its VM to Off: what waits becomes so. */
void vmms_staged_apply(struct vmms_core *core, struct vmms_change *change);
/* As clients see it: settings put back to their defaults have these. */
int vmms_staged_view(const struct vmms_vm *vm, struct api_vm *ret);
void vmms_unstage(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);
/* Of a VM that is not off. Returns true when the call is dealt with: what it asks for waits. */
bool vmms_stage_addition(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);
bool vmms_stage_removal(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);

/* jobs.c */
struct vmms_job *vmms_job_free(struct vmms_job *job);
struct vmms_job *vmms_job_find(const struct vmms_core *core, uint64_t id);
int vmms_job_add(struct vmms_core *core, struct vmms_job *job);
struct vmms_job *vmms_job_new(void);
bool vmms_job_has_ended(enum api_job_state state);
/* Take the job one step on, where nothing of it is on its way to the store. */
void vmms_job_pump(struct vmms_core *core, struct vmms_job *job);
/* The oldest of those that ended go when there are too many, or they are old enough. */
void vmms_job_prune(struct vmms_core *core);
void vmms_job_start_next(struct vmms_core *core);
/* Was the change a job's? Then it is dealt with. */
bool vmms_job_committed(struct vmms_core *core, uint64_t change, uint64_t first_seq,
                        struct api_error *error);
struct vmms_change *vmms_job_change(struct vmms_core *core, struct vmms_job *job, int kind);
void vmms_job_event(struct vmms_core *core, struct vmms_change *change, const char *type,
                    const char *actor);
void vmms_job_commit(struct vmms_core *core, struct vmms_job *job, struct vmms_change *change);
/* The same, of a change that goes to the store as part of another one; and what became of it, with
 * the number of its first event. error: taken, NULL when it was stored */
void vmms_job_pend(struct vmms_core *core, struct vmms_job *job, const struct vmms_change *change);
void vmms_job_settle(struct vmms_core *core, struct vmms_job *job, uint64_t first_seq,
                     struct api_error *error);
/* Tell whoever does the job's work. */
void vmms_job_order(struct vmms_core *core, struct vmms_job *job, enum vmms_effect_kind kind);
/* It is cancelled while it is at work. */
void vmms_job_stop_work(struct vmms_core *core, struct vmms_job *job);
/* Those that are counted: of them only so many run at a time. */
size_t vmms_job_running(const struct vmms_core *core);

/* saga.c: the job of a transaction */
struct vmms_saga *vmms_saga_free(struct vmms_saga *saga);
/* Take it one step on, where nothing of it is on its way to the store. */
void vmms_saga_pump(struct vmms_core *core, struct vmms_job *job);
/* The answer to a call that it made; effect is taken. */
void vmms_saga_answered(struct vmms_core *core, struct vmms_effect *effect);
/* Was the job a step of a transaction? Then that goes on. */
void vmms_saga_child_ended(struct vmms_core *core, struct vmms_job *child);
/* Is it a step of a transaction that has not ended, and may take it back? */
bool vmms_saga_needs(const struct vmms_core *core, const struct vmms_job *child);
/* What the job made is gone, or not; error: taken */
void vmms_saga_unmade(struct vmms_core *core, struct vmms_job *child, struct api_error *error);
/* Take back what was done; error, which is taken, is how it ends. */
void vmms_saga_stop(struct vmms_core *core, struct vmms_job *job, struct api_error *error);
struct api_error *vmms_saga_cancelled(const struct vmms_job *job);
/* A change of it could not be stored. */
void vmms_saga_unstored(struct vmms_core *core, struct vmms_job *job,
                        const struct api_error *error);
/* For vmms_core_check(): it waits for something, until it has ended. */
bool vmms_saga_is_stuck(const struct vmms_job *job);
bool vmms_saga_is_ticking(const struct vmms_job *job);
/* Is that file one of those that it makes or changes? */
bool vmms_saga_makes(const struct vmms_job *job, const char *path);

/* saga_record.c */
/* Its calls that are stored with it are done with it. */
void vmms_saga_stored_steps(struct vmms_job *job);
/* A job that was read from the store gets its saga, if it is a transaction that has not ended. */
void vmms_saga_load(struct vmms_core *core, struct vmms_job *job);
/* All rows are there: those that were under way go on, or back. */
void vmms_saga_loaded(struct vmms_core *core);
/* Steps as they are stored; NULL: none. The caller frees them with their texts. */
size_t vmms_saga_read_steps(const char *text, struct api_job_step **ret);
/* The answer to who asked for the transaction. */
void vmms_saga_reply(struct vmms_core *core, struct vmms_call *call, const struct vmms_job *job,
                     bool already, uint64_t event_seq);

/* job_calls.c */
/* Does a job that is at work merge or compact the image of one of its disks? */
bool vmms_job_merges(const struct vmms_core *core, const struct vmms_vm *vm);
/* The VM with a disk on the image that such a job works on, or NULL. */
const struct vmms_vm *vmms_job_merged_vm(const struct vmms_core *core,
                                         const struct vmms_job_row *row);
/* An argument's text by its name; NULL: it is not given, or the method has none. */
const char *vmms_argument_text(const struct api_request *request, const char *name);
/* Likewise a number, or 0. */
uint64_t vmms_argument_number(const struct api_request *request, const char *name);
/* The job that has the key, or NULL. */
const struct vmms_job *vmms_job_by_key(const struct vmms_core *core, const char *owner,
                                       const char *key);
/* The key was used for that job. */
void vmms_job_refuse_key(struct vmms_core *core, struct vmms_call *call,
                         const struct vmms_job *job);
/* job.cancel, made before. */
void vmms_job_cancelled_again(struct vmms_core *core, struct vmms_call *call);
struct api_error *vmms_job_error(const struct vmms_job *job);
/* What it was asked for cannot be read: another version stored it. */
struct api_error *vmms_job_unreadable(const struct vmms_job *job);
/* Was the call, by its idempotency key, made before? Then it is answered with that job. */
bool vmms_job_is_repeated(struct vmms_core *core, struct vmms_call *call);
/* Can the call of an image method be a job now? parent: the transaction's job that asks; or 0 */
int vmms_job_check(const struct vmms_core *core, const struct api_request *request, uint64_t parent,
                   struct api_error **reterr);
/* Is there room for one more? */
int vmms_job_check_room(const struct vmms_core *core, struct api_error **reterr);
/* A job out of a call, which becomes the one that is answered when it is stored. Not yet stored. */
struct vmms_job *vmms_job_make(struct vmms_core *core, struct vmms_call *call,
                               enum api_job_state state);
void vmms_job_submit(struct vmms_core *core, struct vmms_call *call);
void vmms_job_call(struct vmms_core *core, struct vmms_call *call);
/* The same, on its way to the store. Returns its number. */
uint64_t vmms_job_enqueue(struct vmms_core *core, struct vmms_call *call);
/* Is no job in its way? Else it is refused, or waits. */
bool vmms_job_has_way(struct vmms_core *core, struct vmms_call *call);
/* path: what the job works on; argument: the call's that names it, or NULL */
int vmms_job_say_conflict(const struct vmms_core *core, const struct vmms_job *job,
                          const char *path, const char *argument, struct api_error **reterr);
/* The paths that the call names, each with the number of the last job on it. */
void vmms_job_generations(const struct vmms_core *core, const struct api_request *request,
                          struct api_plan *plan);
int vmms_job_request(const struct vmms_job_row *row, struct api_request *ret);
void vmms_job_answer_submitters(struct vmms_core *core, struct vmms_job *job,
                                struct api_error *error);
void vmms_job_answer_waiters(struct vmms_core *core, struct vmms_job *job, bool only_late);
/* Nobody can be told yet how it ended: that is not stored. */
void vmms_job_answer_unknown(struct vmms_core *core, struct vmms_job *job,
                             const struct api_error *why);

/* job_view.c */
void vmms_view_job(const struct vmms_core *core, const struct vmms_job *job, struct api_job *ret);
/* placing.c */
/* The device that is asked for, placed in the row; controllers that it needs are made where
 * `makes_controllers`. Returns its pointer in row->devices, or NULL with *reterr. */
struct api_device *vmms_place_device(struct vmms_core *core, struct vmms_row *row,
                                     const struct api_new_device *wanted, const char *field,
                                     bool makes_controllers, struct api_error **reterr);
/* Can this file be a DVD drive's medium, beside the other devices? The field is settings.path. */
int vmms_check_medium(const struct vmms_row *others, const char *path, struct api_error **reterr);
/* A controller of that number, put into the row. */
void vmms_make_controller(struct vmms_core *core, struct vmms_row *row, uint32_t number);

/* copy.c */
/* The call's VM by its id from now on, which stays when it is renamed; refuses the call when there
 * is none. */
bool vmms_copy_name(struct vmms_core *core, struct vmms_call *call);
/* May a file be copied now, and not only in thought? Answers the call otherwise. */
bool vmms_copy_may_begin(struct vmms_core *core, struct vmms_call *call);

/* pairs.c */
void vmms_pairs_fini(struct vmms_row *row);
int vmms_pairs_copy(const struct vmms_row *from, struct vmms_row *ret);
void vmms_change_pairs(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);
/* They are stored: answered by whether the guest has them. */
void vmms_pairs_stored(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);

/* devices.c */
void vmms_add_device(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);
void vmms_modify_device(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);
void vmms_remove_device(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);
/* A device becomes as it was before a transaction's step (call->taken_back), in the worker first,
 * whatever the row says: what was under way when the service ended may have been done or not. */
void vmms_take_back_device(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);
/* Does the row say that it is as it was? */
bool vmms_is_taken_back(const struct vmms_row *row, const struct api_job_step *step);
/* The worker has done it. */
void vmms_device_done(struct vmms_core *core, struct vmms_vm *vm);
/* It has not; error is taken. */
void vmms_device_failed(struct vmms_core *core, struct vmms_vm *vm, struct api_error *error);

/* guest.c */
void vmms_shut_down(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);
void vmms_shut_down_answered(struct vmms_core *core, struct vmms_vm *vm, struct api_error *error);
void vmms_guest_fact(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact);
void vmms_guest_crashed(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact);
void vmms_device_error(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact);
void vmms_guest_fini(struct vmms_guest *guest);
/* It begins anew: nothing is known of the next one yet. */
void vmms_guest_forget(struct vmms_guest *guest);
/* May a guest be spoken to now? Refuses the call otherwise. */
bool vmms_is_guest_there(struct vmms_core *core, const struct vmms_vm *vm, struct vmms_call *call);

/* files.c */
/* What is wrong with them, or NULL. */
struct api_error *vmms_files_judge(const struct vmms_file *files, size_t n_files);
/* Looks at files for a call: added to an effect that vmms_files_wait() completes. */
struct vmms_file *vmms_files_add(struct vmms_core *core, struct vmms_effect **effect,
                                 const char *field, const char *path);
/* The files of the VM's devices, to compare with. */
void vmms_files_add_known(struct vmms_core *core, struct vmms_effect **effect,
                          const struct vmms_row *row);
/* An image that is to be attached. */
void vmms_files_add_image(struct vmms_core *core, struct vmms_effect **effect, const char *field,
                          const struct api_device *device);
/* True when there are any: the call waits for them then. */
bool vmms_files_wait(struct vmms_core *core, struct vmms_effect *effect, struct vmms_call *call);

/* commit.c */
/* One more event of a change, about nothing yet. data: JSON text, taken. */
struct api_event *vmms_add_event(struct vmms_core *core, struct vmms_change *change,
                                 const char *type, const char *actor, char *data);
struct vmms_change *vmms_change_new(struct vmms_core *core, const struct vmms_vm *vm);
int vmms_change_event(struct vmms_core *core, struct vmms_change *change, const char *type,
                      const char *actor, char *data);
/* Why a VM is in the state in which it is. */
struct vmms_why {
    const char *cause;
    const char *message; /* or NULL */
    const char *actor;
    bool has_exit_status;
    uint32_t exit_status;
};
/* A change of state with its event. */
struct vmms_change *vmms_change_state(struct vmms_core *core, const struct vmms_vm *vm,
                                      enum api_vm_state state, const struct vmms_why *why);
char *vmms_why_data(const struct vmms_vm *vm, enum api_vm_state to, const struct vmms_why *why);
/* The pending row becomes the VM's. */
void vmms_apply_row(struct vmms_core *core, struct vmms_vm *vm, struct vmms_row *row);
/* The VM is no more; calls that waited for it go on. */
void vmms_forget_vm(struct vmms_core *core, struct vmms_vm *vm);
/* What is on its way to the store for a VM that had nothing there. */
struct vmms_pending *vmms_pending_new(struct vmms_core *core, struct vmms_vm *vm, uint64_t change);
/* It is on its way no more. Returns it, for the caller to free. */
struct vmms_pending *vmms_pending_take(struct vmms_vm *vm);
void vmms_pending_free(struct vmms_pending *pending);
/* Hands the change on and remembers it; call may be NULL. */
struct vmms_pending *vmms_commit(struct vmms_core *core, struct vmms_vm *vm,
                                 struct vmms_change *change, struct vmms_call *call);

/* power.c */
void vmms_power(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);
/* The call that what is going on began with, or NULL. */
static inline struct vmms_call *vmms_op_first(const struct vmms_vm *vm)
{
    return hv_list_is_empty(&vm->op_calls)
               ? NULL
               : HV_LIST_ENTRY(vm->op_calls.next, struct vmms_call, node);
}
/* Who asked for what is going on. */
const char *vmms_op_actor(const struct vmms_vm *vm);
/* What a VM is in the middle of when it does what the method asks for. */
enum vmms_op vmms_op_of(enum api_method method);
void vmms_begin_op(struct vmms_vm *vm, enum vmms_op op, struct vmms_call *call);
/* Not in this state; or, while a job saves it, as below. */
void vmms_refuse_state(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call,
                       const char *hint);
/* Or lets it wait. */
void vmms_refuse_busy(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);
/* Answer all who wait for the VM's operation; error is taken. */
void vmms_op_fail(struct vmms_core *core, struct vmms_vm *vm, struct api_error *error);
void vmms_op_done(struct vmms_core *core, struct vmms_vm *vm);
/* The operation ends with what went wrong with it, op_error. */
void vmms_op_end(struct vmms_core *core, struct vmms_vm *vm);
void vmms_turn_off_worker(struct vmms_core *core, struct vmms_vm *vm);

/* save.c */
void vmms_save(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);
void vmms_discard_saved_state(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call);
/* Its job runs. */
void vmms_save_ordered(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact);
/* The worker has not saved it; error is taken. */
void vmms_save_failed(struct vmms_core *core, struct vmms_vm *vm, struct api_error *error);
/* The state that a worker says it is in. Returns true where it is about a save that no answer will
 * tell of. */
bool vmms_save_heard(struct vmms_core *core, struct vmms_vm *vm, const char *state);
/* Its worker is silent in the middle of it: the guest counts as before. error: taken */
void vmms_save_abandon(struct vmms_core *core, struct vmms_vm *vm, struct api_error *error);
/* Is what there is of it being written, or may its worker still have to say that it is whole? */
bool vmms_save_is_open(const struct vmms_row *row);
/* No worker is at an abandoned save any more. */
void vmms_save_is_over(struct vmms_core *core, struct vmms_vm *vm);
/* After a row was stored: remove what has become stale with it. */
void vmms_tidy_saved(struct vmms_core *core, struct vmms_vm *vm, const struct vmms_row *before);
/* Has it a worker? */
static inline bool vmms_has_worker(enum api_vm_state state)
{
    return state != API_VM_STATE_OFF && state != API_VM_STATE_SAVED;
}

/* save_job.c */
/* The worker that saves it is there. */
void vmms_save_job_heard(struct vmms_core *core, const struct vmms_vm *vm);
bool vmms_job_is_save(const struct vmms_job *job);
/* Orders about a job. Return true when it saves a VM: then they are dealt with. */
bool vmms_save_job_run(struct vmms_core *core, const struct vmms_job *job);
bool vmms_save_job_cancel(struct vmms_core *core, const struct vmms_job *job);
/* The worker that saves the VM was found. */
void vmms_save_job_adopted(struct vmms_core *core, const struct vmms_vm *vm);
/* It had not ended when the service did. */
bool vmms_save_job_load(struct vmms_core *core, struct vmms_job *job);
/* Why the VM's save is to stop, or NULL: it is not. */
struct api_error *vmms_save_job_stops(const struct vmms_core *core, const struct vmms_vm *vm);
void vmms_save_job_progress(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact);
/* The VM's save is over, and its job with it. error: copied; NULL: it went well */
void vmms_save_job_end(struct vmms_core *core, struct vmms_vm *vm, const struct api_error *error);
/* A worker was found that does not save: the job is rolled back. */
void vmms_save_lost(struct vmms_core *core, struct vmms_vm *vm);
/* The job ends before its VM was touched: that is free. */
void vmms_save_job_let_go(struct vmms_core *core, const struct vmms_job *job);
/* Does it wait for its deadline? */
bool vmms_save_job_is_timed(const struct vmms_job *job);
void vmms_save_job_tick(struct vmms_core *core, struct vmms_job *job);
/* For vmms_core_check(). */
const char *vmms_save_job_check(const struct vmms_core *core, const struct vmms_job *job);
const char *vmms_save_job_check_vm(const struct vmms_core *core, const struct vmms_vm *vm);

/* facts.c */
void vmms_commit_fact(struct vmms_core *core, struct vmms_vm *vm, struct vmms_change *change,
                      void (*then)(struct vmms_core *core, struct vmms_vm *vm));
void vmms_handle_fact(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact);

/* own.c: what the core does by itself */
enum vmms_own {
    VMMS_OWN_NONE,
    VMMS_OWN_START,
    VMMS_OWN_RECOVER,
    VMMS_OWN_RESET,
    VMMS_OWN_CRITICAL_OFF,
    VMMS_OWN_STOP_OFF,
    VMMS_OWN_STOP_SAVE,
    VMMS_OWN_STOP_SHUT_DOWN
};
/* A call about a VM that the core makes; its answer comes to vmms_own_answered(). request: taken */
void vmms_own_call(struct vmms_core *core, const struct vmms_vm *vm, enum vmms_own own,
                   struct api_request *request);
/* The same with the VM as the only argument. */
void vmms_own_verb(struct vmms_core *core, const struct vmms_vm *vm, enum vmms_own own,
                   enum api_method method);
void vmms_own_answered(struct vmms_core *core, struct vmms_effect *reply);
void vmms_set_phase(struct vmms_core *core, struct vmms_vm *vm, enum vmms_phase phase);
/* An event about a VM, its mark with it, stored as soon as nothing else of it is on its way.
 * data: JSON, taken */
void vmms_note(struct vmms_core *core, struct vmms_vm *vm, enum vmms_mark mark, const char *type,
               char *data);
void vmms_note_fact(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact);
/* A JSON object with what went wrong. error: or NULL */
char *vmms_own_data(const char *cause, unsigned attempt, bool gives_up,
                    const struct api_error *error);
void vmms_own_tick(struct vmms_core *core);
/* For vmms_core_check(). */
const char *vmms_own_check(const struct vmms_core *core);
/* Somebody wants it off: nothing is done for it any more. */
void vmms_own_cancel(struct vmms_core *core, struct vmms_vm *vm);
/* A setting, its default where it is not set. */
uint64_t vmms_number_setting(const struct vmms_vm *vm, const char *name);
/* Are settings auto.* such as can be honoured? */
int vmms_check_auto(const struct api_settings *wanted, struct api_error **reterr);

/* autostart.c */
void vmms_autostart_load(struct vmms_core *core, struct vmms_vm *vm);
void vmms_autostart_tick(struct vmms_core *core, uint64_t now);
void vmms_autostart_answered(struct vmms_core *core, struct vmms_vm *vm,
                             const struct api_error *error);

/* Does the start of `vm` wait for `other`? */
bool vmms_starts_after(const struct vmms_core *core, const struct vmms_vm *vm,
                       const struct vmms_vm *other);

/* autostop.c */
void vmms_stop_all(struct vmms_core *core, struct vmms_call *call);
/* It was asked for before: the answer, or the wait for it. */
void vmms_stop_all_again(struct vmms_core *core, struct vmms_call *call);
void vmms_stop_tick(struct vmms_core *core, uint64_t now);
void vmms_stop_answered(struct vmms_core *core, struct vmms_vm *vm, enum vmms_own own,
                        const struct api_error *error);

/* recovery.c */
/* The mark of a VM that goes off for that cause. */
enum vmms_mark vmms_recovery_mark(const struct vmms_vm *vm, const char *cause);
void vmms_recovery_after_off(struct vmms_core *core, struct vmms_vm *vm);
void vmms_recovery_panicked(struct vmms_core *core, struct vmms_vm *vm);
void vmms_recovery_restarted(struct vmms_core *core, struct vmms_vm *vm);
void vmms_recovery_tick(struct vmms_core *core, struct vmms_vm *vm, uint64_t now);
void vmms_recovery_answered(struct vmms_core *core, struct vmms_vm *vm,
                            const struct api_error *error);

/* autostart.c, jobs.c, devices.c, for others too */
/* The place of a VM among those that start by themselves: by sequence, delay and name. */
struct vmms_turn {
    struct vmms_vm *vm;
    uint64_t sequence, delay_s;
};
int vmms_turn_compare(const void *a, const void *b);
/* guest.c: an error, where there is one, as members of an object that is open. */
struct json_writer;
void vmms_put_error(struct json_writer *out, const struct api_error *error);
/* An error as JSON text; freed by the caller. */
char *vmms_error_text(const struct api_error *error);
/* Has the call to wait until the image of a device was looked at? Then it is taken. */
bool vmms_wait_for_image(struct vmms_core *core, const struct vmms_row *others,
                         const struct api_device *device, struct vmms_call *call);

/* critical.c */
void vmms_storage_fact(struct vmms_core *core, struct vmms_vm *vm, struct vmms_fact *fact);
/* Its storage is no matter any more. */
void vmms_critical_forget(struct vmms_core *core, struct vmms_vm *vm);
void vmms_critical_tick(struct vmms_core *core, uint64_t now);
void vmms_refuse_critical(struct vmms_core *core, const struct vmms_vm *vm, struct vmms_call *call);

/* verbs.c */
struct vmms_verb {
    enum api_method method;
    const char *name;
    unsigned states; /* bits: from where it is allowed */
    bool is_quiet;   /* not told among the VM's verbs */
};
const struct vmms_verb *vmms_verb(enum api_method method);
bool vmms_verb_is_allowed(enum api_method method, enum api_vm_state state);
void vmms_say_states(enum api_method method, enum api_vm_state state, struct api_error *error);
extern const struct vmms_verb vmms_verbs[];
extern const size_t vmms_verb_count;
