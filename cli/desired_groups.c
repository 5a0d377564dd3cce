/* SPDX-License-Identifier: Apache-2.0 */
/* The groups of a document, compared with those that are there. All that goes out of a group goes
 * before anything comes into one, and groups that shall not be go last: so no order in the document
 * stands in its own way. */
#include "cli/desired_priv.h"

#include "api/rpc/json.h"

#include "api/gen/tables.h"

#include <stdio.h>
#include <string.h>

/* What is wanted of one group, and what is there. */
struct wanted_group {
    const char *name;
    char place[DESIRED_PLACE_BYTES]; /* "groups[3]" */
    bool has_kind;
    enum api_group_kind kind;
    const char *notes;                /* NULL: as they are */
    const struct json_value *members; /* NULL: as they are */
    bool is_there, is_changed;
    union api_result now;
};

/* Reading */

static int read_kind(const char *file, const struct json_value *value, struct wanted_group *wanted)
{
    int kind = value && value->type == JSON_STRING
                   ? api_enum_index(&api_enum_group_kind, value->text)
                   : -1;

    if (!value)
        return 0;
    if (kind < 0)
        return desired_bad(file, "%s.kind is \"vm\" or \"management\".", wanted->place);
    wanted->has_kind = true;
    wanted->kind = (enum api_group_kind)kind;
    return 0;
}

static int read_notes(const char *file, const struct json_value *value, struct wanted_group *wanted)
{
    if (value && value->type != JSON_STRING && value->type != JSON_NULL)
        return desired_bad(file, "%s.notes is %s where a text is expected.", wanted->place,
                           json_type_phrase(value->type));
    if (value)
        wanted->notes = value->type == JSON_STRING ? value->text : "";
    return 0;
}

static bool is_listed(const struct json_value *list, const char *text)
{
    for (const struct json_value *item = list ? list->first : NULL; item; item = item->next) {
        if (json_is_text(item, text))
            return true;
    }
    return false;
}

static int read_members(const char *file, const struct json_value *value,
                        struct wanted_group *wanted)
{
    size_t index = 0;

    if (value && value->type != JSON_ARRAY)
        return desired_bad(file, "%s.members is %s where an array is expected.", wanted->place,
                           json_type_phrase(value->type));
    wanted->members = value;
    for (const struct json_value *item = value ? value->first : NULL; item;
         item = item->next, index++) {
        if (item->type != JSON_STRING)
            return desired_bad(file, "%s.members[%zu] is %s where a name is expected.",
                               wanted->place, index, json_type_phrase(item->type));
    }
    return 0;
}

static int read_group(const char *file, const struct json_value *value, struct wanted_group *wanted)
{
    static const char *const keys[] = { "name", "kind", "notes", "members", NULL };
    int r = desired_check_keys(file, value, wanted->place, keys,
                               "a group has name, kind, notes and members");

    if (r == 0)
        r = desired_read_name(file, value, wanted->place, &wanted->name);
    r = r ? r : read_kind(file, json_get(value, "kind"), wanted);
    r = r ? r : read_notes(file, json_get(value, "notes"), wanted);
    return r ? r : read_members(file, json_get(value, "members"), wanted);
}

/* The difference */

static struct json_writer *begin_op(struct desired_ops *ops, const char *method, const char *group)
{
    struct json_writer *out = desired_begin_op(&ops->ops, &ops->count, method);

    json_key(out, "group");
    json_put_string(out, group);
    return out;
}

static void put_text(struct json_writer *out, const char *key, const char *text)
{
    json_key(out, key);
    json_put_string(out, text);
}

static void put_member(struct desired_ops *ops, const char *method, const char *group,
                       const char *member)
{
    struct json_writer *out = begin_op(ops, method, group);

    put_text(out, "member", member);
    desired_end_op(out);
}

/* By its id where it has one already. */
static const char *ref_of(const struct wanted_group *wanted)
{
    return wanted->is_there ? wanted->now.group.id : wanted->name;
}

static void put_row(struct wanted_group *wanted, struct desired_ops *ops)
{
    const char *notes = wanted->notes;
    struct json_writer *out;

    if (wanted->is_there && (!notes || strcmp(notes, wanted->now.group.notes) == 0))
        return;
    wanted->is_changed = true;
    if (wanted->is_there) {
        out = begin_op(ops, "group.configure", wanted->now.group.id);
    } else {
        out = desired_begin_op(&ops->ops, &ops->count, "group.create");
        put_text(out, "name", wanted->name);
        put_text(out, "kind", api_enum_group_kind.values[wanted->kind]);
    }
    if (notes)
        put_text(out, "notes", notes);
    desired_end_op(out);
}

/* A VM that is deleted leaves its groups by that. */
static void put_leaving(struct wanted_group *wanted, const struct json_value *document,
                        struct desired_ops *ops)
{
    const struct api_group *now = &wanted->now.group;
    const struct json_value *absent =
        wanted->kind == API_GROUP_KIND_VM ? json_get(document, "absent") : NULL;

    for (size_t i = 0; wanted->is_there && wanted->members && i < now->n_members; i++) {
        const struct api_group_member *member = &now->members[i];

        if (is_listed(wanted->members, member->name) || is_listed(wanted->members, member->id) ||
            is_listed(absent, member->name) || is_listed(absent, member->id))
            continue;
        put_member(ops, "group.remove_member", now->id, member->id);
        wanted->is_changed = true;
    }
}

