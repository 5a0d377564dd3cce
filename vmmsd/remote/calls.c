/* SPDX-License-Identifier: Apache-2.0 */
/* The calls remote.*: each ends in one reply, at once or when the store has what it changes. */
#include "vmmsd/remote/remote_priv.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

struct caller {
    uint64_t call;
    const char *actor;
    const struct vmms_peer *peer;
};

static void reply(struct vmms_remote *remote, uint64_t call, enum api_method method,
                  const union api_result *result)
{
    remote->config.reply(remote->config.opaque, call, method, result, NULL);
}

/* error: taken; NULL stands for lack of memory. */
static void fail(struct vmms_remote *remote, uint64_t call, enum api_method method,
                 struct api_error *error)
{
    if (!error)
        (void)api_error_set(&error, API_E_OUT_OF_MEMORY, "host.memory", NULL,
                            "The service is short of memory; try again.");
    remote->config.reply(remote->config.opaque, call, method, NULL, error);
}

/* A sentence for the caller; what the host said of files goes to the log alone. */
static void fail_host(struct vmms_remote *remote, uint64_t call, enum api_method method,
                      const struct hv_error *why, int r)
{
    struct api_error *error = NULL;

    hv_log_printf(remote->config.log, HV_LOG_ERROR, NULL, "%s", hv_error_message(why, r));
    (void)api_error_set(&error, API_E_FAILED, "remote.certificate", NULL,
                        "The service's certificates cannot be made or read; its log tells why.");
    fail(remote, call, method, error);
}

static int need_context(const struct vmms_remote *remote, struct api_error **reterr)
{
    if (remote->context)
        return 0;
    (void)api_error_set(reterr, API_E_INVALID_STATE, "remote.init", NULL,
                        "There is no authority for remote certificates yet.");
    if (reterr)
        api_error_hint(*reterr, "hvadm remote init makes it.");
    return -EINVAL;
}

/* init, get, renew */

static char **texts(size_t count)
{
    char **list = calloc(count ? count : 1, sizeof(*list));

    hv_assert(list);
    return list;
}

static char *copy(const char *text)
{
    char *made = strdup(text);

    hv_assert(made);
    return made;
}

static void view_service(const struct vmms_remote *remote, struct api_remote_service *ret)
{
    HV_CLEANUP(vmms_names_fini) struct names names = { 0 };
    char fingerprint[VMMS_FINGERPRINT_BYTES];

    (void)vmms_pki_names(remote->server, &names);
    ret->addresses = texts(remote->config.n_listen);
    for (; ret->n_addresses < remote->config.n_listen; ret->n_addresses++)
        ret->addresses[ret->n_addresses] = copy(remote->config.listen[ret->n_addresses]);
    ret->names = texts(names.count);
    for (; ret->n_names < names.count; ret->n_names++)
        ret->names[ret->n_names] = copy(names.list[ret->n_names]);
    ret->expires_ms = vmms_pki_expires_ms(remote->server);
    vmms_pki_fingerprint(remote->authority, fingerprint);
    ret->fingerprint = copy(fingerprint);
    ret->authority = vmms_pki_text(remote->authority);
}

static void tell_service(struct vmms_remote *remote, const struct caller *caller,
                         enum api_method method)
{
    union api_result result = { 0 };

    view_service(remote, &result.remote_service);
    reply(remote, caller->call, method, &result);
    api_remote_service_fini(&result.remote_service);
}

static int take_names(char *const *list, size_t count, struct names *ret, struct api_error **reterr)
{
    for (size_t i = 0; i < count; i++) {
        if (vmms_names_add(ret, list[i]) < 0)
            return api_error_set(reterr, API_E_INVALID_PARAMETER, "remote.name", "names",
                                 "\"%.100s\" is neither a host name nor an address.", list[i]);
    }
    return 0;
}

static void make(struct vmms_remote *remote, const struct caller *caller, enum api_method method,
                 char *const *list, size_t count)
{
    HV_CLEANUP(vmms_names_fini) struct names names = { 0 };
    HV_CLEANUP(hv_error_freep) struct hv_error *why = NULL;
    struct api_error *error = NULL;
    int r;

    if (take_names(list, count, &names, &error) < 0) {
        fail(remote, caller->call, method, error);
        return;
    }
    r = vmms_remote_make(remote, &names, method == API_METHOD_REMOTE_RENEW, &why);
    if (r < 0)
        fail_host(remote, caller->call, method, why, r);
    else
        tell_service(remote, caller, method);
}

