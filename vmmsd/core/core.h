/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The management core: what VMs there are, in which state, and what may be asked of them.
 *
 * Pure: calls, commit results and facts about workers go in; effects come out of a queue and are
 * carried out by somebody else, who reports back. Nothing here blocks, reads a clock or a file, and
 * no function calls back: take effects after each input. One thread.
 *
 * What was asked by a client changes the model only when its commit succeeded. What happened to a
 * worker is true whether it could be stored or not.
 */
#pragma once

#include "api/gen/types.h"
#include "api/rpc/envelope.h"
#include "api/rpc/error.h"
#include "hvcore/base/guid.h"
#include "hvcore/base/list.h"

enum {
    VMMS_SECRET_TEXT_BYTES = 65,
    VMMS_MAX_VMS = 16384,
    VMMS_MAX_GROUPS = 1024,
    VMMS_MAX_MEMBERSHIPS = 32768, /* in all groups together */
    VMMS_MAX_ACTIVE_JOBS = 256,   /* queued or running */
    VMMS_MAX_RUNNING_JOBS = 4,    /* the rest waits its turn */
    VMMS_MAX_KEPT_JOBS = 2000,    /* of those that have ended */
    VMMS_MAX_JOB_WAITERS = 1000,  /* calls that wait for jobs */
    VMMS_JOB_KEPT_DAYS = 7,
    VMMS_MAX_KEPT_KEYS = 10000, /* of calls that have ended */
    VMMS_CONTROLLERS = 4,
    VMMS_LUNS = 64,
    VMMS_MAX_PAIRS = 128, /* given to a guest */
    VMMS_CRASH_PARAMETERS = 5
};

struct vmms_core;
struct vmms_key;
struct vmms_scope;

/* Chance and time, given from outside so that a simulation can give its own. */
struct vmms_env {
    /* public */
    void *opaque;
    uint64_t (*realtime_ns)(void *opaque);
    uint64_t (*monotonic_ns)(void *opaque);
    void (*random)(void *opaque, void *ret, size_t length);
};

/* What is to become of a VM without anybody asking, remembered over every restart. */
enum vmms_mark {
    VMMS_MARK_NONE,
    VMMS_MARK_STOPPED, /* it was running when the host's VMs were stopped */
    VMMS_MARK_START,   /* it waits for its automatic start */
    VMMS_MARK_RECOVER  /* it crashed and is to be started again */
};
/* The files of a saved state. STALE: what there is of them counts for nothing, and is to go. */
enum vmms_saved { VMMS_SAVED_NONE, VMMS_SAVED_KEPT, VMMS_SAVED_STALE };

/* A VM as it is stored. */
struct vmms_row {
    /* public */
    char id[HV_GUID_TEXT_BYTES];
    struct api_settings settings; /* only what was set; the name always is */
    uint64_t generation;
    enum api_vm_state state;
    uint64_t created_ms;
    uint64_t changed_ms;
    uint64_t on_since_ms; /* 0 while Off */
    char *cause;
    char *cause_message;
    bool has_exit_status;
    uint32_t exit_status;
    /* The worker, empty while there is none. */
    char incarnation[HV_GUID_TEXT_BYTES];
    char secret[VMMS_SECRET_TEXT_BYTES];
    enum vmms_mark mark;
    enum vmms_saved saved;
    /* The disk whose image failed last since it is on, or empty. */
    char failing[HV_GUID_TEXT_BYTES];
    uint32_t pid;       /* 0: not known */
    uint64_t pid_start; /* start time of that pid in ticks since boot: pids are used again */
    /* By controller, the controller itself first, then by place. */
    struct api_device *devices;
    size_t n_devices;
    /* What the host gives its guest, in the order in which it came. */
    struct api_kvp_pair *pairs;
    size_t n_pairs;
    struct api_pending_config staged; /* empty while Off */
};

void vmms_row_fini(struct vmms_row *row);
/* A deep copy. Returns 0, or -ENOMEM and leaves *ret empty. */
int vmms_row_copy(const struct vmms_row *from, struct vmms_row *ret);

