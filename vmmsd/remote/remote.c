/* SPDX-License-Identifier: Apache-2.0 */
/* The identities, the certificates in use, and changes on their way to the store. */
#include "vmmsd/remote/remote_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"
#include "hvcore/base/clock.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#define DAY_MS (UINT64_C(24) * 3600 * 1000)

uint64_t vmms_remote_now_ms(void)
{
    return hv_clock_realtime_ns() / HV_NS_PER_MS;
}

int vmms_remote_new(const struct vmms_remote_config *config, struct vmms_remote **ret)
{
    struct vmms_remote *remote = calloc(1, sizeof(*remote));

    if (!remote)
        return -ENOMEM;
    remote->config = *config;
    remote->next_token = 1;
    hv_list_init(&remote->entries);
    hv_list_init(&remote->waits);
    *ret = remote;
    return 0;
}

static void entry_free(struct vmms_remote *remote, struct entry *entry)
{
    hv_list_remove(&entry->node);
    remote->n_entries--;
    free(entry);
}

static void wait_free(struct vmms_remote *remote, struct wait *wait)
{
    hv_list_remove(&wait->node);
    remote->n_waits--;
    if (wait->replies)
        api_record_fini(api_methods[wait->method].result, &wait->result);
    free(wait);
}

struct vmms_remote *vmms_remote_free(struct vmms_remote *remote)
{
    if (!remote)
        return NULL;
    HV_LIST_FOREACH (node, &remote->waits)
        wait_free(remote, HV_LIST_ENTRY(node, struct wait, node));
    HV_LIST_FOREACH (node, &remote->entries)
        entry_free(remote, HV_LIST_ENTRY(node, struct entry, node));
    SSL_CTX_free(remote->context);
    X509_free(remote->authority);
    X509_free(remote->server);
    free(remote);
    return NULL;
}

struct entry *vmms_entry_new(struct vmms_remote *remote)
{
    struct entry *entry = calloc(1, sizeof(*entry));

    if (!entry)
        return NULL;
    hv_list_init(&entry->peers);
    hv_list_append(&remote->entries, &entry->node);
    remote->n_entries++;
    return entry;
}

int vmms_remote_load(struct vmms_remote *remote, const struct vmms_identity *identity)
{
    struct entry *entry = vmms_entry_new(remote);

    if (!entry)
        return -ENOMEM;
    entry->row = *identity;
    return 0;
}

struct entry *vmms_entry_find(const struct vmms_remote *remote, const char *name)
{
    HV_LIST_FOREACH (node, &remote->entries) {
        struct entry *entry = HV_LIST_ENTRY(node, struct entry, node);

        if (strcmp(entry->row.name, name) == 0)
            return entry;
    }
    return NULL;
}

struct entry *vmms_entry_by_fingerprint(const struct vmms_remote *remote, const char *fingerprint)
{
    HV_LIST_FOREACH (node, &remote->entries) {
        struct entry *entry = HV_LIST_ENTRY(node, struct entry, node);

        if (strcmp(entry->row.fingerprint, fingerprint) == 0 ||
            strcmp(entry->row.old_fingerprint, fingerprint) == 0)
            return entry;
    }
    return NULL;
}

struct entry *vmms_entry_by_token(const struct vmms_remote *remote, const char *hash)
{
    HV_LIST_FOREACH (node, &remote->entries) {
        struct entry *entry = HV_LIST_ENTRY(node, struct entry, node);

        if (!entry->is_new && strcmp(entry->row.token_hash, hash) == 0)
            return entry;
    }
    return NULL;
}

/* Changes */

static char *event_data(const struct vmms_identity *row)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    json_key(&out, "name");
    json_put_string(&out, row->name);
    json_key(&out, "role");
    json_put_string(&out, api_enum_remote_role.values[row->role]);
    json_end_object(&out);
    return json_writer_take(&out, &text, NULL) < 0 ? NULL : text;
}

static struct api_event make_event(const struct vmms_remote *remote,
                                   const struct vmms_identity *row, const char *type,
                                   const char *actor)
{
    struct api_event event = { .boot_id = strdup(remote->config.boot_id),
                               .time_ms = vmms_remote_now_ms(),
                               .monotonic_ns = hv_clock_monotonic_ns(),
                               .type = strdup(type),
                               .actor = strdup(actor),
                               .data = event_data(row) };

    hv_assert(event.boot_id && event.type && event.actor && event.data);
    return event;
}

struct wait *vmms_entry_put(struct vmms_remote *remote, struct entry *entry,
                            const struct vmms_identity *row, const char *type, const char *actor)
{
    struct wait *wait = calloc(1, sizeof(*wait));
    struct api_event event;

    hv_assert(wait);
    wait->token = remote->next_token++;
    wait->entry = entry;
    wait->row = *row;
    entry->is_changing = true;
    hv_list_append(&remote->waits, &wait->node);
    remote->n_waits++;
    event = make_event(remote, row, type, actor);
    remote->config.put(remote->config.opaque, wait->token, row, &event);
    return wait;
}

static void settle(struct vmms_remote *remote, struct wait *wait, bool is_stored)
{
    struct entry *entry = wait->entry;

    entry->is_changing = false;
    if (!is_stored) {
        if (entry->is_new)
            entry_free(remote, entry);
        return;
    }
    entry->is_new = false;
    entry->row = wait->row;
    if (entry->row.state != API_REMOTE_STATE_ENROLLED)
        vmms_entry_drop_peers(entry);
}