static void init(struct vmms_remote *remote, const struct caller *caller,
                 const struct api_remote_init_args *args)
{
    if (remote->context)
        tell_service(remote, caller, API_METHOD_REMOTE_INIT);
    else
        make(remote, caller, API_METHOD_REMOTE_INIT, args->names, args->n_names);
}

static void get(struct vmms_remote *remote, const struct caller *caller)
{
    struct api_error *error = NULL;

    if (need_context(remote, &error) < 0)
        fail(remote, caller->call, API_METHOD_REMOTE_GET, error);
    else
        tell_service(remote, caller, API_METHOD_REMOTE_GET);
}

static void renew(struct vmms_remote *remote, const struct caller *caller,
                  const struct api_remote_renew_args *args)
{
    struct api_error *error = NULL;

    if (need_context(remote, &error) < 0)
        fail(remote, caller->call, API_METHOD_REMOTE_RENEW, error);
    else
        make(remote, caller, API_METHOD_REMOTE_RENEW, args->names, args->n_names);
}

/* list */

static void view(const struct entry *entry, struct api_remote_identity *ret)
{
    const struct vmms_identity *row = &entry->row;

    ret->name = copy(row->name);
    ret->role = row->role;
    ret->state = row->state;
    if (row->is_limited) {
        ret->has |= API_REMOTE_IDENTITY_HAS_VMS | API_REMOTE_IDENTITY_HAS_GROUPS;
        ret->vms = texts(row->scope.count);
        for (; ret->n_vms < row->scope.count; ret->n_vms++)
            ret->vms[ret->n_vms] = copy(row->scope.ids[ret->n_vms]);
        ret->groups = texts(row->scope.n_groups);
        for (; ret->n_groups < row->scope.n_groups; ret->n_groups++)
            ret->groups[ret->n_groups] = copy(row->scope.groups[ret->n_groups]);
    }
    if (*row->fingerprint) {
        ret->has |= API_REMOTE_IDENTITY_HAS_FINGERPRINT;
        ret->fingerprint = copy(row->fingerprint);
    }
    ret->created_ms = row->created_ms;
    ret->expires_ms = row->expires_ms;
    ret->seen_ms = row->seen_ms;
    if (row->expires_ms)
        ret->has |= API_REMOTE_IDENTITY_HAS_EXPIRES_MS;
    if (row->seen_ms)
        ret->has |= API_REMOTE_IDENTITY_HAS_SEEN_MS;
    ret->connections = entry->n_peers;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct api_remote_identity *)a)->name,
                  ((const struct api_remote_identity *)b)->name);
}

static void list_identities(struct vmms_remote *remote, const struct caller *caller)
{
    union api_result result = { 0 };
    struct api_remote_list *all = &result.remote_list;

    all->identities = calloc(remote->n_entries + 1, sizeof(*all->identities));
    hv_assert(all->identities);
    HV_LIST_FOREACH (node, &remote->entries) {
        const struct entry *entry = HV_LIST_ENTRY(node, struct entry, node);

        if (!entry->is_new)
            view(entry, &all->identities[all->n_identities++]);
    }
    qsort(all->identities, all->n_identities, sizeof(*all->identities), by_name);
    reply(remote, caller->call, API_METHOD_REMOTE_LIST, &result);
    api_remote_list_fini(all);
}

/* create_token */