/* A group as it is stored; who is in it is stored beside it. */
struct vmms_group_row {
    /* public */
    char id[HV_GUID_TEXT_BYTES];
    char *name;
    enum api_group_kind kind;
    char *notes;
    uint64_t generation;
    uint64_t created_ms;
};

void vmms_group_row_fini(struct vmms_group_row *row);

/* A job as it is stored. */
struct vmms_job_row {
    /* public */
    uint64_t id;
    char *type;   /* the method's name */
    char *object; /* a path */
    char *args;   /* of the call, as JSON */
    enum api_job_state state;
    char *owner;
    char *reason;          /* or NULL */
    char *idempotency_key; /* or NULL */
    uint64_t submitted_ms;
    uint64_t started_ms;  /* 0: not yet */
    uint64_t ended_ms;    /* 0: not yet */
    uint64_t deadline_ms; /* 0: none */
    uint64_t bytes_done;
    uint64_t bytes_total;
    char *step;      /* or NULL */
    char *error;     /* JSON, or NULL */
    char *result;    /* JSON, or NULL */
    char *steps;     /* of a transaction: a JSON array of job_step; or NULL */
    uint64_t parent; /* the transaction's job whose step it is; 0: none */
};

void vmms_job_row_fini(struct vmms_job_row *row);
/* A deep copy. Returns 0, or -ENOMEM and leaves *ret empty. */
int vmms_job_row_copy(const struct vmms_job_row *from, struct vmms_job_row *ret);

/* A client's key for a call that makes no job, as it is stored. */
struct vmms_key_row {
    /* public */
    char *owner;
    char *key;
    char *method;                    /* the method's name */
    uint64_t args;                   /* stands for the arguments */
    char object[HV_GUID_TEXT_BYTES]; /* id of the VM or group that it was about, or empty */
    char device[HV_GUID_TEXT_BYTES]; /* likewise of a device */
    bool is_done;
    uint64_t made_ms;
    uint64_t event_seq; /* of the answer; while 0, the first event stored with it gives it */
};

void vmms_key_row_fini(struct vmms_key_row *row);

/* A pair with that key, in place of the one that is there. Returns 0 or -ENOMEM. */
int vmms_pairs_set(struct vmms_row *row, const char *key, const char *value);
/* In its place in the order; device is taken. */
void vmms_devices_insert(struct vmms_row *row, struct api_device *device);
void vmms_devices_remove(struct vmms_row *row, const char *device_id);
struct api_device *vmms_devices_find(const struct vmms_row *row, const char *device_id);

enum { VMMS_CHANGE_EVENTS = 5 };

/* One transaction: a VM's row, a job's or a group's, with the events that tell of it. */
struct vmms_change {
    /* public */
    uint64_t id;
    enum { VMMS_ROW_INSERT, VMMS_ROW_UPDATE, VMMS_ROW_DELETE, VMMS_ROW_NONE } kind;
    struct vmms_row row;
    enum {
        VMMS_JOB_ROW_NONE,
        VMMS_JOB_ROW_INSERT,
        VMMS_JOB_ROW_UPDATE,
        VMMS_JOB_ROW_DELETE
    } job_kind;
    struct vmms_job_row job;
    enum {
        VMMS_GROUP_ROW_NONE,
        VMMS_GROUP_ROW_INSERT,
        VMMS_GROUP_ROW_UPDATE,
        VMMS_GROUP_ROW_DELETE,
        VMMS_GROUP_ROW_ADD,   /* updated, and `member` comes */
        VMMS_GROUP_ROW_REMOVE /* updated, and `member` goes */
    } group_kind;
    struct vmms_group_row group;
    char member[HV_GUID_TEXT_BYTES]; /* a VM, or a group, as the group's kind says */
    enum { VMMS_KEY_ROW_NONE, VMMS_KEY_ROW_PUT, VMMS_KEY_ROW_DELETE } key_kind;
    struct vmms_key_row key;
    uint64_t due_ns;  /* monotonic: refused when it is stored no sooner; 0: none */
    bool has_devices; /* the row's devices are others than those that are stored */
    bool has_pairs;   /* likewise */
    struct api_event events[VMMS_CHANGE_EVENTS]; /* without seq */
    size_t n_events;
    struct vmms_change *next; /* stored with it, after it, or not at all; their ids don't count */
};