static bool is_member(const struct wanted_group *wanted, const char *ref)
{
    const struct api_group *now = &wanted->now.group;

    for (size_t i = 0; wanted->is_there && i < now->n_members; i++) {
        if (strcmp(now->members[i].name, ref) == 0 || strcmp(now->members[i].id, ref) == 0)
            return true;
    }
    return false;
}

static void put_coming(struct wanted_group *wanted, struct desired_ops *ops)
{
    for (const struct json_value *item = wanted->members ? wanted->members->first : NULL; item;
         item = item->next) {
        if (is_member(wanted, item->text))
            continue;
        put_member(ops, "group.add_member", ref_of(wanted), item->text);
        wanted->is_changed = true;
    }
}

/* As a whole */

/* Returns 0 with *ret_is_there, or an exit status. */
static int get_group(struct adm *adm, const char *name, union api_result *ret, bool *ret_is_there)
{
    struct json_writer params = { 0 };

    json_begin_object(&params);
    put_text(&params, "group", name);
    return desired_get(adm, API_METHOD_GROUP_GET, adm_end_params(&params), ret, ret_is_there);
}

static int look_up(struct adm *adm, const char *file, struct wanted_group *wanted)
{
    enum api_group_kind kind;
    int r = get_group(adm, wanted->name, &wanted->now, &wanted->is_there);

    if (r || !wanted->is_there)
        return r;
    kind = wanted->now.group.kind;
    if (wanted->has_kind && wanted->kind != kind)
        return desired_bad(file,
                           "%s.kind: the group \"%.100s\" is there, of the kind %s, which it keeps "
                           "for life.",
                           wanted->place, wanted->name, api_enum_group_kind.values[kind]);
    wanted->kind = kind;
    return 0;
}

/* Who shall not be, cannot be in it. */
static int check_members(const char *file, const struct json_value *document,
                         const struct wanted_group *wanted)
{
    bool is_vm = wanted->kind == API_GROUP_KIND_VM;
    const char *key = is_vm ? "absent" : "absent_groups";
    size_t index = 0;

    for (const struct json_value *item = wanted->members ? wanted->members->first : NULL; item;
         item = item->next, index++) {
        if (is_listed(json_get(document, key), item->text))
            return desired_bad(file, "%s.members[%zu]: \"%.100s\" stands in %s as well.",
                               wanted->place, index, item->text, key);
    }
    return 0;
}

static int note_changed(const char *file, const struct wanted_group *wanted,
                        struct desired_ops *ops)
{
    if (!wanted->is_changed)
        return 0;
    return desired_note(file, ops, wanted->is_there ? '~' : '+', wanted->name,
                        wanted->is_there ? wanted->now.group.id : NULL, true);
}

static int compare(struct adm *adm, const char *file, const struct json_value *document,
                   struct wanted_group *groups, size_t count, struct desired_ops *ops)
{
    const struct json_value *item = count ? json_get(document, "groups")->first : NULL;
    int r = 0;

    for (size_t i = 0; i < count && r == 0; i++, item = item->next) {
        (void)snprintf(groups[i].place, sizeof(groups[i].place), "groups[%zu]", i);
        r = read_group(file, item, &groups[i]);
        r = r ? r : look_up(adm, file, &groups[i]);
        r = r ? r : check_members(file, document, &groups[i]);
    }
    for (size_t i = 0; i < count && r == 0; i++)
        put_row(&groups[i], ops);
    for (size_t i = 0; i < count && r == 0; i++)
        put_leaving(&groups[i], document, ops);
    for (size_t i = 0; i < count && r == 0; i++)
        put_coming(&groups[i], ops);
    for (size_t i = 0; i < count && r == 0; i++)
        r = note_changed(file, &groups[i], ops);
    return r;
}

int desired_compare_groups(struct adm *adm, const char *file, const struct json_value *document,
                           struct desired_ops *ops)
{
    const struct json_value *list = json_get(document, "groups");
    size_t count = list ? list->count : 0;
    struct wanted_group *groups;
    int r;

    if (list && list->type != JSON_ARRAY)
        return desired_bad(file, "groups is %s where an array is expected.",
                           json_type_phrase(list->type));
    groups = calloc(count + 1, sizeof(*groups));
    hv_assert(groups);
    r = compare(adm, file, document, groups, count, ops);
    for (size_t i = 0; i < count; i++) {
        if (groups[i].is_there)
            api_group_fini(&groups[i].now.group);
    }
    free(groups);
    return r;
}

/* Groups that hold others let go of them first: all may stand in the list. */
int desired_empty_group(struct adm *adm, const char *file, const struct json_value *value,
                        size_t index, struct desired_ops *ops)
{
    union api_result result;
    bool is_there = false;
    int r;

    if (value->type != JSON_STRING)
        return desired_bad(file, "absent_groups[%zu] is %s where a group's name is expected.",
                           index, json_type_phrase(value->type));
    r = get_group(adm, value->text, &result, &is_there);
    if (!is_there)
        return r;
    for (size_t i = 0; i < result.group.n_members; i++) {
        if (result.group.kind == API_GROUP_KIND_MANAGEMENT)
            put_member(ops, "group.remove_member", result.group.id, result.group.members[i].id);
    }
    api_group_fini(&result.group);
    return 0;
}

int desired_delete_group(struct adm *adm, const char *file, const struct json_value *value,
                         size_t index, struct desired_ops *ops)
{
    union api_result result;
    bool is_there = false;
    int r = get_group(adm, value->text, &result, &is_there);

    if (!is_there)
        return r;
    r = desired_note(file, ops, '-', value->text, result.group.id, true);
    desired_end_op(begin_op(ops, "group.delete", result.group.id));
    api_group_fini(&result.group);
    return r;
}
