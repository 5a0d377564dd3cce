/* SPDX-License-Identifier: Apache-2.0 */
/* What the files about transactions share. */
#pragma once

#include "vmmsd/core/core_priv.h"

enum { VMMS_TX_MAX_OPS = 256 };

struct json_value;

/* A VM that the transaction changes. */
struct vmms_tx_vm {
    struct vmms_vm *vm;
    struct vmms_row before; /* of one that was there */
    struct vmms_row after;  /* when it is tried */
    bool is_new;
    bool is_deleted;
};

/* A power verb, made when the rest is stored. */
struct vmms_tx_power {
    size_t index;
    struct api_request request;
};

struct vmms_tx {
    struct hv_list node;
    uint64_t id; /* of its first change; its calls have it as their number */
    struct vmms_call *call;
    struct vmms_change *first, *last;
    struct vmms_tx_vm vms[VMMS_TX_MAX_OPS];
    size_t n_vms;
    struct vmms_tx_power powers[VMMS_TX_MAX_OPS];
    size_t n_powers;
    size_t next_power;
    struct api_tx_result results[VMMS_TX_MAX_OPS];
    size_t n_results;
    uint64_t event_seq;
    /* while it is tried */
    size_t index;
    struct vmms_pending scratch;
    struct vmms_effect *files;
    struct vmms_vm *busy; /* it is to wait for this one's change */
    bool waits_for_groups;
    struct api_error *error;
};

/* tx_ops.c */
enum vmms_tx_kind { VMMS_TX_NOT, VMMS_TX_CONFIGURES, VMMS_TX_POWERS };
enum vmms_tx_kind vmms_tx_kind(enum api_method method);
/* One of the calls as a request, references replaced. Returns 0 or -EINVAL with *reterr. */
int vmms_tx_read_op(const struct vmms_tx *tx, const struct json_value *op, struct api_request *ret,
                    struct api_error **reterr);
/* The VM that a request names, or NULL. */
const char *vmms_tx_vm_ref(const struct api_request *request);

/* transact.c */
struct vmms_tx *vmms_tx_free(struct vmms_tx *tx);

/* transact_end.c */
/* What was tried goes to the store; tx is taken. */
void vmms_tx_store(struct vmms_core *core, struct vmms_tx *tx);