/* How many events it and those after it have. */
size_t vmms_change_count_events(const struct vmms_change *change);
struct vmms_change *vmms_change_free(struct vmms_change *change);

enum vmms_worker_verb {
    VMMS_WORKER_START,
    VMMS_WORKER_PAUSE,
    VMMS_WORKER_RESUME,
    VMMS_WORKER_RESET,
    VMMS_WORKER_TURN_OFF,
    VMMS_WORKER_SAVE,
    VMMS_WORKER_CANCEL_SAVE,
    VMMS_WORKER_ADD_DISK,      /* device */
    VMMS_WORKER_REMOVE_DISK,   /* device */
    VMMS_WORKER_CHANGE_MEDIUM, /* device, as it will be */
    VMMS_WORKER_SHUT_DOWN,     /* force, text: the reason or NULL */
    VMMS_WORKER_REBOOT,        /* likewise */
    VMMS_WORKER_SET_SERVICES,  /* the row's settings integration.* */
    VMMS_WORKER_SET_PAIRS,     /* the row's pairs */
    VMMS_WORKER_HOLD_STORAGE,  /* the row's setting auto.critical */
    VMMS_WORKER_LOOK           /* does it answer at all? */
};

enum vmms_effect_kind {
    VMMS_EFFECT_REPLY,        /* call, error or result, fields: answer a client */
    VMMS_EFFECT_COMMIT,       /* change: store it, then vmms_core_committed() */
    VMMS_EFFECT_CHECK_FILES,  /* call, files: look at them, then vmms_core_files_checked() */
    VMMS_EFFECT_SERVE,        /* call, request, row.id: a read that somebody else answers */
    VMMS_EFFECT_SPAWN,        /* row: start its worker, then facts */
    VMMS_EFFECT_ADOPT,        /* row: find its worker, then facts */
    VMMS_EFFECT_ASK_WORKER,   /* row, verb: then the fact VMMS_FACT_ANSWER */
    VMMS_EFFECT_KILL_WORKER,  /* row: end its process, then the fact VMMS_FACT_GONE */
    VMMS_EFFECT_REMOVE_FILES, /* row.id: of a VM that was deleted */
    VMMS_EFFECT_REMOVE_SAVED, /* row.id: its saved state, whole or half */
    VMMS_EFFECT_RUN_JOB,      /* job, request, deadline_ms: facts PROGRESS, then WORKED or ENDED */
    VMMS_EFFECT_CANCEL_JOB,   /* job: the fact ENDED soon */
    VMMS_EFFECT_FINISH_JOB,   /* job, request, text: put its result in place, then the fact ENDED */
    VMMS_EFFECT_UNDO_JOB,     /* job, request, text: remove what it half made, or, of a job that was
                                 done, its result's files; then the fact ENDED */
    VMMS_EFFECT_WAKE,         /* row.id, token, delay_ms: then vmms_core_woken() */
    VMMS_EFFECT_LOOK_FOR_KVP, /* row, text: has its guest that pair? Then vmms_core_kvp_found() */
    /* result, as of job.get; row.id: its VM, or empty: for who listens now, and kept nowhere */
    VMMS_EFFECT_TELL_PROGRESS,
    VMMS_EFFECT_LOG /* text */
};

/* What a file's bytes look like. Compared with what is recorded, never taken for it. */
enum vmms_looks { VMMS_LOOKS_RAW, VMMS_LOOKS_VHD, VMMS_LOOKS_VHDX };