static void put_hex(const unsigned char *bytes, size_t length, char *ret)
{
    for (size_t i = 0; i < length; i++)
        (void)snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

/* "hvt1-<the authority's fingerprint, 32 digits>-<secret, 32 digits>": who has the token can tell
 * the true service from a false one before it says the secret. */
static int make_token(const struct vmms_remote *remote, char **ret, char *ret_hash)
{
    char fingerprint[VMMS_FINGERPRINT_BYTES], secret[2 * TOKEN_SECRET_BYTES + 1];
    unsigned char bytes[TOKEN_SECRET_BYTES];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return -EIO;
    put_hex(bytes, sizeof(bytes), secret);
    vmms_pki_fingerprint(remote->authority, fingerprint);
    if (asprintf(ret, "hvt1-%.32s-%s", fingerprint, secret) < 0) {
        *ret = NULL;
        return -ENOMEM;
    }
    vmms_pki_hash(*ret, strlen(*ret), ret_hash);
    return 0;
}

static int take_scope(const struct vmms_remote *remote,
                      const struct api_remote_create_token_args *args, struct vmms_identity *row,
                      struct api_error **reterr)
{
    const struct vmms_core *core = remote->config.core;

    row->is_limited = args->has & (API_REMOTE_CREATE_TOKEN_ARGS_HAS_VMS |
                                   API_REMOTE_CREATE_TOKEN_ARGS_HAS_GROUPS);
    for (size_t i = 0; i < args->n_vms && i < VMMS_MAX_SCOPE; i++) {
        const char *id = vmms_core_vm_id(core, args->vms[i]);

        if (!id)
            return api_error_set(reterr, API_E_NOT_FOUND, "vm.not_found", "vms",
                                 "There is no VM with the name or id \"%.120s\".", args->vms[i]);
        (void)snprintf(row->scope.ids[row->scope.count++], HV_GUID_TEXT_BYTES, "%s", id);
    }
    for (size_t i = 0; i < args->n_groups && i < VMMS_MAX_SCOPE; i++) {
        const char *id = vmms_core_group_id(core, args->groups[i]);

        if (!id)
            return api_error_set(reterr, API_E_NOT_FOUND, "group.not_found", "groups",
                                 "There is no group with the name or id \"%.120s\".",
                                 args->groups[i]);
        (void)snprintf(row->scope.groups[row->scope.n_groups++], HV_GUID_TEXT_BYTES, "%s", id);
    }
    return 0;
}

static int say_changing(const char *name, struct api_error **reterr)
{
    return api_error_set(reterr, API_E_JOB_CONFLICT, "remote.changing", "name",
                         "%s is being changed by another call; try again.", name);
}

static int check_name(const struct vmms_remote *remote, const char *name, const struct entry *entry,
                      struct api_error **reterr)
{
    if (!vmms_identity_is_name(name))
        return api_error_set(reterr, API_E_INVALID_PARAMETER, "remote.name", "name",
                             "A remote name has 1 to 64 letters, digits and . _ @ -.");
    if (entry && entry->is_changing)
        return say_changing(name, reterr);
    if (entry && entry->row.state == API_REMOTE_STATE_ENROLLED)
        return api_error_set(reterr, API_E_ALREADY_EXISTS, "remote.exists", "name",
                             "%s is enrolled already; revoke it first.", name);
    if (!entry && (remote->n_entries >= VMMS_MAX_IDENTITIES || remote->n_waits >= MAX_PENDING))
        return api_error_set(reterr, API_E_TOO_LARGE, "remote.too_many", NULL,
                             "There are too many remote identities; at most %d are kept.",
                             VMMS_MAX_IDENTITIES);
    return 0;
}

/* HOST:PORT for clients: the first name of the certificate with the first port that is listened
 * on. */
static char *first_address(const struct vmms_remote *remote)
{
    HV_CLEANUP(vmms_names_fini) struct names names = { 0 };
    const char *port = remote->config.n_listen ? strrchr(remote->config.listen[0], ':') : NULL;
    const char *name;
    char *text;

    (void)vmms_pki_names(remote->server, &names);
    name = names.count ? names.list[0] : "localhost";
    if (!port)
        return copy("");
    if (asprintf(&text, strchr(name, ':') ? "[%s]%s" : "%s%s", name, port) < 0)
        text = NULL;
    hv_assert(text);
    return text;
}

static int prepare_invitation(const struct vmms_remote *remote, const struct entry *entry,
                              const struct api_remote_create_token_args *args,
                              struct vmms_identity *row, struct api_error **reterr)
{
    int r = need_context(remote, reterr);

    *row = (struct vmms_identity){ .role = args->role, .state = API_REMOTE_STATE_INVITED };
    if (r == 0 && !remote->config.n_listen) {
        r = api_error_set(reterr, API_E_NOT_AVAILABLE, "remote.listen", NULL,
                          "The service does not listen for remote clients.");
        if (reterr)
            api_error_hint(*reterr,
                           "Set listen in vmmsd.conf and reload it, or start vmmsd with --listen "
                           "HOST:PORT.");
    }
    if (r == 0)
        r = check_name(remote, args->name, entry, reterr);
    if (r == 0)
        r = take_scope(remote, args, row, reterr);
    if (r < 0)
        return r;
    (void)snprintf(row->name, sizeof(row->name), "%s", args->name);
    row->created_ms = vmms_remote_now_ms();
    row->expires_ms = row->created_ms + args->ttl_ms;
    return 0;
}

static struct wait *wait_for(struct wait *wait, const struct caller *caller, enum api_method method)
{
    wait->call = caller->call;
    wait->method = method;
    wait->replies = true;
    return wait;
}

static void create_token(struct vmms_remote *remote, const struct caller *caller,
                         const struct api_remote_create_token_args *args)
{
    struct entry *entry = vmms_entry_find(remote, args->name);
    struct api_remote_token *token;
    struct api_error *error = NULL;
    struct vmms_identity row;
    struct wait *wait;
    char *text = NULL;
    int r = prepare_invitation(remote, entry, args, &row, &error);

    if (r == 0)
        r = make_token(remote, &text, row.token_hash);
    if (r == 0 && !entry) {
        entry = vmms_entry_new(remote);
        hv_assert(entry);
        entry->is_new = true;
        (void)snprintf(entry->row.name, sizeof(entry->row.name), "%s", args->name);
    }
    if (r < 0) {
        fail(remote, caller->call, API_METHOD_REMOTE_CREATE_TOKEN, error);
        return;
    }
    wait = wait_for(vmms_entry_put(remote, entry, &row, "remote.invited", caller->actor), caller,
                    API_METHOD_REMOTE_CREATE_TOKEN);
    token = &wait->result.remote_token;
    token->name = copy(row.name);
    token->address = first_address(remote);
    token->token = text;
    token->expires_ms = row.expires_ms;
}

/* revoke */

static void revoke_identity(struct vmms_remote *remote, const struct caller *caller,
                            const struct api_remote_revoke_args *args)
{
    struct entry *entry = vmms_entry_find(remote, args->name);
    struct api_error *error = NULL;
    struct vmms_identity row;
    struct wait *wait;

    if (!entry || entry->is_new)
        (void)api_error_set(&error, API_E_NOT_FOUND, "remote.not_found", "name",
                            "There is no remote identity \"%.64s\".", args->name);
    else if (entry->is_changing)
        (void)say_changing(args->name, &error);
    if (error) {
        fail(remote, caller->call, API_METHOD_REMOTE_REVOKE, error);
        return;
    }
    row = entry->row;
    row.state = API_REMOTE_STATE_REVOKED;
    wait = wait_for(vmms_entry_put(remote, entry, &row, "remote.revoked", caller->actor), caller,
                    API_METHOD_REMOTE_REVOKE);
    view(entry, &wait->result.remote_identity);
    wait->result.remote_identity.state = API_REMOTE_STATE_REVOKED;
    wait->result.remote_identity.connections = 0;
}

/* enroll, refresh */

/* A certificate for row->name, whose fingerprint and end go into the row. */
static int issue(struct vmms_remote *remote, const char *csr, struct vmms_identity *row,
                 struct api_remote_certificate *ret, struct api_error **reterr)
{
    HV_CLEANUP(vmms_pair_fini) struct pair authority = { 0 };
    HV_CLEANUP(hv_error_freep) struct hv_error *why = NULL;
    X509 *certificate = NULL;
    int r = vmms_keep_read(remote->config.state_dir, AUTHORITY_FILE, &authority, &why);

    if (r < 0)
        hv_log_printf(remote->config.log, HV_LOG_ERROR, NULL, "%s", hv_error_message(why, r));
    else
        r = vmms_pki_client(&authority, csr, row->name, &certificate, reterr);
    if (r < 0 && r != -EINVAL)
        return api_error_set(reterr, API_E_FAILED, "remote.certificate", NULL,
                             "The certificate cannot be made; the service's log tells why.");
    if (r < 0)
        return r;
    vmms_pki_fingerprint(certificate, row->fingerprint);
    row->expires_ms = vmms_pki_expires_ms(certificate);
    *ret = (struct api_remote_certificate){ .name = copy(row->name),
                                            .role = row->role,
                                            .certificate = vmms_pki_text(certificate),
                                            .authority = vmms_pki_text(remote->authority),
                                            .expires_ms = row->expires_ms };
    X509_free(certificate);
    return 0;
}

static int check_token(const struct entry *entry, struct api_error **reterr)
{
    if (!entry)
        return api_error_set(reterr, API_E_ACCESS_DENIED, "remote.token.unknown", "token",
                             "This token is not known here: it is wrong, or a newer one has "
                             "replaced it.");
    if (entry->is_changing)
        return say_changing(entry->row.name, reterr);
    if (entry->row.state == API_REMOTE_STATE_REVOKED)
        return api_error_set(reterr, API_E_ACCESS_DENIED, "remote.token.revoked", "token",
                             "This token was revoked.");
    if (entry->row.state != API_REMOTE_STATE_INVITED)
        return api_error_set(reterr, API_E_ACCESS_DENIED, "remote.token.used", "token",
                             "This token was used already.");
    if (entry->row.expires_ms < vmms_remote_now_ms())
        return api_error_set(reterr, API_E_ACCESS_DENIED, "remote.token.expired", "token",
                             "This token has expired.");
    return 0;
}

static void enroll(struct vmms_remote *remote, const struct caller *caller,
                   const struct api_remote_enroll_args *args)
{
    char hash[VMMS_FINGERPRINT_BYTES], actor[VMMS_IDENTITY_NAME_BYTES + 8];
    struct api_remote_certificate certificate;
    struct api_error *error = NULL;
    struct vmms_identity row;
    struct entry *entry;
    struct wait *wait;
    int r = need_context(remote, &error);

    vmms_pki_hash(args->token, strlen(args->token), hash);
    entry = vmms_entry_by_token(remote, hash);
    if (r == 0)
        r = check_token(entry, &error);
    if (r == 0) {
        row = entry->row;
        row.state = API_REMOTE_STATE_ENROLLED;
        r = issue(remote, args->csr, &row, &certificate, &error);
    }
    if (r < 0) {
        fail(remote, caller->call, API_METHOD_REMOTE_ENROLL, error);
        return;
    }
    (void)snprintf(actor, sizeof(actor), "cert:%s", row.name);
    wait = wait_for(vmms_entry_put(remote, entry, &row, "remote.enrolled", actor), caller,
                    API_METHOD_REMOTE_ENROLL);
    wait->result.remote_certificate = certificate;
}

static void refresh(struct vmms_remote *remote, const struct caller *caller,
                    const struct api_remote_refresh_args *args)
{
    struct entry *entry = caller->peer ? caller->peer->entry : NULL;
    struct api_remote_certificate certificate;
    struct api_error *error = NULL;
    struct vmms_identity row;
    struct wait *wait;
    int r = 0;

    if (!entry)
        r = api_error_set(&error, API_E_NOT_SUPPORTED, "remote.refresh", NULL,
                          "Only who calls with a certificate can have a new one.");
    else if (entry->is_changing)
        r = say_changing(entry->row.name, &error);
    if (r == 0) {
        row = entry->row;
        /* Was the last new one never used? Then the older is the one that it has. */
        if (!*row.old_fingerprint)
            memcpy(row.old_fingerprint, row.fingerprint, sizeof(row.old_fingerprint));
        r = issue(remote, args->csr, &row, &certificate, &error);
    }
    if (r < 0) {
        fail(remote, caller->call, API_METHOD_REMOTE_REFRESH, error);
        return;
    }
    wait = wait_for(vmms_entry_put(remote, entry, &row, "remote.renewed", caller->actor), caller,
                    API_METHOD_REMOTE_REFRESH);
    wait->result.remote_certificate = certificate;
}

bool vmms_remote_knows(enum api_method method)
{
    switch (method) {
    case API_METHOD_REMOTE_INIT:
    case API_METHOD_REMOTE_GET:
    case API_METHOD_REMOTE_RENEW:
    case API_METHOD_REMOTE_CREATE_TOKEN:
    case API_METHOD_REMOTE_LIST:
    case API_METHOD_REMOTE_REVOKE:
    case API_METHOD_REMOTE_ENROLL:
    case API_METHOD_REMOTE_REFRESH: return true;
    default: return false;
    }
}

void vmms_remote_call(struct vmms_remote *remote, uint64_t call, struct api_request *request,
                      const char *actor, const struct vmms_peer *peer)
{
    const struct caller caller = { .call = call, .actor = actor, .peer = peer };
    const union api_args *args = &request->args;

    switch (request->method) {
    case API_METHOD_REMOTE_INIT: init(remote, &caller, &args->remote_init); break;
    case API_METHOD_REMOTE_GET: get(remote, &caller); break;
    case API_METHOD_REMOTE_RENEW: renew(remote, &caller, &args->remote_renew); break;
    case API_METHOD_REMOTE_CREATE_TOKEN:
        create_token(remote, &caller, &args->remote_create_token);
        break;
    case API_METHOD_REMOTE_LIST: list_identities(remote, &caller); break;
    case API_METHOD_REMOTE_REVOKE: revoke_identity(remote, &caller, &args->remote_revoke); break;
    case API_METHOD_REMOTE_ENROLL: enroll(remote, &caller, &args->remote_enroll); break;
    case API_METHOD_REMOTE_REFRESH: refresh(remote, &caller, &args->remote_refresh); break;
    default: hv_assert(!"no call of this room"); break;
    }
    api_request_fini(request);
    *request = (struct api_request){ 0 };
}
