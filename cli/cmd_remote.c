/* SPDX-License-Identifier: Apache-2.0 */
/* Who may call from other machines: invited and revoked on the host, enrolled on the client. */
#include "cli/adm.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* On the host */

static void print_list(struct adm_sheet *out, const char *key, char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        adm_put_pair(out, i ? "" : key, "%s", list[i]);
    if (!count)
        adm_put_pair(out, key, "-");
}

static void print_service(const union api_result *result)
{
    struct adm_sheet *out = adm_sheet_new(NULL, 0);
    const struct api_remote_service *service = &result->remote_service;
    char text[32];

    print_list(out, "listens on", service->addresses, service->n_addresses);
    print_list(out, "under names", service->names, service->n_names);
    adm_format_time(service->expires_ms, text, sizeof(text));
    adm_put_pair(out, "certificate to", "%s", text);
    adm_put_pair(out, "authority", "%s", service->fingerprint);
    adm_sheet_print(out);
    if (!service->n_addresses)
        (void)puts(
            "Set listen in vmmsd.conf and reload it, or start vmmsd with --listen HOST:PORT.");
}

/* Options --name NAME as the list `names`, where there are any. */
static int read_names(const char *verb, int argc, char **argv, struct json_writer *params)
{
    static const struct option names[] = { { "name", required_argument, NULL, 'n' }, { 0 } };
    bool is_begun = false;
    int id;

    opterr = 0;
    while ((id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (id != 'n')
            return adm_bad_option(verb, argv);
        if (!is_begun) {
            json_key(params, "names");
            json_begin_array(params);
        }
        is_begun = true;
        json_put_string(params, optarg);
    }
    if (is_begun)
        json_end_array(params);
    return optind < argc ? adm_usage(verb, "\"%s\" is too much.", argv[optind]) : 0;
}

static int call_with_names(struct adm *adm, const char *verb, enum api_method method, int argc,
                           char **argv)
{
    struct json_writer params = { 0 };
    int r;

    json_begin_object(&params);
    r = read_names(verb, argc, argv, &params);
    if (r) {
        json_writer_fini(&params);
        return r;
    }
    return adm_call(adm, method, adm_end_params(&params), print_service);
}

int adm_cmd_remote_init(struct adm *adm, int argc, char **argv)
{
    return call_with_names(adm, "remote init", API_METHOD_REMOTE_INIT, argc, argv);
}

int adm_cmd_remote_show(struct adm *adm, int argc, char **argv)
{
    if (adm_read_words("remote show", &argc, &argv))
        return ADM_USAGE;
    if (argc != 1)
        return adm_usage("remote show", "\"%s\" is too much.", argv[1]);
    return adm_call(adm, API_METHOD_REMOTE_GET, NULL, print_service);
}

static void print_token(const union api_result *result)
{
    const struct api_remote_token *token = &result->remote_token;
    char text[32];

    adm_format_time(token->expires_ms, text, sizeof(text));
    (void)printf("hvadm remote enroll %s %s\n", token->address, token->token);
    (void)fprintf(stderr, "Run this as %s on the client, once, before %s.\n", token->name, text);
}

/* "90", "90s", "15m", "2h", "7d" */
static bool parse_ttl(const char *text, uint64_t *ret_ms)
{
    static const struct {
        char unit;
        uint32_t seconds;
    } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
    size_t length = strlen(text);
    hv_autofree char *number = strdup(text);

    hv_assert(number);
    for (size_t i = 0; length && i < HV_ARRAY_SIZE(units); i++) {
        if (text[length - 1] != units[i].unit)
            continue;
        number[length - 1] = '\0';
        if (!adm_parse_seconds(number, ret_ms))
            return false;
        *ret_ms *= units[i].seconds;
        return true;
    }
    return adm_parse_seconds(text, ret_ms);
}

struct invitation {
    const char *role;
    bool is_limited, is_grouped;
    struct json_writer vms, groups;
    uint64_t ttl_ms;
};

static int read_invitation(int argc, char **argv, struct invitation *ret)
{
    static const struct option names[] = { { "role", required_argument, NULL, 'r' },
                                           { "vm", required_argument, NULL, 'v' },
                                           { "group", required_argument, NULL, 'g' },
                                           { "ttl", required_argument, NULL, 't' },
                                           { 0 } };
    int id;

    opterr = 0;
    while ((id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (id == 'r') {
            ret->role = optarg;
        } else if (id == 'v') {
            ret->is_limited = true;
            json_put_string(&ret->vms, optarg);
        } else if (id == 'g') {
            ret->is_grouped = true;
            json_put_string(&ret->groups, optarg);
        } else if (id != 't') {
            return adm_bad_option("remote invite", argv);
        } else if (!parse_ttl(optarg, &ret->ttl_ms) || !ret->ttl_ms) {
            return adm_usage("remote invite", "--ttl is a time like 30m, 2h or 7d.");
        }
    }
    if (argc - optind != 1 || !ret->role)
        return adm_usage("remote invite", "A name and --role are expected.");
    return 0;
}

static void put_list(struct json_writer *out, const char *key, struct json_writer *list)
{
    hv_autofree char *text = NULL;

    json_end_array(list);
    hv_assert(json_writer_take(list, &text, NULL) == 0);
    json_key(out, key);
    json_put_raw(out, text, strlen(text));
}

static char *invitation_params(const char *name, struct invitation *invitation)
{
    struct json_writer params = { 0 };

    json_begin_object(&params);
    json_key(&params, "name");
    json_put_string(&params, name);
    json_key(&params, "role");
    json_put_string(&params, invitation->role);
    if (invitation->is_limited)
        put_list(&params, "vms", &invitation->vms);
    if (invitation->is_grouped)
        put_list(&params, "groups", &invitation->groups);
    if (invitation->ttl_ms) {
        json_key(&params, "ttl_ms");
        json_put_u64(&params, invitation->ttl_ms);
    }
    return adm_end_params(&params);
}

int adm_cmd_remote_invite(struct adm *adm, int argc, char **argv)
{
    struct invitation invitation = { 0 };
    int r;

    json_begin_array(&invitation.vms);
    json_begin_array(&invitation.groups);
    r = read_invitation(argc, argv, &invitation);
    if (!r)
        r = adm_call(adm, API_METHOD_REMOTE_CREATE_TOKEN,
                     invitation_params(argv[optind], &invitation), print_token);
    json_writer_fini(&invitation.vms);
    json_writer_fini(&invitation.groups);
    return r;
}

static void print_identities(const union api_result *result)
{
    static const struct adm_column columns[] = { { "NAME", 12 },        { "ROLE", 4 },
                                                 { "STATE" },           { "VMS", 0, true },
                                                 { "GROUPS", 0, true }, { "OPEN", 0, true },
                                                 { "EXPIRES", 10 },     { "LAST SEEN", 10 } };
    struct adm_sheet *out = adm_sheet_new(columns, HV_ARRAY_SIZE(columns));
    const struct api_remote_list *list = &result->remote_list;

    for (size_t i = 0; i < list->n_identities; i++) {
        const struct api_remote_identity *one = &list->identities[i];
        char vms[24] = "all", groups[24] = "-", open[24], expires[32] = "-", seen[32] = "-";
        const char *cells[] = { one->name,
                                api_enum_remote_role.values[one->role],
                                api_enum_remote_state.values[one->state],
                                vms,
                                groups,
                                open,
                                expires,
                                seen };

        if (one->has & API_REMOTE_IDENTITY_HAS_VMS)
            (void)snprintf(vms, sizeof(vms), "%zu", one->n_vms);
        if (one->has & API_REMOTE_IDENTITY_HAS_GROUPS)
            (void)snprintf(groups, sizeof(groups), "%zu", one->n_groups);
        (void)snprintf(open, sizeof(open), "%" PRIu32, one->connections);
        if (one->has & API_REMOTE_IDENTITY_HAS_EXPIRES_MS)
            adm_format_time(one->expires_ms, expires, sizeof(expires));
        if (one->has & API_REMOTE_IDENTITY_HAS_SEEN_MS)
            adm_format_time(one->seen_ms, seen, sizeof(seen));
        adm_sheet_row(out, cells);
    }
    adm_sheet_print(out);
}

int adm_cmd_remote_list(struct adm *adm, int argc, char **argv)
{
    if (adm_read_words("remote list", &argc, &argv))
        return ADM_USAGE;
    if (argc != 1)
        return adm_usage("remote list", "\"%s\" is too much.", argv[1]);
    return adm_call(adm, API_METHOD_REMOTE_LIST, NULL, print_identities);
}

int adm_cmd_remote_revoke(struct adm *adm, int argc, char **argv)
{
    int status = adm_read_words("remote revoke", &argc, &argv), r;

    if (status)
        return status;
    if (argc < 2)
        return adm_usage("remote revoke", "A name is missing.");
    for (int i = 1; i < argc; i++) {
        struct json_writer params = { 0 };

        json_begin_object(&params);
        json_key(&params, "name");
        json_put_string(&params, argv[i]);
        r = adm_call(adm, API_METHOD_REMOTE_REVOKE, adm_end_params(&params), NULL);
        status = status ? status : r;
    }
    return status;
}

/* On the client */

static void print_certificate(struct adm_sheet *out,
                              const struct api_remote_certificate *certificate)
{
    char text[32];

    adm_format_time(certificate->expires_ms, text, sizeof(text));
    adm_put_pair(out, "name", "%s", certificate->name);
    adm_put_pair(out, "role", "%s", api_enum_remote_role.values[certificate->role]);
    adm_put_pair(out, "certificate to", "%s", text);
}

int adm_cmd_remote_enroll(struct adm *adm, int argc, char **argv)
{
    struct api_remote_certificate certificate = { 0 };
    hv_autofree char *folder = NULL;
    struct adm_sheet *out;
    struct api_error *error = NULL;
    const char *address;

    if (adm_read_words("remote enroll", &argc, &argv))
        return ADM_USAGE;
    if (argc != 3)
        return adm_usage("remote enroll", "HOST:PORT and TOKEN are expected.");
    address = argv[1];
    if (strncmp(address, "https://", 8) == 0)
        address += 8;
    if (api_remote_enroll(address, argv[2], &certificate, &folder, &error) < 0)
        return adm_fail(adm, error);
    out = adm_sheet_new(NULL, 0);
    print_certificate(out, &certificate);
    adm_put_pair(out, "kept in", "%s", folder);
    adm_put_pair(out, "use", "hvadm --connect https://%s vm list", address);
    adm_sheet_print(out);
    api_remote_certificate_fini(&certificate);
    return 0;
}

static int renew_own(struct adm *adm)
{
    struct api_remote_certificate certificate = { 0 };
    struct api_error *error = NULL;
    struct adm_sheet *out;

    if (api_remote_refresh(adm->client, &certificate, &error) < 0)
        return adm_fail(adm, error);
    out = adm_sheet_new(NULL, 0);
    print_certificate(out, &certificate);
    adm_sheet_print(out);
    api_remote_certificate_fini(&certificate);
    return 0;
}

/* The service's certificate on its host or where asked for, else the caller's own. */
int adm_cmd_remote_renew(struct adm *adm, int argc, char **argv)
{
    int r = adm_connect(adm);

    if (r)
        return r;
    if (argc == 1 && api_client_is_remote(adm->client))
        return renew_own(adm);
    if (argc > 1 && strcmp(argv[1], "service") == 0) {
        argc--;
        argv++;
    }
    return call_with_names(adm, "remote renew", API_METHOD_REMOTE_RENEW, argc, argv);
}