struct vmms_file {
    /* public */
    char *field; /* the setting; NULL: a file that the VM has already, to compare with */
    char *path;
    bool is_image; /* to be attached with this format */
    bool is_made;  /* to be made: there must be room for its name */
    bool is_written;
    enum api_image_format format;
    /* answers */
    int errnum; /* positive, or 0 */
    bool is_regular;
    bool is_writable;
    enum vmms_looks looks;
    uint64_t device, inode; /* the same file under two names has the same */
};

struct vmms_effect {
    /* read only */
    struct hv_list node;
    enum vmms_effect_kind kind;
    uint64_t call;
    struct api_error *error;
    enum api_method method;
    union api_result result;
    uint64_t fields;      /* of the result to write, as its `has` bits */
    bool is_planned;      /* of a read: its answer is the one to tx.plan */
    struct api_plan plan; /* of a read that is a plan: what vmms_plan_complete adds */
    struct vmms_change *change;
    struct vmms_file *files;
    size_t n_files;
    struct api_request request;
    bool has_request;
    struct vmms_row row; /* a copy: settings filled in with defaults */
    enum vmms_worker_verb verb;
    struct api_device device;
    bool force;
    uint64_t token;
    uint64_t delay_ms;
    char *text;
    uint64_t job;
    uint64_t deadline_ms;            /* of a job, 0: none */
    char for_vm[HV_GUID_TEXT_BYTES]; /* with LOOK_FOR_KVP and token: who waits for it */
    unsigned own;                    /* the answer to a call of the core's own */
    struct vmms_key *key;            /* the core's: the answer to the call that has it */
};

struct vmms_effect *vmms_effect_free(struct vmms_effect *effect);

/* An empty core; env is copied. Returns 0 or -ENOMEM. */
int vmms_core_new(const struct vmms_env *env, struct vmms_core **ret);
struct vmms_core *vmms_core_free(struct vmms_core *core);

/* What is known of the host from the first moment. host_id and version are copied. */
int vmms_core_set_host(struct vmms_core *core, const char *host_id, const char *boot_id,
                       const char *version, uint32_t processors, uint64_t memory_bytes);

/* What the worker program found out; host NULL: it failed, `why` says how. host is taken. */
void vmms_core_host_probed(struct vmms_core *core, struct api_host *host, const char *why);

/* A row read from the store at start; row is taken. Emits the effect ADOPT where it had a worker.
 * Returns 0, -ENOMEM or -EEXIST. */
int vmms_core_load(struct vmms_core *core, struct vmms_row *row);
/* A job read from the store at start, in the order of their numbers; row is taken. One that was
 * under way is finished or undone by an effect. Returns 0, -ENOMEM or -EINVAL. */
int vmms_core_load_job(struct vmms_core *core, struct vmms_job_row *row);
/* last_job: the highest number that was ever given to a job */
void vmms_core_loaded(struct vmms_core *core, uint64_t last_event, uint64_t last_job);
/* A group read from the store at start, after the VMs; row is taken. Then, when all groups are
 * there, who is in them. Return 0, -ENOMEM, -EEXIST, -ENOENT, -ELOOP: it would hold itself, or
 * -E2BIG: there are too many. */
int vmms_core_load_group(struct vmms_core *core, struct vmms_group_row *row);
int vmms_core_load_member(struct vmms_core *core, const char *group, const char *member);

/* A call's key read from the store at start; row is taken. Returns 0, -ENOMEM or -EEXIST. */
int vmms_core_load_key(struct vmms_core *core, struct vmms_key_row *row);

/* The host has booted since the service ran last: VMs that are to start with it will. After the
 * rows are loaded, before vmms_core_loaded(). */
void vmms_core_booted(struct vmms_core *core);
/* Clients can call from now on, and are told what is stored; all else that they ask for waits for
 * vmms_core_opened(). */
void vmms_core_hold(struct vmms_core *core);
/* All calls are served from now on: delays of automatic starts begin. */
void vmms_core_opened(struct vmms_core *core);

