/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys that clients give their calls, so that a call which comes again does nothing twice:
 * reliability rule 6.7. A key is stored with the change that its call makes; where the call asks a
 * worker, it is stored before that, and no answer leaves before its end is. A call that failed
 * leaves its key free. What a call that was under way when the service ended came to, its VM's
 * state tells, or nobody does: then it is refused as unknown, never made again.
 */
#include "vmmsd/core/group_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"

#include <stdio.h>
#include <string.h>

enum { OBJECT_BYTES = 160 };

void vmms_key_row_fini(struct vmms_key_row *row)
{
    free(row->owner);
    free(row->key);
    free(row->method);
    *row = (struct vmms_key_row){ 0 };
}

/* The set of them */

static struct vmms_key *key_free(struct vmms_key *key)
{
    hv_list_remove(&key->age);
    hv_list_remove(&key->moving);
    HV_LIST_FOREACH (node, &key->again)
        vmms_call_free(HV_LIST_ENTRY(node, struct vmms_call, node));
    vmms_call_free(key->waiting);
    vmms_effect_free(key->answer);
    vmms_key_row_fini(&key->row);
    free(key);
    return NULL;
}

void vmms_keys_init(struct vmms_keys *keys)
{
    hv_list_init(&keys->by_age);
    hv_list_init(&keys->moving);
}

void vmms_keys_fini(struct vmms_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++)
        key_free(keys->keys[i]);
    free(keys->keys);
}

static int compare(const struct vmms_key *key, const char *owner, const char *text)
{
    int order = strcmp(key->row.owner, owner);

    return order ? order : strcmp(key->row.key, text);
}

