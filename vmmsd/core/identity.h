/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who calls from afar, and what its role lets it do. Pure.
 *
 * One static table maps the rights that the schema names to roles; a right that is not in it is
 * nobody's, and a method that names a file of the host is an administrator's, whatever its right.
 * Reliability rules 9.3 and 9.4.
 */
#pragma once

#include "api/gen/types.h"
#include "api/rpc/envelope.h"
#include "api/rpc/error.h"
#include "hvcore/base/guid.h"

struct vmms_core;

enum { VMMS_MAX_SCOPE = 32, VMMS_FINGERPRINT_BYTES = 65, VMMS_IDENTITY_NAME_BYTES = 65 };

/* The only VMs that somebody sees: these, and those that are in these groups now. */
struct vmms_scope {
    /* public */
    size_t count;
    char ids[VMMS_MAX_SCOPE][HV_GUID_TEXT_BYTES];
    size_t n_groups;
    char groups[VMMS_MAX_SCOPE][HV_GUID_TEXT_BYTES];
};

/* Is that VM or group in it? scope NULL: all are; id NULL: in none. */
bool vmms_scope_has(const struct vmms_core *core, const struct vmms_scope *scope, const char *id);

/* As it is stored. Texts that do not apply are empty, times 0. */
struct vmms_identity {
    /* public */
    char name[VMMS_IDENTITY_NAME_BYTES];
    enum api_remote_role role;
    enum api_remote_state state;
    bool is_limited; /* to the scope */
    struct vmms_scope scope;
    char token_hash[VMMS_FINGERPRINT_BYTES]; /* of its last invitation */
    char fingerprint[VMMS_FINGERPRINT_BYTES];
    char old_fingerprint[VMMS_FINGERPRINT_BYTES]; /* good until the new one is used */
    uint64_t created_ms;
    uint64_t expires_ms; /* of the token while invited, else of the certificate */
    uint64_t seen_ms;
};

/* Letters, digits and . _ @ -, at most 64. */
bool vmms_identity_is_name(const char *name);

/* Is a right known, and which role is the least that has it? */
bool vmms_right_role(const char *right, enum api_remote_role *ret);

/* May it call that method? Looks at the role alone: no argument, no object. Returns 0 or -EINVAL
 * with *reterr. */
int vmms_identity_may(const struct vmms_identity *identity, enum api_method method,
                      struct api_error **reterr);

/* Does the call keep to the VMs that it may see? Says the same of a VM that is not there and of one
 * that is another's. Returns 0 or -EINVAL with *reterr. */
int vmms_identity_may_see(const struct vmms_identity *identity, const struct vmms_core *core,
                          const struct api_request *request, struct api_error **reterr);