/* The id of a group by its name or id, until the next input; NULL: there is none. */
const char *vmms_core_group_id(const struct vmms_core *core, const char *ref);
/* Is that VM or group one of the groups, or in one, directly or through management groups? */
bool vmms_core_is_within(const struct vmms_core *core, const char *id,
                         const char (*groups)[HV_GUID_TEXT_BYTES], size_t n_groups);
/* Names of the groups that a VM is in, as far as `scope` (NULL: all) has them, in their order; the
 * list is the caller's to free. Of a VM that is not there: none. */
char **vmms_core_vm_groups(const struct vmms_core *core, const struct vmms_scope *scope,
                           const char *id, size_t *ret_n);
/* Names of all groups that hold a VM, also through management groups, a line each; freed by the
 * caller. */
char *vmms_core_groups_above(const struct vmms_core *core, const char *id);
/* Raised whenever somebody comes into a group or goes out of one. */
uint64_t vmms_core_memberships(const struct vmms_core *core);

/* The name of a VM by its id, until the next input; NULL: there is none. */
const char *vmms_core_vm_name(const struct vmms_core *core, const char *id);

/* The id of a VM by its name or id, until the next input; NULL: there is none. */
const char *vmms_core_vm_id(const struct vmms_core *core, const char *ref);

/* Virtual processors, and bytes of memory, with the defaults where nothing was set. */
uint32_t vmms_row_cpus(const struct vmms_row *row);
uint64_t vmms_row_memory(const struct vmms_row *row);

/* Every VM that `scope` (NULL: all) has, in the order of their names. */
void vmms_core_each_vm(const struct vmms_core *core, const struct vmms_scope *scope,
                       void (*each)(void *opaque, const struct vmms_row *row), void *opaque);

/* Is a worker of an earlier life still to be heard of? Changes wait until not. */
bool vmms_core_is_adopting(const struct vmms_core *core);
/* Is there one of which not even the process is known to live? Then what is stored of its VM may
 * not be so, and all clients wait. */
bool vmms_core_is_looking(const struct vmms_core *core);

/*
 * A client's call. Ends in exactly one REPLY or SERVE with this number.
 *
 * request: taken; actor: who calls ("uid:0"), copied
 */
void vmms_core_call(struct vmms_core *core, uint64_t call, struct api_request *request,
                    const char *actor);
/* The same for somebody who sees only some VMs: vm.list leaves out the others. What else a call may
 * name is the caller's to check. scope: copied; NULL: sees all */
void vmms_core_call_within(struct vmms_core *core, uint64_t call, struct api_request *request,
                           const char *actor, const struct vmms_scope *scope);

/* first_seq: number of the change's first event; error: taken, NULL when committed. */
void vmms_core_committed(struct vmms_core *core, uint64_t change, uint64_t first_seq,
                         struct api_error *error);

/* The answer to a files effect: what each named file is like. The call goes on or is refused. */
void vmms_core_files_checked(struct vmms_core *core, uint64_t call, const struct vmms_file *files,
                             size_t n_files);

/* A call that an effect SERVE handed on, and that changes something, has its answer, which comes
 * back as an effect REPLY when that may be told. result, error: taken */
void vmms_core_served(struct vmms_core *core, uint64_t call, enum api_method method,
                      const union api_result *result, struct api_error *error);

