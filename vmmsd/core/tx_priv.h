/* SPDX-License-Identifier: Apache-2.0 */
/* What the files about transactions share. */
#pragma once

#include "vmmsd/core/core_priv.h"

enum { VMMS_TX_MAX_OPS = 256 };

struct json_doc;
struct json_value;

/* A VM that the transaction changes. */
struct vmms_tx_vm {
    struct vmms_vm *vm;
    struct vmms_row before; /* of one that was there */
    struct vmms_row after;  /* when it is tried */
    bool is_new;
    bool is_deleted;
};

/*
 * When a call of a transaction is made. WORKS: on files, or with a running VM's worker: before the
 * rest, one after the other, each with what takes it back. CONFIGURES: all together, in one change.
 * LAST: when that is stored, and never taken back: VMs are turned on or off, and images resized
 * that were there before.
 */
enum vmms_tx_kind { VMMS_TX_NOT, VMMS_TX_WORKS, VMMS_TX_CONFIGURES, VMMS_TX_LAST };

/* One of its calls, as it was tried. */
struct vmms_tx_op {
    enum vmms_tx_kind kind;
    struct api_request request; /* WORKS and LAST: what is to be asked for; else empty */
    struct api_job_step record;
};

struct vmms_tx {
    struct hv_list node;
    uint64_t id; /* of its first change */
    struct vmms_call *call;
    struct vmms_job *job; /* what it is stored with, or NULL; when tried: whose steps are done */
    struct vmms_change *first, *last;
    struct vmms_tx_vm vms[VMMS_TX_MAX_OPS];
    size_t n_vms;
    struct vmms_tx_op ops[VMMS_TX_MAX_OPS];
    struct api_tx_result results[VMMS_TX_MAX_OPS];
    size_t n_results; /* and of ops */
    size_t n_works, n_last;
    uint64_t event_seq;
    /* while it is tried */
    size_t index;
    struct vmms_pending scratch;
    struct vmms_effect *files;
    struct vmms_vm *busy; /* it is to wait for this one's change */
    bool waits_for_groups;
    bool is_job_in_way; /* its error is that a job is */
    struct api_error *error;
};

/* The job of a transaction, from its making to its end. */
struct vmms_saga {
    struct api_job_step *steps;   /* as in the job's row, or newer */
    struct api_request *requests; /* of each step that WORKS; empty after a restart */
    struct api_tx_result *results;
    size_t count;
    size_t at;       /* the step that is under way */
    bool is_waiting; /* for an answer, or the end of a job */
    bool is_storing; /* the rest is on its way to the store, or is being tried for that */
    bool is_undoing;
    bool is_held;            /* until it is known how VMs are; looked at from time to time */
    size_t reborn;           /* 1 + the call made last that was under way when the service ended */
    struct api_error *error; /* why it is taken back */
    char *kept;              /* what could not be, in sentences; or NULL */
};

/* tx_ops.c */
enum vmms_tx_kind vmms_tx_kind(enum api_method method);
/* By its name; API_METHOD_COUNT: there is none. */
enum api_method vmms_tx_method(const char *name);
/* What earlier calls have brought. */
struct vmms_tx_known {
    const struct api_tx_result *results;
    size_t count;
    bool has_last; /* one that is made last was among them */
};
/* One of the calls as a request, references replaced. Returns 0 or -EINVAL with *reterr. */
int vmms_tx_read_op(const struct vmms_tx_known *known, const struct json_value *op,
                    struct api_request *ret, struct api_error **reterr);
/* The VM that a request names, or NULL. */
const char *vmms_tx_vm_ref(const struct api_request *request);
/* An argument that is a text; NULL: not given, or there is none of that name. */
const char *vmms_tx_text(const struct api_request *request, const char *name);

/* transact.c */
struct vmms_tx *vmms_tx_free(struct vmms_tx *tx);
/* What is stored with it, and what is chained to that. */
void vmms_tx_append(struct vmms_tx *tx, struct vmms_change *change);
/* What a call of that transaction brought. device, path: or NULL */
void vmms_tx_note(struct vmms_tx *tx, enum vmms_tx_kind kind, enum api_method method,
                  const struct vmms_vm *vm, const char *device, const char *path);
/* The answer that a call of the transaction was given at once, or NULL. */
struct vmms_effect *vmms_tx_take_answer(struct vmms_core *core);
struct vmms_call *vmms_tx_call(const struct vmms_tx *tx, struct api_request *request);

/* tx_works.c: calls on files and with workers, tried. A resizing of what was there before is made
 * last. */
void vmms_tx_try_image(struct vmms_core *core, struct vmms_tx *tx, struct api_request *request);
/* The last change was a running VM's device, with that id: it is a step of its own. before: the
 * VM's row as it was, and the last of the changes before it */
void vmms_tx_try_hot(struct vmms_core *core, struct vmms_tx *tx, struct vmms_vm *vm,
                     const struct vmms_row *row, struct vmms_change *before,
                     struct api_request *request);
/* Does one of its calls make that file? */
bool vmms_tx_makes(const struct vmms_tx *tx, const char *path);

/* tx_groups.c: calls group.*, tried; request is taken */
void vmms_tx_try_group(struct vmms_core *core, struct vmms_tx *tx, struct api_request *request);
/* The groups that are touched: what a plan stands on, and what would be other than it is. Called
 * while the model is as it would be. */
void vmms_tx_group_basis(const struct vmms_core *core, struct api_plan *plan);
void vmms_tx_group_diff(const struct vmms_core *core, struct api_plan *plan);

/* tx_plan.c */
bool vmms_tx_does_plan_hold(struct vmms_core *core, struct vmms_tx *tx);
/* Called while the model is as it would be. */
void vmms_tx_reply_plan(struct vmms_core *core, struct vmms_tx *tx);

/* transact_end.c */
/* What was tried goes to the store; tx is taken. */
void vmms_tx_store(struct vmms_core *core, struct vmms_tx *tx);

/* saga_record.c */
/* What was tried becomes a job, stored before its first step; tx stays the caller's. */
void vmms_saga_begin(struct vmms_core *core, struct vmms_tx *tx);
/* The job's row as its steps are now. */
void vmms_saga_record(struct vmms_job *job);
char *vmms_saga_write_results(const struct api_tx_result *results, size_t count);
size_t vmms_saga_read_results(const char *text, struct api_tx_result **ret);
/* What its calls have brought in the end. */
void vmms_saga_take_results(struct vmms_saga *saga, const struct vmms_tx *tx);
bool vmms_saga_works(const struct api_job_step *step);
/* Is it made last? */
bool vmms_saga_is_last(const struct api_job_step *step);

/* saga.c: a call of the job's own, whose answer it waits for then. request: taken */
struct vmms_call *vmms_saga_call(struct vmms_job *job, struct api_request *request);

/* saga_undo.c */
/* Take back the last step that is not yet, or end. */
void vmms_saga_undo(struct vmms_core *core, struct vmms_job *job);
void vmms_saga_undo_answered(struct vmms_core *core, struct vmms_job *job, struct api_error *error);
/* The job that works at its step, or NULL. */
struct vmms_job *vmms_saga_child(const struct vmms_core *core, const struct vmms_job *job,
                                 const struct api_job_step *step);
void vmms_saga_cancel_child(struct vmms_core *core, struct vmms_job *child);
