/* SPDX-License-Identifier: Apache-2.0 */
/* Key-value pairs that the host gives to a guest: kept with the VM, whatever its state; its worker
 * hears of them at each start and after each change. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"

#include <assert.h>
#include <string.h>

void vmms_pairs_fini(struct vmms_row *row)
{
    for (size_t i = 0; i < row->n_pairs; i++)
        api_kvp_pair_fini(&row->pairs[i]);
    free(row->pairs);
    row->pairs = NULL;
    row->n_pairs = 0;
}

static struct api_kvp_pair *find(const struct vmms_row *row, const char *key)
{
    for (size_t i = 0; i < row->n_pairs; i++) {
        if (strcmp(row->pairs[i].key, key) == 0)
            return &row->pairs[i];
    }
    return NULL;
}

int vmms_pairs_set(struct vmms_row *row, const char *key, const char *value)
{
    struct api_kvp_pair *pair = find(row, key), *grown;
    char *copy = strdup(value);

    if (!copy)
        return -ENOMEM;
    if (pair) {
        free(pair->value);
        pair->value = copy;
        return 0;
    }
    grown = reallocarray(row->pairs, row->n_pairs + 1, sizeof(*grown));
    if (grown) {
        row->pairs = grown;
        grown[row->n_pairs] = (struct api_kvp_pair){ .key = strdup(key), .value = copy };
    }
    if (!grown || !grown[row->n_pairs].key) {
        free(copy);
        return -ENOMEM;
    }
    row->n_pairs++;
    return 0;
}

int vmms_pairs_copy(const struct vmms_row *from, struct vmms_row *ret)
{
    int r = 0;

    ret->pairs = NULL;
    ret->n_pairs = 0;
    for (size_t i = 0; i < from->n_pairs && r == 0; i++)
        r = vmms_pairs_set(ret, from->pairs[i].key, from->pairs[i].value);
    return r;
}

static void drop(struct vmms_row *row, const char *key)
{
    struct api_kvp_pair *pair = find(row, key);
    size_t at;

    if (!pair)
        return; /* named twice */
    at = (size_t)(pair - row->pairs);
    api_kvp_pair_fini(pair);
    memmove(pair, pair + 1, (row->n_pairs - at - 1) * sizeof(*pair));
    row->n_pairs--;
}

/* What is asked for */

struct wish {
    const struct api_kvp_pair *items;
    size_t n_items;
    char *const *keys; /* to take back */
    size_t n_keys;
    bool is_new, is_plan;
    const char *step;
};

static void read_wish(const struct vmms_call *call, struct wish *ret)
{
    const union api_args *args = &call->request.args;

    static_assert(sizeof(struct api_guest_add_kvp_args) == sizeof(struct api_guest_modify_kvp_args),
                  "both are read as one");
    if (call->request.method == API_METHOD_GUEST_REMOVE_KVP) {
        *ret = (struct wish){ .keys = args->guest_remove_kvp.keys,
                              .n_keys = args->guest_remove_kvp.n_keys,
                              .is_plan = args->guest_remove_kvp.plan,
                              .step = "take the pairs back from the guest" };
        return;
    }
    *ret = (struct wish){ .items = args->guest_add_kvp.items,
                          .n_items = args->guest_add_kvp.n_items,
                          .is_new = call->request.method == API_METHOD_GUEST_ADD_KVP,
                          .is_plan = args->guest_add_kvp.plan,
                          .step = "give the guest the pairs" };
}

static int check_key(const struct vmms_vm *vm, const char *key, bool is_new, const char *field,
                     struct api_error **reterr)
{
    if (!find(&vm->row, key) == is_new)
        return 0;
    if (is_new)
        return api_error_set(reterr, API_E_ALREADY_EXISTS, "guest.kvp.exists", field,
                             "The guest of VM %s is given a pair with the key \"%.254s\" already.",
                             vmms_vm_name(vm), key);
    return api_error_set(reterr, API_E_NOT_FOUND, "guest.kvp.missing", field,
                         "The guest of VM %s is given no pair with the key \"%.254s\".",
                         vmms_vm_name(vm), key);
}

static int check_wish(const struct vmms_vm *vm, const struct wish *wish, struct api_error **reterr)
{
    int r = 0;

    for (size_t i = 0; i < wish->n_items && r == 0; i++)
        r = check_key(vm, wish->items[i].key, wish->is_new, "items.key", reterr);
    for (size_t i = 0; i < wish->n_keys && r == 0; i++)
        r = check_key(vm, wish->keys[i], false, "keys", reterr);
    if (r == 0 && wish->is_new && vm->row.n_pairs + wish->n_items > VMMS_MAX_PAIRS)
        r = api_error_set(reterr, API_E_TOO_LARGE, "guest.kvp.too_many", "items",
                          "The guest of VM %s is given %zu pairs; with %zu more they would be more "
                          "than %d.",
                          vmms_vm_name(vm), vm->row.n_pairs, wish->n_items, VMMS_MAX_PAIRS);
    return r;
}

static void put_keys(struct json_writer *out, const char *name, const struct wish *wish)
{
    json_key(out, name);
    json_begin_array(out);
    for (size_t i = 0; i < wish->n_items; i++)
        json_put_string(out, wish->items[i].key);
    for (size_t i = 0; i < wish->n_keys; i++)
        json_put_string(out, wish->keys[i]);
    json_end_array(out);
}

/* Keys alone: a value may be a secret. */
static char *wish_data(const struct wish *wish)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    put_keys(&out, wish->n_keys ? "removed" : wish->is_new ? "added" : "modified", wish);
    json_end_object(&out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

/* Whether the guest has it, its worker knows. */
void vmms_pairs_stored(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    if (vm->is_greeted && vmms_has_worker(vm->row.state))
        vmms_serve_call(core, vm, call);
    else
        vmms_reply(core, call)->result.guest_done.done = false;
}

static void commit_wish(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call,
                        const struct wish *wish)
{
    struct vmms_change *change = vmms_change_new(core, vm);

    for (size_t i = 0; i < wish->n_items; i++)
        hv_assert(vmms_pairs_set(&change->row, wish->items[i].key, wish->items[i].value) == 0);
    for (size_t i = 0; i < wish->n_keys; i++)
        drop(&change->row, wish->keys[i]);
    change->has_pairs = true;
    vmms_change_event(core, change, "guest.kvp_changed", call->actor, wish_data(wish));
    vmms_commit(core, vm, change, call)->reply = vmms_pairs_stored;
}

void vmms_change_pairs(struct vmms_core *core, struct vmms_vm *vm, struct vmms_call *call)
{
    struct api_error *error = NULL;
    struct wish wish;

    read_wish(call, &wish);
    if (check_wish(vm, &wish, &error) < 0)
        vmms_reply_error(core, call, error);
    else if (wish.is_plan)
        vmms_reply_plan(core, call, vm, (const char *const[]){ wish.step, NULL });
    else if (!wish.n_items && !wish.n_keys)
        vmms_reply(core, call)->result.guest_done.done = true;
    else
        commit_wish(core, vm, call, &wish);
}