void vmms_remote_stored(struct vmms_remote *remote, uint64_t token, struct api_error *error)
{
    HV_LIST_FOREACH (node, &remote->waits) {
        struct wait *wait = HV_LIST_ENTRY(node, struct wait, node);

        if (wait->token != token)
            continue;
        settle(remote, wait, !error);
        if (wait->replies)
            remote->config.reply(remote->config.opaque, wait->call, wait->method, &wait->result,
                                 HV_TAKE_PTR(error));
        wait_free(remote, wait);
        break;
    }
    api_error_free(error);
}

void vmms_remote_listens(struct vmms_remote *remote, const char *const *listen, size_t n_listen)
{
    remote->config.listen = listen;
    remote->config.n_listen = n_listen;
}

/* Certificates */

SSL_CTX *vmms_remote_context(const struct vmms_remote *remote)
{
    return remote->context;
}

static void use(struct vmms_remote *remote, SSL_CTX *context, struct pair *authority,
                struct pair *server)
{
    SSL_CTX_free(remote->context);
    X509_free(remote->authority);
    X509_free(remote->server);
    remote->context = context;
    remote->authority = HV_TAKE_PTR(authority->certificate);
    remote->server = HV_TAKE_PTR(server->certificate);
}

int vmms_remote_reload(struct vmms_remote *remote, struct hv_error **reterr)
{
    HV_CLEANUP(vmms_pair_fini) struct pair authority = { 0 };
    HV_CLEANUP(vmms_pair_fini) struct pair server = { 0 };
    bool is_first = !remote->context;
    SSL_CTX *context;
    int r = vmms_keep_read(remote->config.state_dir, AUTHORITY_FILE, &authority, reterr);

    if (r == 0)
        r = vmms_keep_read(remote->config.state_dir, SERVER_FILE, &server, reterr);
    if (r == 0)
        r = vmms_context_new(&authority, &server, &context, reterr);
    if (r < 0)
        return r;
    use(remote, context, &authority, &server);
    /* Rule 12.5: a key is in memory from now on, and must not come into a core dump. */
    (void)prctl(PR_SET_DUMPABLE, 0);
    return is_first ? remote->config.opened(remote->config.opaque, reterr) : 0;
}

/* What stands before the port; brackets of an IPv6 address are dropped. */
static void add_listen_name(struct names *names, const char *address)
{
    const char *colon = strrchr(address, ':');
    size_t length = colon ? (size_t)(colon - address) : strlen(address);
    char host[256];

    if (length >= 2 && address[0] == '[' && address[length - 1] == ']') {
        address++;
        length -= 2;
    }
    (void)snprintf(host, sizeof(host), "%.*s", (int)length, address);
    if (strcmp(host, "0.0.0.0") != 0 && strcmp(host, "::") != 0 && strcmp(host, "*") != 0)
        (void)vmms_names_add(names, host);
}

static int gather(const struct vmms_remote *remote, const struct names *more, bool is_renewal,
                  struct names *ret)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < more->count; i++)
        r = vmms_names_add(ret, more->list[i]);
    for (size_t i = 0; i < remote->config.n_listen; i++)
        add_listen_name(ret, remote->config.listen[i]);
    if (r == 0 && is_renewal && !more->count && remote->server)
        r = vmms_pki_names(remote->server, ret);
    vmms_names_add_host(ret);
    return r;
}

static int get_authority(const struct vmms_remote *remote, struct pair *ret,
                         struct hv_error **reterr)
{
    int r = vmms_keep_read(remote->config.state_dir, AUTHORITY_FILE, ret, reterr);

    if (r != -ENOENT)
        return r;
    r = vmms_pki_authority(ret);
    return r < 0 ? r : vmms_keep_write(remote->config.state_dir, AUTHORITY_FILE, ret, reterr);
}

int vmms_remote_make(struct vmms_remote *remote, const struct names *more, bool is_renewal,
                     struct hv_error **reterr)
{
    HV_CLEANUP(vmms_names_fini) struct names names = { 0 };
    HV_CLEANUP(vmms_pair_fini) struct pair authority = { 0 };
    HV_CLEANUP(vmms_pair_fini) struct pair server = { 0 };
    int r = gather(remote, more, is_renewal, &names);

    if (r == 0)
        r = get_authority(remote, &authority, reterr);
    if (r == 0)
        r = vmms_pki_server(&authority, &names, &server);
    if (r == 0)
        r = vmms_keep_write(remote->config.state_dir, SERVER_FILE, &server, reterr);
    return r < 0 ? r : vmms_remote_reload(remote, reterr);
}

static void renew_server(struct vmms_remote *remote)
{
    static const struct names none;
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    int r = vmms_remote_make(remote, &none, true, &error);

    if (r < 0)
        hv_log_printf(remote->config.log, HV_LOG_ERROR, NULL,
                      "The service's certificate ends soon and cannot be renewed: %s",
                      hv_error_message(error, r));
    else
        hv_log_printf(remote->config.log, HV_LOG_INFO, NULL,
                      "The service's certificate was renewed.");
}

/* Rule 9.2: 30, 7 and 1 days before; the last also of each day after. */
void vmms_remote_check_dates(struct vmms_remote *remote)
{
    uint64_t now = vmms_remote_now_ms(), left, days;

    if (!remote->server || (remote->told_ms && now - remote->told_ms < DAY_MS))
        return;
    remote->told_ms = now;
    if (vmms_pki_expires_ms(remote->server) < now + RENEW_DAYS * DAY_MS)
        renew_server(remote);
    left = vmms_pki_expires_ms(remote->authority);
    days = left > now ? (left - now) / DAY_MS : 0;
    if (days == 30 || days == 7 || days <= 1)
        hv_log_printf(remote->config.log, HV_LOG_WARNING, NULL,
                      "The authority of remote certificates ends in %llu days; after that no "
                      "client can call from afar.",
                      (unsigned long long)days);
}