enum vmms_fact_kind {
    VMMS_FACT_SPAWNED,       /* pid, pid_start: the process runs */
    VMMS_FACT_SPAWN_FAILED,  /* error: there is none */
    VMMS_FACT_FOUND,         /* a worker of an earlier life: its process lives, and it is asked */
    VMMS_FACT_GREETED,       /* text state, backend, backend_reason: Hello was answered */
    VMMS_FACT_ANSWER,        /* verb, error or NULL */
    VMMS_FACT_STATE,         /* the worker's state changed: state, cause, exit_status, message */
    VMMS_FACT_GUEST,         /* heartbeat, os, addresses: what is known of the guest now */
    VMMS_FACT_GUEST_CRASHED, /* the guest said that it panicked: crash, message */
    VMMS_FACT_DEVICE_ERROR,  /* device, message: a disk fails */
    VMMS_FACT_STORAGE,       /* the guest waits for better storage, or not: is_critical, message */
    VMMS_FACT_SAVE_PROGRESS, /* bytes_done, bytes_total: of its memory */
    VMMS_FACT_SILENT,        /* it does not answer */
    VMMS_FACT_QUIET,         /* nothing is heard of it; it may go on */
    VMMS_FACT_HEARD,         /* it is heard again, after that or a question without an answer */
    /* The process ended: cause ..., message, error where it told one. Cause "save": and its saved
     * state is whole and in place. */
    VMMS_FACT_GONE,
    VMMS_FACT_NOTE, /* the core's own: an event and a mark, when the store is free */
    VMMS_FACT_SAVE  /* likewise: the job that saves it runs */
};

struct vmms_fact {
    /* public */
    struct hv_list node;
    enum vmms_fact_kind kind;
    char incarnation[HV_GUID_TEXT_BYTES];
    uint32_t pid;
    uint64_t pid_start;
    enum vmms_worker_verb verb;
    char *state;
    char *cause;
    char *message;
    bool has_exit_status;
    uint32_t exit_status;
    char *backend;
    char *backend_reason;
    bool is_quiet; /* known from now on, and no event */
    bool has_heartbeat;
    enum api_heartbeat heartbeat;
    char *os;
    char **addresses;
    size_t n_addresses;
    uint64_t crash[VMMS_CRASH_PARAMETERS];
    char *device; /* its id */
    uint64_t bytes_done, bytes_total;
    uint64_t job;
    bool is_adoption;
    struct api_error *error;
    bool is_critical;
    uint64_t age_ms;     /* since when it is */
    enum vmms_mark mark; /* of a note, as the VM's will be */
};

/* A fact of that kind; incarnation is copied. NULL: out of memory. */
struct vmms_fact *vmms_fact_new(enum vmms_fact_kind kind, const char *incarnation);
struct vmms_fact *vmms_fact_free(struct vmms_fact *fact);

/* Something happened to the worker of a VM; fact is taken. A fact of another incarnation than the
 * VM's is dropped. */
void vmms_core_fact(struct vmms_core *core, const char *vm_id, struct vmms_fact *fact);

enum vmms_job_fact_kind {
    VMMS_JOB_PROGRESS, /* step or NULL, bytes_done, bytes_total */
    VMMS_JOB_WORKED,   /* result: the work is done, FINISH_JOB may come */
    VMMS_JOB_ENDED     /* error: NULL when it ended well */
};

struct vmms_job_fact {
    /* public */
    enum vmms_job_fact_kind kind;
    uint64_t job;
    const char *step; /* copied */
    uint64_t bytes_done;
    uint64_t bytes_total;
    char *result;            /* JSON, taken */
    struct api_error *error; /* taken */
};

/* Something happened to a job's work. What is said of a job that has ended is dropped. */
void vmms_core_job_fact(struct vmms_core *core, struct vmms_job_fact *fact);

/* Does anything wait for time to pass? Then vmms_core_tick is to be called, every 100 ms or so; in
 * any case once an hour: ended jobs are not kept for ever. */
bool vmms_core_is_ticking(const struct vmms_core *core);
void vmms_core_tick(struct vmms_core *core);
/* The time that an effect WAKE asked for is over. */
void vmms_core_woken(struct vmms_core *core, const char *vm_id, uint64_t token);

/* A pair that an effect LOOK_FOR_KVP asked for is there. */
void vmms_core_kvp_found(struct vmms_core *core, const char *for_vm, uint64_t token);

/* The oldest effect, which the caller owns then, or NULL. */
struct vmms_effect *vmms_core_take_effect(struct vmms_core *core);

/* For tests and simulation: NULL when all invariants hold, else the one that does not. */
const char *vmms_core_check(const struct vmms_core *core);