/* Place of the first key that is not less. */
static size_t lower_bound(const struct vmms_keys *keys, const char *owner, const char *text)
{
    size_t low = 0, high = keys->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (compare(keys->keys[middle], owner, text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct vmms_key *find(const struct vmms_keys *keys, const char *owner, const char *text)
{
    size_t at = lower_bound(keys, owner, text);

    return at < keys->count && compare(keys->keys[at], owner, text) == 0 ? keys->keys[at] : NULL;
}

/* row: taken */
static struct vmms_key *add(struct vmms_keys *keys, struct vmms_key_row *row)
{
    size_t at = lower_bound(keys, row->owner, row->key);
    struct vmms_key *key = calloc(1, sizeof(*key));

    hv_assert(key);
    if (keys->count == keys->room) {
        keys->room = keys->room ? keys->room * 2 : 16;
        keys->keys = reallocarray(keys->keys, keys->room, sizeof(struct vmms_key *));
        hv_assert(keys->keys);
    }
    memmove(&keys->keys[at + 1], &keys->keys[at], (keys->count - at) * sizeof(struct vmms_key *));
    keys->keys[at] = key;
    keys->count++;
    key->row = *row;
    *row = (struct vmms_key_row){ 0 };
    hv_list_init(&key->moving);
    hv_list_init(&key->again);
    hv_list_append(&keys->by_age, &key->age);
    return key;
}

/* Those who came with the key meanwhile come again. */
static void release(struct vmms_core *core, struct hv_list *again)
{
    struct hv_list calls;

    hv_list_init(&calls);
    HV_LIST_FOREACH (node, again) {
        hv_list_remove(node);
        hv_list_append(&calls, node);
    }
    HV_LIST_FOREACH (node, &calls) {
        hv_list_remove(node);
        vmms_handle_call(core, HV_LIST_ENTRY(node, struct vmms_call, node));
    }
}

static void forget(struct vmms_core *core, struct vmms_key *key)
{
    struct vmms_keys *keys = &core->keys;
    size_t at = lower_bound(keys, key->row.owner, key->row.key);
    struct hv_list again;

    keys->count--;
    memmove(&keys->keys[at], &keys->keys[at + 1], (keys->count - at) * sizeof(struct vmms_key *));
    hv_list_init(&again);
    HV_LIST_FOREACH (node, &key->again) {
        hv_list_remove(node);
        hv_list_append(&again, node);
    }
    key_free(key);
    release(core, &again);
}

/* Its call has been answered. */
static void end(struct vmms_core *core, struct vmms_key *key)
{
    key->is_in_flight = key->goes_on = false;
    key->call = 0;
    release(core, &key->again);
}

/* On its way to the store */

static void move(struct vmms_core *core, struct vmms_key *key, struct vmms_change *change, int kind)
{
    const struct vmms_key_row *row = &key->row;

    hv_assert(!key->change);
    key->change = change->id;
    key->is_change_own = false;
    key->is_deleting = kind == VMMS_KEY_ROW_DELETE;
    hv_list_append(&core->keys.moving, &key->moving);
    change->key_kind = kind;
    change->key = key->next;
    change->key.owner = vmms_text_copy(row->owner);
    change->key.key = vmms_text_copy(row->key);
    change->key.method = vmms_text_copy(row->method);
}

static void expect(struct vmms_key *key, bool is_done, const char *object, const char *device)
{
    key->next = (struct vmms_key_row){ .args = key->row.args,
                                       .is_done = is_done,
                                       .made_ms = key->row.made_ms,
                                       .event_seq = key->row.event_seq };
    (void)snprintf(key->next.object, sizeof(key->next.object), "%s",
                   object ? object : key->row.object);
    (void)snprintf(key->next.device, sizeof(key->next.device), "%s",
                   device ? device : key->row.device);
}

void vmms_key_ride(struct vmms_core *core, struct vmms_change *change, const struct vmms_call *call,
                   bool is_done, const char *object, const char *device)
{
    if (!call || !call->key || call->key->change || core->tx)
        return;
    expect(call->key, is_done, object, device);
    call->key->next.event_seq = 0; /* this change's */
    move(core, call->key, change, VMMS_KEY_ROW_PUT);
}

/* Of nothing but the key. */
static void commit_alone(struct vmms_core *core, struct vmms_key *key, int kind)
{
    struct vmms_change *change = calloc(1, sizeof(*change));

    hv_assert(change);
    change->id = core->next_change++;
    change->kind = VMMS_ROW_NONE;
    move(core, key, change, kind);
    key->is_change_own = true;
    vmms_emit(core, VMMS_EFFECT_COMMIT)->change = change;
}

bool vmms_key_goes_first(struct vmms_core *core, struct vmms_call *call)
{
    const char *ref = vmms_argument_text(&call->request, "vm");
    const struct vmms_vm *vm = ref ? vmms_look_up(core, ref) : NULL;
    struct vmms_key *key = call->key;

    if (!key || key->is_stored || core->tx)
        return false;
    expect(key, false, vm ? vm->row.id : NULL, NULL);
    commit_alone(core, key, VMMS_KEY_ROW_PUT);
    key->waiting = call;
    return true;
}

void vmms_key_goes_on(struct vmms_call *call)
{
    if (call->key)
        call->key->goes_on = call->key->is_stored;
}

/* A text in a result by its field's name, or NULL. */
static const char *text_in(const struct api_record *record, const void *from, const char *name)
{
    const struct api_field *field = api_record_find(record, name, NULL);
    char *text = NULL;

    if (field && field->kind == API_KIND_TEXT)
        memcpy(&text, (const char *)from + field->offset, sizeof(text));
    return text;
}

/* What it was about, as its answer has it. */
static void expect_answer(struct vmms_key *key, const struct vmms_effect *effect)
{
    const struct api_record *record = api_methods[effect->method].result;
    const union api_result *result = &effect->result;
    const char *object = NULL;

    if (record == &api_record_changed && result->has & API_CHANGED_HAS_VM)
        object = result->changed.vm.id;
    else if (record == &api_record_group_changed && result->has & API_GROUP_CHANGED_HAS_GROUP)
        object = result->group_changed.group.id;
    expect(key, true, object, text_in(record, result, "device"));
    if (record == &api_record_changed)
        key->next.event_seq = result->changed.event_seq;
    else if (record == &api_record_group_changed)
        key->next.event_seq = result->group_changed.event_seq;
}

bool vmms_key_holds(struct vmms_core *core, struct vmms_effect *effect)
{
    struct vmms_key *key = HV_TAKE_PTR(effect->key);

    if (!key)
        return false;
    if (effect->error && !key->is_stored) {
        forget(core, key);
        return false;
    }
    if ((effect->error && key->goes_on) || (!effect->error && key->is_stored && key->row.is_done)) {
        end(core, key);
        return false;
    }
    key->answer = effect;
    if (effect->error)
        expect(key, false, NULL, NULL);
    else
        expect_answer(key, effect);
    commit_alone(core, key, effect->error ? VMMS_KEY_ROW_DELETE : VMMS_KEY_ROW_PUT);
    return true;
}

static struct vmms_key *find_moving(struct vmms_core *core, uint64_t change)
{
    HV_LIST_FOREACH (node, &core->keys.moving) {
        struct vmms_key *key = HV_LIST_ENTRY(node, struct vmms_key, moving);

        if (key->change == change)
            return key;
    }
    return NULL;
}

static void stored(struct vmms_key *key, uint64_t first_seq)
{
    key->is_stored = true;
    key->row.is_done = key->next.is_done;
    memcpy(key->row.object, key->next.object, sizeof(key->row.object));
    memcpy(key->row.device, key->next.device, sizeof(key->row.device));
    key->row.event_seq = key->next.event_seq ? key->next.event_seq : first_seq;
}

/* The change of nothing but the key is stored, or not. error: taken */
static void settle(struct vmms_core *core, struct vmms_key *key, struct api_error *error)
{
    struct vmms_effect *answer = HV_TAKE_PTR(key->answer);
    struct vmms_call *call = HV_TAKE_PTR(key->waiting);

    if (error)
        vmms_emit(core, VMMS_EFFECT_LOG)->text = vmms_text_copy(error->message);
    if (answer)
        hv_list_append(&core->effects, &answer->node);
    if (call && error) {
        vmms_reply_error(core, call, error);
        return;
    }
    if (call)
        vmms_handle_call(core, call);
    else if (error ? !key->is_stored : key->is_deleting)
        forget(core, key);
    else
        end(core, key);
    api_error_free(error);
}

bool vmms_key_committed(struct vmms_core *core, uint64_t change, uint64_t first_seq,
                        struct api_error *error)
{
    struct vmms_key *key = find_moving(core, change);

    if (!key)
        return false;
    hv_list_remove(&key->moving);
    key->change = 0;
    if (!error && !key->is_deleting)
        stored(key, first_seq);
    if (!key->is_change_own)
        return false;
    settle(core, key, error);
    return true;
}

/* Calls that come again */

/* Arguments that change nothing of what is done. */
static uint64_t digest(const struct api_request *request)
{
    static const char *const left_out[] = { "idempotency_key", "deadline_ms", "plan",
                                            "plan_id",         "queue",       "wait" };
    const struct api_record *record = api_methods[request->method].args;
    hv_autofree char *text = NULL;
    uint64_t fields = UINT64_MAX;
    struct json_writer out = { 0 };
    size_t index;

    for (size_t i = 0; i < HV_ARRAY_SIZE(left_out); i++) {
        if (api_record_find(record, left_out[i], &index))
            fields &= ~(UINT64_C(1) << index);
    }
    api_record_write(record, &request->args, fields, &out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return vmms_text_hash(VMMS_HASH_SEED, text);
}

static void refuse(struct vmms_core *core, struct vmms_call *call, const struct vmms_key *key)
{
    const char *vm = vmms_core_vm_name(core, key->row.object);
    const struct vmms_group *group = vmms_group_look_up(core, NULL, key->row.object);
    struct api_error *error = NULL;
    char object[OBJECT_BYTES] = "";

    if (vm || group)
        (void)snprintf(object, sizeof(object), " on %s %s", vm ? "VM" : "group",
                       vm ? vm : group->row.name);
    else if (*key->row.object)
        (void)snprintf(object, sizeof(object), " on %s", key->row.object);
    api_error_set(&error, API_E_INVALID_PARAMETER, "call.key", "idempotency_key",
                  "idempotency_key was used for another call: %s%s%s.", key->row.method, object,
                  strcmp(key->row.method, api_methods[call->request.method].name) == 0
                      ? ", with other arguments"
                      : "");
    api_error_hint(error, "Use a new key for a new call.");
    vmms_reply_error(core, call, error);
}

static struct vmms_vm *vm_of(const struct vmms_core *core, const struct vmms_key *key)
{
    struct vmms_vm *vm = vmms_index_find(&core->by_id, key->row.object);

    return vm && !vm->is_new ? vm : NULL;
}

/* Nothing is done; the answer tells of what is now. */
static void answer_again(struct vmms_core *core, struct vmms_call *call, const struct vmms_key *key)
{
    static const char *const no_steps[] = { NULL };
    enum api_method method = call->request.method;
    const char *device = *key->row.device ? key->row.device : NULL;
    struct vmms_vm *vm = vm_of(core, key);

    if (vmms_wants_plan(&call->request))
        vmms_reply_plan(core, call, vm, no_steps);
    else if (vmms_is_group_method(method))
        vmms_reply_group(core, call, vmms_group_look_up(core, NULL, key->row.object), true,
                         key->row.event_seq);
    else if (method == API_METHOD_HOST_STOP_VMS)
        vmms_stop_all_again(core, call);
    else if (method == API_METHOD_JOB_CANCEL)
        vmms_job_cancelled_again(core, call);
    else if (api_methods[method].result != &api_record_guest_done)
        vmms_reply_device(core, call, vm, device, true, key->row.event_seq);
    else if (vm && strcmp(api_methods[method].noun, "guest") == 0)
        vmms_pairs_stored(core, vm, call);
    else
        vmms_reply(core, call)->result.guest_done.done =
            strcmp(api_methods[method].noun, "guest") != 0;
}

/* The key is the call's from now on. */
static void take(struct vmms_key *key, struct vmms_call *call)
{
    call->key = key;
    key->call = call->id;
    key->is_in_flight = true;
}

static void reply_unknown(struct vmms_core *core, struct vmms_call *call,
                          const struct vmms_key *key, const struct vmms_vm *vm)
{
    struct api_error *error = NULL;

    api_error_set(&error, API_E_STATUS_UNKNOWN, "call.unknown", "idempotency_key",
                  "%s with this idempotency_key was made and not seen to its end%s%s%s%s.",
                  key->row.method, vm ? "; VM " : "", vm ? vmms_vm_name(vm) : "",
                  vm ? " is now " : "", vm ? api_enum_vm_state.values[vm->row.state] : "");
    api_error_hint(error, "Look whether it was done; if not, make it with a new key.");
    vmms_reply_error(core, call, error);
}

/* It was made and not seen to its end: by an earlier life of the service, or it outlasted its
 * deadline. */
static void meet_begun(struct vmms_core *core, struct vmms_call *call, struct vmms_key *key)
{
    enum api_method method = call->request.method;
    struct vmms_vm *vm = vm_of(core, key);
    enum api_vm_state to;

    if (vm && vm->op != VMMS_OP_NONE && vm->op == vmms_op_of(method)) {
        take(key, call);
        hv_list_append(&vm->op_calls, &call->node);
    } else if (vm && !vm->pending && vmms_leads_to(method, &to) && vm->row.state == to) {
        take(key, call);
        vmms_reply_changed(core, call, vm, true, 0);
    } else {
        reply_unknown(core, call, key, vm);
    }
}

static void meet_again(struct vmms_core *core, struct vmms_call *call, struct vmms_key *key)
{
    if (strcmp(key->row.method, api_methods[call->request.method].name) != 0 ||
        key->row.args != digest(&call->request))
        refuse(core, call, key);
    else if (key->is_in_flight || key->change)
        hv_list_append(&key->again, &call->node);
    else if (key->row.is_done)
        answer_again(core, call, key);
    else
        meet_begun(core, call, key);
}

static void make(struct vmms_core *core, struct vmms_call *call, const char *text)
{
    struct vmms_key_row row = { .owner = vmms_text_copy(call->actor),
                                .key = vmms_text_copy(text),
                                .method = vmms_text_copy(api_methods[call->request.method].name),
                                .args = digest(&call->request),
                                .made_ms = vmms_now_ms(core) };

    take(add(&core->keys, &row), call);
    vmms_keys_prune(core);
}

/* What these do cannot be done twice, and is not stored before it is done. */
static bool asks_somebody(enum api_method method)
{
    static const enum api_method methods[] = {
        API_METHOD_VM_PAUSE,
        API_METHOD_VM_RESUME,
        API_METHOD_VM_RESET,
        API_METHOD_GUEST_SHUTDOWN,
        API_METHOD_GUEST_REBOOT,
        API_METHOD_CONSOLE_TYPE_TEXT,
        API_METHOD_CONSOLE_CTRL_ALT_DEL,
        API_METHOD_HOST_STOP_VMS,
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(methods); i++) {
        if (methods[i] == method)
            return true;
    }
    return false;
}

bool vmms_key_meets(struct vmms_core *core, struct vmms_call *call)
{
    const char *text = vmms_argument_text(&call->request, "idempotency_key");
    const struct vmms_job *job;
    struct vmms_key *key;

    if (!text || call->key || call->own || call->saga || api_methods[call->request.method].is_job)
        return false;
    key = find(&core->keys, call->actor, text);
    if (key) {
        meet_again(core, call, key);
        return true;
    }
    job = vmms_job_by_key(core, call->actor, text);
    if (job) {
        vmms_job_refuse_key(core, call, job);
        return true;
    }
    if (vmms_wants_plan(&call->request))
        return false;
    make(core, call, text);
    return asks_somebody(call->request.method) && vmms_key_goes_first(core, call);
}

bool vmms_key_is_taken(struct vmms_core *core, struct vmms_call *call, const char *text)
{
    const struct vmms_key *key = text ? find(&core->keys, call->actor, text) : NULL;

    if (key)
        refuse(core, call, key);
    return key != NULL;
}

/* The number of the call tells whose the answer is. */
void vmms_core_served(struct vmms_core *core, uint64_t call, enum api_method method,
                      const union api_result *result, struct api_error *error)
{
    struct vmms_effect *effect = vmms_emit(core, VMMS_EFFECT_REPLY);

    effect->call = call;
    effect->method = method;
    effect->fields = UINT64_MAX;
    effect->result = *result;
    effect->error = error;
    for (struct hv_list *node = core->keys.by_age.prev; node != &core->keys.by_age && !effect->key;
         node = node->prev) {
        struct vmms_key *key = HV_LIST_ENTRY(node, struct vmms_key, age);

        if (key->is_in_flight && key->call == call)
            effect->key = key;
    }
}

/* The oldest go when there are too many, or they are old enough. */
void vmms_keys_prune(struct vmms_core *core)
{
    const uint64_t kept_ms = VMMS_JOB_KEPT_DAYS * UINT64_C(86400000);
    uint64_t now = vmms_now_ms(core);
    size_t left = core->keys.count;

    HV_LIST_FOREACH (node, &core->keys.by_age) {
        struct vmms_key *key = HV_LIST_ENTRY(node, struct vmms_key, age);

        if (left <= VMMS_MAX_KEPT_KEYS && key->row.made_ms + kept_ms > now)
            break;
        left--;
        if (!key->change && !key->is_in_flight)
            commit_alone(core, key, VMMS_KEY_ROW_DELETE);
    }
}

int vmms_core_load_key(struct vmms_core *core, struct vmms_key_row *row)
{
    if (find(&core->keys, row->owner, row->key))
        return -EEXIST;
    add(&core->keys, row)->is_stored = true;
    return 0;
}

const char *vmms_keys_check(const struct vmms_core *core)
{
    for (size_t i = 0; i < core->keys.count; i++) {
        const struct vmms_key *key = core->keys.keys[i];

        if (i > 0 && compare(core->keys.keys[i - 1], key->row.owner, key->row.key) >= 0)
            return "a key stands once, in its place";
        if (!key->is_in_flight && !key->change && !hv_list_is_empty(&key->again))
            return "a call waits for its key only while another has it";
        if (!key->is_stored && !key->is_in_flight)
            return "a key that is not stored is a call's under way";
        if ((key->waiting || key->answer) && !key->change)
            return "a call waits for its key's way to the store";
    }
    return NULL;
}
