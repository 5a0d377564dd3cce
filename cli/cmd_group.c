/* SPDX-License-Identifier: Apache-2.0 */
/* The noun group: groups of VMs, and groups of groups. */
#include "cli/adm.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void put_text(struct json_writer *out, const char *key, const char *value)
{
    json_key(out, key);
    json_put_string(out, value);
}

static void begin(const struct adm *adm, struct json_writer *out, const char *group)
{
    adm_begin_params(adm, out, NULL);
    put_text(out, "group", group);
}

int adm_cmd_group_create(struct adm *adm, int argc, char **argv)
{
    static const struct option names[] = { { "management", no_argument, NULL, 'm' },
                                           { "notes", required_argument, NULL, 'n' },
                                           { 0 } };
    struct json_writer params = { 0 };
    const char *notes = NULL;
    bool is_management = false;
    int id;

    opterr = 0;
    while ((id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (id != 'm' && id != 'n')
            return adm_bad_option("group create", argv);
        is_management = is_management || id == 'm';
        notes = id == 'n' ? optarg : notes;
    }
    if (argc - optind != 1)
        return adm_usage("group create", "One name is expected.");
    adm_begin_params(adm, &params, NULL);
    put_text(&params, "name", argv[optind]);
    if (is_management)
        put_text(&params, "kind", "management");
    if (notes)
        put_text(&params, "notes", notes);
    return adm_call(adm, API_METHOD_GROUP_CREATE, adm_end_params(&params), NULL);
}

static const struct adm_column columns[] = {
    { "NAME", 24 }, { "KIND" }, { "MEMBERS", 0, true }, { "NOTES", 8 }
};

static char *list_params(const char *after)
{
    static const char *const shown[] = { "name", "kind", "size", "notes" };
    struct json_writer params = { 0 };

    json_begin_object(&params);
    json_key(&params, "fields");
    json_begin_array(&params);
    for (size_t i = 0; i < HV_ARRAY_SIZE(shown); i++)
        json_put_string(&params, shown[i]);
    json_end_array(&params);
    if (after)
        put_text(&params, "after", after);
    return adm_end_params(&params);
}

int adm_cmd_group_list(struct adm *adm, int argc, char **argv)
{
    hv_autofree char *after = NULL;
    union api_result result;
    struct adm_sheet *out;
    int r;

    if (adm_read_words("group list", &argc, &argv))
        return ADM_USAGE;
    if (argc > 1)
        return adm_usage("group list", "\"%s\" is too much.", argv[1]);
    if (adm->is_json)
        return adm_call(adm, API_METHOD_GROUP_LIST, NULL, NULL);
    out = adm_sheet_new(columns, HV_ARRAY_SIZE(columns));
    do {
        r = adm_get(adm, API_METHOD_GROUP_LIST, list_params(after), &result);
        if (r) {
            adm_sheet_free(out);
            return r;
        }
        for (size_t i = 0; i < result.group_list.n_groups; i++) {
            const struct api_group *group = &result.group_list.groups[i];
            char size[16];

            (void)snprintf(size, sizeof(size), "%" PRIu32, group->size);
            adm_sheet_row(out,
                          (const char *[]){ group->name, api_enum_group_kind.values[group->kind],
                                            size, group->notes });
        }
        free(after);
        after = HV_TAKE_PTR(result.group_list.next);
        api_group_list_fini(&result.group_list);
    } while (after);
    adm_sheet_print(out);
    return 0;
}

static void print_group(const union api_result *result)
{
    struct adm_sheet *out = adm_sheet_new(NULL, 0);
    const struct api_group *group = &result->group;
    char text[64];

    adm_put_pair(out, "name", "%s", group->name);
    adm_put_pair(out, "id", "%s", group->id);
    adm_put_pair(out, "kind", "%s", api_enum_group_kind.values[group->kind]);
    adm_format_time(group->created_ms, text, sizeof(text));
    adm_put_pair(out, "created", "%s", text);
    adm_put_pair(out, "generation", "%" PRIu64, group->generation);
    adm_put_pair(out, "notes", "%s", *group->notes ? group->notes : "-");
    for (size_t i = 0; i < group->n_members; i++)
        adm_put_pair(out, group->kind == API_GROUP_KIND_VM ? "vm" : "group", "%s",
                     group->members[i].name);
    adm_sheet_print(out);
}

int adm_cmd_group_show(struct adm *adm, int argc, char **argv)
{
    struct json_writer params = { 0 };

    if (adm_read_words("group show", &argc, &argv))
        return ADM_USAGE;
    if (argc != 2)
        return adm_usage("group show", "One group is expected.");
    json_begin_object(&params);
    put_text(&params, "group", argv[1]);
    return adm_call(adm, API_METHOD_GROUP_GET, adm_end_params(&params), print_group);
}

int adm_cmd_group_set(struct adm *adm, int argc, char **argv)
{
    struct json_writer params = { 0 };

    if (adm_read_words("group set", &argc, &argv))
        return ADM_USAGE;
    if (argc < 3)
        return adm_usage("group set", "A group and name=NEW or notes=TEXT are expected.");
    begin(adm, &params, argv[1]);
    for (int i = 2; i < argc; i++) {
        bool is_name = strncmp(argv[i], "name=", 5) == 0;

        if (!is_name && strncmp(argv[i], "notes=", 6) != 0) {
            json_writer_fini(&params);
            return adm_usage("group set", "\"%s\" is neither name=NEW nor notes=TEXT.", argv[i]);
        }
        put_text(&params, is_name ? "name" : "notes", strchr(argv[i], '=') + 1);
    }
    return adm_call(adm, API_METHOD_GROUP_CONFIGURE, adm_end_params(&params), NULL);
}

/* All are tried; the first failure's status is the program's. */
int adm_cmd_group_delete(struct adm *adm, int argc, char **argv)
{
    int status = 0, r;

    if (adm_read_words("group delete", &argc, &argv))
        return ADM_USAGE;
    if (argc < 2)
        return adm_usage("group delete", "Which group?");
    for (int i = 1; i < argc; i++) {
        struct json_writer params = { 0 };

        begin(adm, &params, argv[i]);
        r = adm_call(adm, API_METHOD_GROUP_DELETE, adm_end_params(&params), NULL);
        status = status ? status : r;
    }
    return status;
}

int adm_cmd_group_members(struct adm *adm, int argc, char **argv)
{
    bool comes = strcmp(argv[0], "add") == 0;
    enum api_method method = comes ? API_METHOD_GROUP_ADD_MEMBER : API_METHOD_GROUP_REMOVE_MEMBER;
    const char *verb = comes ? "group add" : "group remove";
    int status = adm_read_words(verb, &argc, &argv), r;

    if (status)
        return status;
    if (argc < 3)
        return adm_usage(verb, "A group and who is to %s are expected.", comes ? "come" : "go");
    for (int i = 2; i < argc; i++) {
        struct json_writer params = { 0 };

        begin(adm, &params, argv[1]);
        put_text(&params, "member", argv[i]);
        r = adm_call(adm, method, adm_end_params(&params), NULL);
        status = status ? status : r;
    }
    return status;
}
