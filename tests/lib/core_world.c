/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/core_world.h"

#include "api/gen/tables.h"
#include "hvcore/base/own.h"
#include "vmmsd/core/core_priv.h"

#include <stdio.h>
#include <string.h>

enum {
    MAX_PENDING = 1024,
    MAX_WORKERS = 64,
    NAMES = 6,
    MAX_JOBS = 300,
    GROUPS = 5,
    MAX_FILES = 32,
    MAX_MEMBERS = GROUPS * (GROUPS + NAMES),
    MAX_REPEATS = 8, /* calls with keys that may come again */
    MAX_ACTS = 8     /* events that one call makes */
};

enum worker_state {
    W_NONE,
    W_SPAWNING,
    W_LOST,  /* of an earlier life: it is gone */
    W_FOUND, /* of an earlier life: it runs */
    W_ALIVE,
    W_READY,
    W_RUNNING,
    W_PAUSED,
    W_SAVING,
    W_SAVED, /* its file is whole; its process has still to end */
    W_STOPPED
};

struct worker {
    enum worker_state state;
    char vm[HV_GUID_TEXT_BYTES];
    char incarnation[HV_GUID_TEXT_BYTES];
    bool is_asked;
    enum vmms_worker_verb verb;
    bool is_killed;
    /* of a save */
    enum worker_state from;
    bool is_cancelled;
    bool is_unheard;      /* nobody waits for its answer any more */
    bool is_out_of_reach; /* it was not told to save */
};

/* A job whose work was ordered. */
struct job {
    uint64_t id; /* 0: none */
    enum { J_RUN, J_WORKED, J_FINISH, J_UNDO } state;
    bool is_cancelled;
};

/* Who is in which group, as the store has it. */
struct membership {
    char group[HV_GUID_TEXT_BYTES], member[HV_GUID_TEXT_BYTES];
};

/* A call with a key, which comes again and again. What it did, by the store's events of its actor,
 * which has only this call: each of them once, as long as its key is not free again. */
struct repeat {
    struct api_request request;
    char actor[24]; /* empty: none */
    enum { KEY_FREE, KEY_BEGUN, KEY_DONE } key;
    char *acts[MAX_ACTS];
    size_t n_acts;
};

struct world {
    struct vmms_core *core;
    struct repeat repeats[MAX_REPEATS];
    uint64_t next_key;
    struct membership members[MAX_MEMBERS];
    size_t n_members;
    struct job jobs[MAX_JOBS];
    uint64_t random;
    uint64_t clock;
    uint64_t next_call, replies;
    uint64_t seq;
    struct vmms_effect *pending[MAX_PENDING]; /* commits, looks at files, waits */
    size_t n_pending;
    struct worker workers[MAX_WORKERS];
    char files[MAX_FILES][HV_GUID_TEXT_BYTES]; /* VMs whose saved state is there and whole */
    bool is_calm;
};

static uint64_t chance(struct world *world, uint64_t sides)
{
    world->random ^= world->random << 13;
    world->random ^= world->random >> 7;
    world->random ^= world->random << 17;
    return world->random % sides;
}

static uint64_t now(void *opaque)
{
    struct world *world = opaque;

    return world->clock += 1000000;
}

static void fill_random(void *opaque, void *ret, size_t length)
{
    uint8_t *bytes = ret;

    for (size_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)chance(opaque, 256);
}

static void fill_settings(struct world *world, struct api_settings *settings);
static void take_effects(struct world *world);

/* Calls with keys */

static void forget_acts(struct repeat *repeat)
{
    for (size_t i = 0; i < repeat->n_acts; i++)
        free(repeat->acts[i]);
    repeat->n_acts = 0;
    repeat->key = KEY_FREE;
}

static struct repeat *repeat_of(struct world *world, const char *actor)
{
    for (size_t i = 0; i < MAX_REPEATS; i++) {
        if (*actor && strcmp(world->repeats[i].actor, actor) == 0)
            return &world->repeats[i];
    }
    return NULL;
}

static void note_act(struct repeat *repeat, const struct api_event *event)
{
    char *act;

    hv_assert(asprintf(&act, "%s %s %s", event->type, event->vm ? event->vm : "", event->data) > 0);
    for (size_t i = 0; i < repeat->n_acts; i++)
        hv_assert(strcmp(repeat->acts[i], act) != 0); /* a key never acts twice */
    hv_assert(repeat->n_acts < MAX_ACTS);
    repeat->acts[repeat->n_acts++] = act;
}

/* A key comes, begun or done; is done; or goes. */
static void store_key(struct world *world, const struct vmms_change *change)
{
    struct repeat *repeat =
        change->key_kind == VMMS_KEY_ROW_NONE ? NULL : repeat_of(world, change->key.owner);

    if (!repeat)
        return;
    if (change->key_kind == VMMS_KEY_ROW_DELETE) {
        hv_assert(repeat->key != KEY_FREE);
        forget_acts(repeat);
        return;
    }
    hv_assert(repeat->key != KEY_DONE);
    repeat->key = change->key.is_done ? KEY_DONE : KEY_BEGUN;
}

static void store_keys(struct world *world, const struct vmms_change *change)
{
    for (; change; change = change->next) {
        store_key(world, change);
        for (size_t i = 0; i < change->n_events; i++) {
            struct repeat *repeat = repeat_of(world, change->events[i].actor);

            if (repeat)
                note_act(repeat, &change->events[i]);
        }
    }
}

static void make_call(struct world *world, const struct api_request *from, const char *actor)
{
    struct api_request request = { .method = from->method };

    hv_assert(api_record_copy(api_methods[from->method].args, &from->args, &request.args) == 0);
    vmms_core_call(world->core, world->next_call++, &request, actor);
}

/* Calls it now, and keeps it; request is taken. */
static void call_with_key(struct world *world, struct api_request *request)
{
    struct repeat *repeat = &world->repeats[chance(world, MAX_REPEATS)];
    const struct api_field *field =
        api_record_find(api_methods[request->method].args, "idempotency_key", NULL);
    char *key = strdup("key");

    forget_acts(repeat);
    if (*repeat->actor)
        api_request_fini(&repeat->request);
    memcpy((char *)&request->args + field->offset, &key, sizeof(key));
    repeat->request = *request;
    (void)snprintf(repeat->actor, sizeof(repeat->actor), "uid:%llu",
                   (unsigned long long)++world->next_key);
    make_call(world, &repeat->request, repeat->actor);
}

static void call_again(struct world *world)
{
    struct repeat *repeat = &world->repeats[chance(world, MAX_REPEATS)];

    if (*repeat->actor)
        make_call(world, &repeat->request, repeat->actor);
    take_effects(world);
}

/* What a worker was given to do for a call. */
static void serve(struct world *world, const struct vmms_effect *effect)
{
    union api_result result = { .guest_done = { .done = true } };
    struct api_error *error = NULL;

    if (!api_methods[effect->method].is_change || vmms_wants_plan(&effect->request)) {
        world->replies++;
        return;
    }
    if (chance(world, 4) == 0)
        api_error_set(&error, API_E_FAILED, "x", NULL, "No.");
    vmms_core_served(world->core, effect->call, effect->method, &result, error);
}

/* Files of saved states */

static char *file_of(struct world *world, const char *vm)
{
    for (size_t i = 0; i < MAX_FILES; i++) {
        if (strcmp(world->files[i], vm) == 0)
            return world->files[i];
    }
    return NULL;
}

static void put_file(struct world *world, const char *vm)
{
    char *file = file_of(world, vm);

    if (!file)
        file = file_of(world, "");
    hv_assert(file);
    memcpy(file, vm, HV_GUID_TEXT_BYTES);
}

static void remove_file(struct world *world, const char *vm)
{
    char *file = file_of(world, vm);

    if (file)
        *file = '\0';
}

static void check_file(void *opaque, const struct vmms_row *row)
{
    if (row->state == API_VM_STATE_SAVED)
        hv_assert(file_of(opaque, row->id)); /* a VM that is saved has its file */
}

/* A job that had not ended when the last life did. */
static void load_save_job(struct world *world, uint64_t id, const char *vm)
{
    struct vmms_job_row row = { .id = id,
                                .state =
                                    chance(world, 3) ? API_JOB_STATE_RUNNING : API_JOB_STATE_QUEUED,
                                .submitted_ms = 1,
                                .started_ms = 1,
                                .type = strdup("vm.save"),
                                .owner = strdup("uid:0"),
                                .object = strdup(vm) };

    hv_assert(asprintf(&row.args, "{\"vm\":\"%s\"}", vm) > 0);
    row.deadline_ms = chance(world, 2) ? 1 + chance(world, 10000) : 0;
    hv_assert(vmms_core_load_job(world->core, &row) == 0);
}

/* Of VMs that were there before, some were being saved. Returns the last number. */
static uint64_t load_save_jobs(struct world *world)
{
    char vm[HV_GUID_TEXT_BYTES];
    uint64_t last = 0;

    for (unsigned i = 0; i < NAMES / 2; i++) {
        (void)snprintf(vm, sizeof(vm), "00000000-0000-4000-8000-%012u", i);
        for (uint64_t n = chance(world, 3); n > 0; n--)
            load_save_job(world, ++last, vm);
    }
    return last;
}

/* VMs that were there before, some of them on. */
static void load_vms(struct world *world)
{
    for (unsigned i = 0; i < NAMES / 2; i++) {
        static const enum api_vm_state states[] = { API_VM_STATE_OFF,     API_VM_STATE_OFF,
                                                    API_VM_STATE_RUNNING, API_VM_STATE_PAUSED,
                                                    API_VM_STATE_SAVING,  API_VM_STATE_SAVED };
        struct vmms_row row = { .generation = 1, .state = states[chance(world, 6)] };

        (void)snprintf(row.id, sizeof(row.id), "00000000-0000-4000-8000-%012u", i);
        fill_settings(world, &row.settings);
        free(row.settings.name);
        hv_assert(asprintf(&row.settings.name, "vm%u", i) > 0);
        row.settings.has |= API_SETTINGS_HAS_NAME;
        row.mark = (enum vmms_mark)chance(world, 4);
        if (row.state == API_VM_STATE_SAVING)
            row.saved = VMMS_SAVED_STALE;
        if (row.state == API_VM_STATE_SAVED) {
            row.saved = VMMS_SAVED_KEPT;
            row.mark = VMMS_MARK_NONE;
            put_file(world, row.id);
        } else if (row.state != API_VM_STATE_OFF) {
            (void)snprintf(row.incarnation, sizeof(row.incarnation),
                           "00000000-0000-4000-9000-%012u", i);
            row.mark = VMMS_MARK_NONE;
        }
        hv_assert(vmms_core_load(world->core, &row) == 0);
    }
}

struct world *world_new(uint64_t seed)
{
    struct world *world = calloc(1, sizeof(*world));
    const struct vmms_env env = { world, now, now, fill_random };
    uint64_t last_job;

    hv_assert(world);
    world->random = seed * 0x9e3779b97f4a7c15 + 1;
    world->next_call = 1;
    hv_assert(vmms_core_new(&env, &world->core) == 0);
    hv_assert(vmms_core_set_host(world->core, "host", "boot", "0", 2, 8ull << 30) == 0);
    load_vms(world);
    last_job = load_save_jobs(world);
    if (chance(world, 2))
        vmms_core_booted(world->core);
    vmms_core_loaded(world->core, 0, last_job);
    take_effects(world);
    vmms_core_opened(world->core);
    return world;
}

struct world *world_free(struct world *world)
{
    for (size_t i = 0; i < world->n_pending; i++)
        vmms_effect_free(world->pending[i]);
    vmms_core_free(world->core);
    for (size_t i = 0; i < MAX_REPEATS; i++) {
        forget_acts(&world->repeats[i]);
        if (*world->repeats[i].actor)
            api_request_fini(&world->repeats[i].request);
    }
    free(world);
    return NULL;
}

struct vmms_core *world_core(struct world *world)
{
    return world->core;
}

uint64_t world_open_calls(const struct world *world)
{
    return world->next_call - 1 - world->replies;
}

static struct worker *worker_of(struct world *world, const struct vmms_row *row)
{
    for (size_t i = 0; i < MAX_WORKERS; i++) {
        if (world->workers[i].state != W_NONE &&
            strcmp(world->workers[i].incarnation, row->incarnation) == 0)
            return &world->workers[i];
    }
    return NULL;
}

static void spawn(struct world *world, const struct vmms_row *row, enum worker_state state)
{
    for (size_t i = 0; i < MAX_WORKERS; i++) {
        struct worker *worker = &world->workers[i];

        if (worker->state != W_NONE)
            continue;
        *worker = (struct worker){ .state = state };
        memcpy(worker->vm, row->id, sizeof(worker->vm));
        memcpy(worker->incarnation, row->incarnation, sizeof(worker->incarnation));
        return;
    }
    hv_assert(!"too many workers");
}

/* What became of a worker of an earlier life. */
static void find(struct world *world, const struct vmms_row *row)
{
    bool is_saving = row->state == API_VM_STATE_SAVING;

    if (is_saving && chance(world, 4) == 0) {
        spawn(world, row, W_SAVED);
        return;
    }
    spawn(world, row, chance(world, 2) ? W_LOST : W_FOUND);
    worker_of(world, row)->from = is_saving && chance(world, 2) ? W_SAVING : W_RUNNING;
}

/* One that has told nonsense may be asked while it saves; to one that is still looked for nothing
 * can be said. */
static void begin_save(struct worker *worker)
{
    worker->is_out_of_reach = worker->state == W_FOUND || worker->state == W_LOST;
    if (worker->state == W_SAVED || worker->is_out_of_reach)
        return;
    if (worker->state != W_SAVING)
        worker->from = worker->state;
    worker->state = W_SAVING;
    worker->is_cancelled = worker->is_unheard = false;
}

static void order_worker(struct world *world, const struct vmms_effect *effect)
{
    struct worker *worker = worker_of(world, &effect->row);

    if (!worker)
        return;
    if (effect->kind == VMMS_EFFECT_KILL_WORKER) {
        worker->is_killed = true;
    } else if (effect->verb == VMMS_WORKER_SAVE) {
        begin_save(worker);
    } else if (effect->verb == VMMS_WORKER_CANCEL_SAVE) {
        worker->is_cancelled = true;
    } else if ((effect->verb != VMMS_WORKER_SET_SERVICES && effect->verb != VMMS_WORKER_SET_PAIRS &&
                effect->verb != VMMS_WORKER_HOLD_STORAGE && effect->verb != VMMS_WORKER_LOOK) ||
               !worker->is_asked) {
        worker->is_asked = true;
        worker->verb = effect->verb;
    }
}

static struct job *job_of(struct world *world, uint64_t id)
{
    for (size_t i = 0; i < MAX_JOBS; i++) {
        if (world->jobs[i].id == id)
            return &world->jobs[i];
    }
    return NULL;
}

/* Nothing is run twice, and nothing is finished that was not worked at. */
static void order_job(struct world *world, const struct vmms_effect *effect)
{
    struct job *job = job_of(world, effect->job);

    if (effect->kind == VMMS_EFFECT_CANCEL_JOB) {
        if (job)
            job->is_cancelled = true;
        return;
    }
    /* What was done is undone for a transaction that failed. */
    hv_assert((effect->kind == VMMS_EFFECT_RUN_JOB) == !job ||
              (effect->kind == VMMS_EFFECT_UNDO_JOB && effect->text));
    hv_assert(effect->has_request);
    if (!job) {
        job = job_of(world, 0);
        hv_assert(job);
        *job = (struct job){ .id = effect->job };
        if (effect->kind == VMMS_EFFECT_UNDO_JOB)
            job->state = J_UNDO;
        return;
    }
    hv_assert(job->state == J_WORKED);
    job->state = effect->kind == VMMS_EFFECT_FINISH_JOB ? J_FINISH : J_UNDO;
}

static void take_effects(struct world *world)
{
    struct vmms_effect *effect;

    while ((effect = vmms_core_take_effect(world->core))) {
        switch (effect->kind) {
        case VMMS_EFFECT_REPLY: world->replies++; break;
        case VMMS_EFFECT_SERVE: serve(world, effect); break;
        case VMMS_EFFECT_COMMIT:
        case VMMS_EFFECT_WAKE:
        case VMMS_EFFECT_CHECK_FILES:
            hv_assert(world->n_pending < MAX_PENDING);
            world->pending[world->n_pending++] = effect;
            continue;
        case VMMS_EFFECT_SPAWN:
            hv_assert(effect->row.saved != VMMS_SAVED_KEPT || file_of(world, effect->row.id));
            spawn(world, &effect->row, W_SPAWNING);
            break;
        case VMMS_EFFECT_REMOVE_FILES:
        case VMMS_EFFECT_REMOVE_SAVED: remove_file(world, effect->row.id); break;
        case VMMS_EFFECT_ADOPT: find(world, &effect->row); break;
        case VMMS_EFFECT_ASK_WORKER:
        case VMMS_EFFECT_KILL_WORKER: order_worker(world, effect); break;
        case VMMS_EFFECT_RUN_JOB:
        case VMMS_EFFECT_CANCEL_JOB:
        case VMMS_EFFECT_FINISH_JOB:
        case VMMS_EFFECT_UNDO_JOB: order_job(world, effect); break;
        default: break;
        }
        vmms_effect_free(effect);
    }
}

/* Groups in the store */

/* Returns how many went. NULL: any. */
static size_t drop_members(struct world *world, const char *group, const char *member)
{
    size_t kept = 0, before = world->n_members;

    for (size_t i = 0; i < before; i++) {
        const struct membership *m = &world->members[i];

        if ((group && strcmp(m->group, group) != 0) || (member && strcmp(m->member, member) != 0))
            world->members[kept++] = *m;
    }
    world->n_members = kept;
    return before - kept;
}

/* What a database with foreign keys would do, and refuse. */
static void store_groups(struct world *world, const struct vmms_change *change)
{
    bool has_left = false;

    for (; change; change = change->next) {
        struct membership *m = &world->members[world->n_members];

        if (change->kind == VMMS_ROW_DELETE)
            has_left |= drop_members(world, NULL, change->row.id) > 0;
        if (change->group_kind == VMMS_GROUP_ROW_ADD) {
            hv_assert(drop_members(world, change->group.id, change->member) == 0);
            hv_assert(world->n_members < MAX_MEMBERS);
            memcpy(m->group, change->group.id, sizeof(m->group));
            memcpy(m->member, change->member, sizeof(m->member));
            world->n_members++;
        } else if (change->group_kind == VMMS_GROUP_ROW_REMOVE) {
            hv_assert(drop_members(world, change->group.id, change->member) || has_left);
        } else if (change->group_kind == VMMS_GROUP_ROW_DELETE) {
            hv_assert(drop_members(world, change->group.id, NULL) == 0);
            hv_assert(drop_members(world, NULL, change->group.id) == 0);
        }
    }
}

/* The core has what the store has. */
static void compare_groups(struct world *world)
{
    struct api_request request = { .method = API_METHOD_GROUP_LIST,
                                   .args.group_list.limit = GROUPS };
    struct vmms_effect *effect;
    size_t count = 0;

    for (size_t i = 0; i < world->n_members; i++)
        hv_assert(vmms_core_is_within(world->core, world->members[i].member,
                                      (const char(*)[HV_GUID_TEXT_BYTES])world->members[i].group,
                                      1));
    vmms_core_call(world->core, world->next_call++, &request, "uid:0");
    effect = vmms_core_take_effect(world->core);
    world->replies++;
    hv_assert(effect && effect->kind == VMMS_EFFECT_REPLY && !effect->error);
    for (size_t i = 0; i < effect->result.group_list.n_groups; i++)
        count += effect->result.group_list.groups[i].n_members;
    hv_assert(count == world->n_members);
    vmms_effect_free(effect);
}

static char *group_name(struct world *world)
{
    char *text;

    hv_assert(asprintf(&text, "g%u", (unsigned)chance(world, GROUPS)) > 0);
    return text;
}

static char *member_name(struct world *world)
{
    char *text;

    if (chance(world, 3) == 0)
        return group_name(world);
    hv_assert(asprintf(&text, "vm%u", (unsigned)chance(world, NAMES)) > 0);
    return text;
}

static void set_flag(struct world *world, struct api_request *request, const char *name);

/* Some calls have a key, some a deadline; request is taken. */
static void send(struct world *world, struct api_request *request)
{
    const struct api_method_info *method = &api_methods[request->method];
    const struct api_field *deadline = api_record_find(method->args, "deadline_ms", NULL);
    uint64_t within_ms = 1 + chance(world, 2000);

    if (method->is_change && !method->is_job && chance(world, 4) == 0)
        memcpy((char *)&request->args + deadline->offset, &within_ms, sizeof(within_ms));
    if (method->is_change && !method->is_job && chance(world, 3) == 0)
        call_with_key(world, request);
    else
        vmms_core_call(world->core, world->next_call++, request, "uid:0");
    take_effects(world);
}

static void group_call(struct world *world)
{
    static const enum api_method methods[] = {
        API_METHOD_GROUP_CREATE,     API_METHOD_GROUP_CREATE,        API_METHOD_GROUP_CONFIGURE,
        API_METHOD_GROUP_DELETE,     API_METHOD_GROUP_ADD_MEMBER,    API_METHOD_GROUP_ADD_MEMBER,
        API_METHOD_GROUP_ADD_MEMBER, API_METHOD_GROUP_REMOVE_MEMBER, API_METHOD_GROUP_GET,
    };
    struct api_request request = { .method = methods[chance(world, HV_ARRAY_SIZE(methods))] };
    union api_args *args = &request.args;

    if (request.method == API_METHOD_GROUP_CREATE) {
        args->group_create.name = group_name(world);
        args->group_create.kind = (enum api_group_kind)chance(world, 2);
        args->group_create.notes = strdup("");
    } else {
        args->group_get.group = group_name(world);
    }
    if (request.method == API_METHOD_GROUP_CONFIGURE && chance(world, 2))
        args->group_configure.name = group_name(world);
    else if (request.method == API_METHOD_GROUP_CONFIGURE)
        args->group_configure.notes = group_name(world);
    else if (request.method == API_METHOD_GROUP_ADD_MEMBER)
        args->group_add_member.member = member_name(world);
    else if (request.method == API_METHOD_GROUP_REMOVE_MEMBER)
        args->group_remove_member.member = member_name(world);
    set_flag(world, &request, "plan");
    send(world, &request);
}

/* Commits come back in order; files when they like. */
static void finish_pending(struct world *world)
{
    struct vmms_effect *effect;
    struct api_error *error = NULL;

    if (!world->n_pending)
        return;
    effect = world->pending[0];
    world->n_pending--;
    memmove(world->pending, world->pending + 1, world->n_pending * sizeof(effect));
    if (effect->kind == VMMS_EFFECT_COMMIT) {
        if (!world->is_calm && chance(world, 8) == 0)
            api_error_set(&error, API_E_DISK_FULL, "store.full", NULL, "The disk is full.");
        else {
            world->seq += vmms_change_count_events(effect->change);
            store_groups(world, effect->change);
            store_keys(world, effect->change);
        }
        vmms_core_committed(world->core, effect->change->id, world->seq, error);
    } else if (effect->kind == VMMS_EFFECT_WAKE) {
        vmms_core_woken(world->core, effect->row.id, effect->token);
    } else {
        for (size_t i = 0; i < effect->n_files; i++) {
            effect->files[i].is_regular = chance(world, 8) != 0;
            effect->files[i].is_writable = chance(world, 8) != 0;
            effect->files[i].inode = chance(world, 64);
            effect->files[i].errnum = chance(world, 8) == 0 ? ENOENT : 0;
        }
        vmms_core_files_checked(world->core, effect->call, effect->files, effect->n_files);
    }
    vmms_effect_free(effect);
    take_effects(world);
}

static void tell(struct world *world, const struct worker *worker, struct vmms_fact *fact)
{
    vmms_core_fact(world->core, worker->vm, fact);
    take_effects(world);
}

static void end_worker(struct world *world, struct worker *worker)
{
    struct worker gone = *worker;
    struct vmms_fact *fact = vmms_fact_new(VMMS_FACT_GONE, worker->incarnation);

    worker->state = W_NONE;
    if (gone.state == W_SAVED) {
        put_file(world, gone.vm);
        fact->cause = strdup("save");
    } else {
        fact->cause = strdup(chance(world, 4) == 0 ? "guest_power_off" : "worker_died");
    }
    tell(world, &gone, fact);
}

static void launch(struct world *world, struct worker *worker)
{
    struct vmms_fact *fact;

    if (!world->is_calm && chance(world, 6) == 0) {
        struct worker gone = *worker;

        fact = vmms_fact_new(VMMS_FACT_SPAWN_FAILED, worker->incarnation);
        api_error_set(&fact->error, API_E_FAILED, "x", NULL, "No.");
        worker->state = W_NONE;
        tell(world, &gone, fact);
        return;
    }
    worker->state = W_ALIVE;
    fact = vmms_fact_new(VMMS_FACT_SPAWNED, worker->incarnation);
    fact->pid = 1;
    tell(world, worker, fact);
}

static void greet(struct world *world, struct worker *worker)
{
    struct vmms_fact *fact = vmms_fact_new(VMMS_FACT_GREETED, worker->incarnation);

    fact->is_adoption = worker->state == W_FOUND;
    worker->state = fact->is_adoption ? worker->from : W_READY;
    fact->state = strdup(worker->state == W_SAVING ? "saving"
                         : fact->is_adoption       ? "running"
                                                   : "ready");
    if (worker->state == W_SAVING) {
        worker->from = chance(world, 2) ? W_RUNNING : W_PAUSED;
        worker->is_unheard = true;
    }
    tell(world, worker, fact);
}

static void answer(struct world *world, struct worker *worker)
{
    static const enum worker_state to[] = { W_RUNNING, W_PAUSED, W_RUNNING, W_RUNNING, W_STOPPED };
    bool is_off = worker->verb == VMMS_WORKER_SHUT_DOWN && chance(world, 2);
    struct vmms_fact *fact = vmms_fact_new(VMMS_FACT_ANSWER, worker->incarnation);

    worker->is_asked = false;
    fact->verb = worker->verb;
    if (!world->is_calm && chance(world, 6) == 0)
        api_error_set(&fact->error, chance(world, 2) ? API_E_WORKER_UNRESPONSIVE : API_E_FAILED,
                      "x", NULL, "No.");
    else if (worker->verb < HV_ARRAY_SIZE(to))
        worker->state = to[worker->verb];
    else if (is_off)
        worker->state = W_STOPPED;
    tell(world, worker, fact);
}

/* Nobody waits for an answer: the worker's state tells, of itself or when it is asked who it is. */
static void tell_unheard(struct world *world, struct worker *worker)
{
    struct vmms_fact *fact =
        vmms_fact_new(chance(world, 2) ? VMMS_FACT_STATE : VMMS_FACT_GREETED, worker->incarnation);

    fact->state = strdup(worker->state == W_PAUSED ? "paused" : "running");
    fact->cause = strdup("save_failed");
    tell(world, worker, fact);
}

static void answer_save(struct world *world, struct worker *worker, enum api_error_code code)
{
    struct vmms_fact *fact;

    worker->state = code ? worker->from : W_SAVED;
    if (worker->is_unheard && code) {
        tell_unheard(world, worker);
    } else if (!worker->is_unheard) {
        fact = vmms_fact_new(VMMS_FACT_ANSWER, worker->incarnation);
        fact->verb = VMMS_WORKER_SAVE;
        if (code)
            api_error_set(&fact->error, code, "x", NULL, "No.");
        tell(world, worker, fact);
    }
}

/* The connection breaks; the worker saves on. */
static void unhear_save(struct world *world, struct worker *worker)
{
    struct vmms_fact *fact = vmms_fact_new(VMMS_FACT_ANSWER, worker->incarnation);

    fact->verb = VMMS_WORKER_SAVE;
    api_error_set(&fact->error, chance(world, 2) ? API_E_WORKER_LOST : API_E_WORKER_UNRESPONSIVE,
                  "x", NULL, "No.");
    worker->is_unheard = true;
    worker->is_out_of_reach = false;
    tell(world, worker, fact);
}

static void step_save(struct world *world, struct worker *worker)
{
    struct vmms_fact *fact;

    if (worker->is_cancelled) {
        answer_save(world, worker, API_E_CANCELLED);
    } else if (!world->is_calm && chance(world, 6) == 0) {
        answer_save(world, worker, chance(world, 2) ? API_E_DISK_FULL : API_E_IN_USE);
    } else if (!world->is_calm && !worker->is_unheard && chance(world, 6) == 0) {
        unhear_save(world, worker);
    } else if (chance(world, 2)) {
        fact = vmms_fact_new(VMMS_FACT_SAVE_PROGRESS, worker->incarnation);
        fact->bytes_total = 1 + chance(world, 100);
        fact->bytes_done = chance(world, fact->bytes_total + 1);
        tell(world, worker, fact);
    } else {
        answer_save(world, worker, API_E_NONE);
    }
}

/* Something that nobody asked for, possibly nonsense. */
static void surprise(struct world *world, struct worker *worker)
{
    static const char *const states[] = { "running", "paused", "stopped", "ready", "nonsense" };
    static const char *const causes[] = { "guest_reset", "triple_fault", "debug_exit", "pause",
                                          "" };
    struct vmms_fact *fact = vmms_fact_new(
        chance(world, 4) ? VMMS_FACT_STATE : VMMS_FACT_SILENT,
        chance(world, 8) ? worker->incarnation : "00000000-0000-4000-8000-00000000dead");

    fact->state = strdup(states[chance(world, 5)]);
    fact->cause = strdup(causes[chance(world, 5)]);
    if (chance(world, 3) == 0) {
        static const enum vmms_fact_kind kinds[] = { VMMS_FACT_GUEST, VMMS_FACT_GUEST_CRASHED,
                                                     VMMS_FACT_STORAGE, VMMS_FACT_QUIET,
                                                     VMMS_FACT_HEARD };

        fact->kind = kinds[chance(world, HV_ARRAY_SIZE(kinds))];
        fact->is_critical = chance(world, 2);
        fact->age_ms = chance(world, 3000000);
        fact->has_heartbeat = chance(world, 8) != 0;
        fact->heartbeat = (enum api_heartbeat)chance(world, 5);
        fact->is_quiet = chance(world, 4) == 0;
    }
    tell(world, worker, fact);
}

static void step_worker(struct world *world)
{
    struct worker *worker = &world->workers[chance(world, MAX_WORKERS)];

    if (worker->state == W_NONE)
        return;
    if (worker->state == W_SPAWNING)
        launch(world, worker);
    else if (worker->is_out_of_reach)
        unhear_save(world, worker);
    else if (worker->is_killed || worker->state == W_STOPPED || worker->state == W_LOST ||
             worker->state == W_SAVED)
        end_worker(world, worker);
    else if (worker->state == W_SAVING && !worker->is_asked && chance(world, 10))
        step_save(world, worker);
    else if (worker->is_asked && worker->state != W_FOUND)
        answer(world, worker);
    else if (worker->state == W_ALIVE || worker->state == W_FOUND)
        greet(world, worker);
    else if (!world->is_calm && chance(world, 10) == 0)
        end_worker(world, worker);
    else if (!world->is_calm && chance(world, 3) == 0)
        surprise(world, worker);
}

static void end_job(struct world *world, struct job *job, enum api_error_code code)
{
    struct vmms_job_fact fact = { .kind = VMMS_JOB_ENDED, .job = job->id };

    if (code)
        api_error_set(&fact.error, code, "x", NULL, "No.");
    job->id = 0;
    vmms_core_job_fact(world->core, &fact);
}

static void step_job(struct world *world)
{
    struct job *job = &world->jobs[chance(world, 32)];
    struct vmms_job_fact fact = { .kind = VMMS_JOB_PROGRESS,
                                  .job = job->id,
                                  .step = "copy",
                                  .bytes_done = chance(world, 100),
                                  .bytes_total = chance(world, 100) };

    if (!job->id || job->state == J_WORKED)
        return;
    if (job->state != J_RUN) {
        end_job(world, job, world->is_calm || chance(world, 4) ? API_E_NONE : API_E_FAILED);
    } else if (job->is_cancelled) {
        end_job(world, job, API_E_CANCELLED);
    } else if (!world->is_calm && chance(world, 4) == 0) {
        end_job(world, job, API_E_DISK_FULL);
    } else if (chance(world, 2)) {
        vmms_core_job_fact(world->core, &fact);
    } else {
        job->state = J_WORKED;
        fact.kind = VMMS_JOB_WORKED;
        fact.result = strdup("{}");
        vmms_core_job_fact(world->core, &fact);
    }
    take_effects(world);
}

static char *some_path(struct world *world)
{
    char *path;

    hv_assert(asprintf(&path, "/images/%u.vhdx", (unsigned)chance(world, 8)) > 0);
    return path;
}

static void fill_image_call(struct world *world, struct api_request *request)
{
    if (request->method == API_METHOD_IMAGE_CREATE) {
        request->args.image_create.path = some_path(world);
        request->args.image_create.size_bytes = 1 << 20;
        request->args.image_create.wait = chance(world, 2);
        request->args.image_create.plan = chance(world, 8) == 0;
        if (chance(world, 3) == 0)
            request->args.image_create.deadline_ms = 1 + chance(world, 2000);
        if (chance(world, 3) == 0)
            request->args.image_create.idempotency_key = some_path(world);
    } else {
        request->args.image_convert.path = some_path(world);
        request->args.image_convert.to = some_path(world);
        request->args.image_convert.wait = chance(world, 2);
        request->args.image_convert.queue = chance(world, 2);
    }
}

static void job_call(struct world *world)
{
    static const enum api_method methods[] = { API_METHOD_IMAGE_CREATE, API_METHOD_IMAGE_CONVERT,
                                               API_METHOD_JOB_CANCEL,   API_METHOD_JOB_WAIT,
                                               API_METHOD_JOB_GET,      API_METHOD_JOB_LIST };
    struct api_request request = { .method = methods[chance(world, HV_ARRAY_SIZE(methods))] };

    if (request.method == API_METHOD_IMAGE_CREATE || request.method == API_METHOD_IMAGE_CONVERT) {
        fill_image_call(world, &request);
    } else if (request.method == API_METHOD_JOB_LIST) {
        request.args.job_list.limit = 1 + (uint32_t)chance(world, 10);
    } else {
        request.args.job_get.job = 1 + chance(world, 40);
        if (request.method == API_METHOD_JOB_WAIT)
            request.args.job_wait.timeout_ms = chance(world, 2000);
    }
    vmms_core_call(world->core, world->next_call++, &request, "uid:0");
    take_effects(world);
}

/* Now and then much time passes. */
static void tick(struct world *world)
{
    if (world->is_calm || chance(world, 8) == 0)
        world->clock += chance(world, 3000) * 1000000;
    vmms_core_tick(world->core);
    take_effects(world);
}

static void fill_auto(struct world *world, struct api_settings *settings)
{
    settings->has |= API_SETTINGS_HAS_AUTO_RECOVERY | API_SETTINGS_HAS_AUTO_STOP |
                     API_SETTINGS_HAS_AUTO_START | API_SETTINGS_HAS_AUTO_START_SEQUENCE |
                     API_SETTINGS_HAS_AUTO_STOP_TIMEOUT;
    settings->auto_recovery = (enum api_auto_recovery)chance(world, 2);
    settings->auto_stop = (enum api_auto_stop)chance(world, 3);
    settings->auto_start = (enum api_auto_start)chance(world, 3);
    settings->auto_start_sequence = (uint32_t)chance(world, 3);
    settings->auto_stop_timeout = 1 + (uint32_t)chance(world, 20);
    if (chance(world, 3) == 0)
        settings->auto_start_after = strdup("vm0, vm1");
}

static void fill_settings(struct world *world, struct api_settings *settings)
{
    if (chance(world, 2))
        fill_auto(world, settings);
    if (chance(world, 2)) {
        settings->has |= API_SETTINGS_HAS_CPU_COUNT;
        settings->cpu_count = 1 + (uint32_t)chance(world, 4);
    }
    if (chance(world, 2)) {
        settings->has |= API_SETTINGS_HAS_BOOT_KERNEL;
        settings->boot_kernel = strdup("/kernel");
    }
    if (chance(world, 4) == 0) {
        settings->has |= API_SETTINGS_HAS_INTEGRATION_SHUTDOWN;
        settings->integration_shutdown = chance(world, 2);
    }
    if (chance(world, 3) == 0) {
        settings->has |= API_SETTINGS_HAS_MEMORY_STARTUP;
        settings->memory_startup = (1 + chance(world, 16)) << 30;
    }
}

static char *device_ref(struct world *world)
{
    char *text;

    hv_assert(asprintf(&text, "%u:%u", (unsigned)chance(world, 3), (unsigned)chance(world, 3)) > 0);
    return text;
}

static char *image_path(struct world *world)
{
    char *text;

    hv_assert(asprintf(&text, "/image%u", (unsigned)chance(world, 6)) > 0);
    return text;
}

static void fill_device(struct world *world, struct api_new_device *device)
{
    device->kind = (enum api_device_kind)chance(world, 3);
    device->read_only = chance(world, 2);
    if (device->kind != API_DEVICE_KIND_SCSI && chance(world, 4))
        device->path = image_path(world);
    if (chance(world, 3) == 0) {
        device->has |= API_NEW_DEVICE_HAS_CONTROLLER;
        device->controller = (uint32_t)chance(world, 4);
    }
}

static char *kvp_key(struct world *world)
{
    char *text;

    hv_assert(asprintf(&text, "key%u", (unsigned)chance(world, 3)) > 0);
    return text;
}

static char **fill_key(struct world *world, size_t *ret_n)
{
    char **keys = calloc(1, sizeof(*keys));

    hv_assert(keys);
    keys[0] = kvp_key(world);
    *ret_n = 1;
    return keys;
}

/* The arguments for new pairs and for others are alike. */
static void fill_pair(struct world *world, struct api_guest_add_kvp_args *args)
{
    args->items = calloc(1, sizeof(*args->items));
    hv_assert(args->items);
    args->n_items = 1;
    args->items[0].key = kvp_key(world);
    args->items[0].value = kvp_key(world);
}

static void fill_other(struct world *world, struct api_request *request)
{
    union api_args *args = &request->args;

    if (request->method == API_METHOD_VM_ADD_DEVICE) {
        fill_device(world, &args->vm_add_device.settings);
        args->vm_add_device.stage = chance(world, 2);
    } else if (request->method == API_METHOD_VM_REMOVE_DEVICE) {
        args->vm_remove_device.device = device_ref(world);
        args->vm_remove_device.stage = chance(world, 2);
    } else if (request->method == API_METHOD_VM_MODIFY_DEVICE) {
        args->vm_modify_device.device = device_ref(world);
        args->vm_modify_device.settings.path = chance(world, 2) ? image_path(world) : strdup("");
    } else if (request->method == API_METHOD_HOST_STOP_VMS) {
        args->host_stop_vms.wait = chance(world, 2);
        args->host_stop_vms.plan = chance(world, 8) != 0; /* it ends everything */
    } else if (request->method == API_METHOD_GUEST_SHUTDOWN)
        args->guest_shutdown.wait = chance(world, 2);
    else if (request->method == API_METHOD_GUEST_REBOOT)
        args->guest_reboot.wait = chance(world, 2);
    else if (request->method == API_METHOD_GUEST_REMOVE_KVP)
        args->guest_remove_kvp.keys = fill_key(world, &args->guest_remove_kvp.n_keys);
    else if (request->method == API_METHOD_GUEST_ADD_KVP ||
             request->method == API_METHOD_GUEST_MODIFY_KVP)
        fill_pair(world, &args->guest_add_kvp);
}

static void fill_save(struct world *world, struct api_vm_save_args *args)
{
    args->wait = chance(world, 2);
    if (chance(world, 3) == 0)
        args->deadline_ms = 1 + chance(world, 2000);
    if (chance(world, 4) == 0)
        args->idempotency_key = some_path(world);
}

static void set_flag(struct world *world, struct api_request *request, const char *name)
{
    const struct api_field *field = api_record_find(api_methods[request->method].args, name, NULL);

    if (field)
        *(bool *)((char *)&request->args + field->offset) = chance(world, 8) == 0;
}

static void put_group_op(struct world *world, FILE *out)
{
    unsigned group = (unsigned)chance(world, GROUPS), which = (unsigned)chance(world, 6);
    hv_autofree char *other = which < 2 ? group_name(world) : member_name(world);

    if (which == 0)
        (void)fprintf(out,
                      "{\"method\":\"group.create\",\"params\":{\"name\":\"g%u\",\"kind\":\"%s\"}}",
                      group, chance(world, 2) ? "vm" : "management");
    else if (which == 1)
        (void)fprintf(out,
                      "{\"method\":\"group.configure\",\"params\":{\"group\":\"g%u\","
                      "\"name\":\"%s\",\"notes\":\"%s\"}}",
                      group, other, other);
    else if (which == 2)
        (void)fprintf(out, "{\"method\":\"group.delete\",\"params\":{\"group\":\"g%u\"}}", group);
    else
        (void)fprintf(
            out,
            "{\"method\":\"group.%s_member\",\"params\":{\"group\":\"g%u\",\"member\":\"%s\"}}",
            which == 3 ? "remove" : "add", group, other);
}

/* A call of a transaction, as JSON; some of them are nonsense. */
static void put_op(struct world *world, FILE *out)
{
    unsigned vm = (unsigned)chance(world, NAMES), other = (unsigned)chance(world, NAMES);

    if (chance(world, 4) == 0) {
        put_group_op(world, out);
        return;
    }
    switch (chance(world, 14)) {
    case 12: (void)fprintf(out, "{\"method\":\"vm.save\",\"params\":{\"vm\":\"vm%u\"}}", vm); break;
    case 0:
        (void)fprintf(out, "{\"method\":\"vm.create\",\"params\":{\"name\":\"vm%u\"}}", vm);
        break;
    case 1:
        (void)fprintf(out,
                      "{\"method\":\"vm.configure\",\"params\":{\"vm\":\"vm%u\",\"settings\":"
                      "{\"name\":\"vm%u\",\"boot.kernel\":\"/kernel\"},\"stage\":true}}",
                      vm, other);
        break;
    case 2:
        (void)fprintf(out, "{\"method\":\"vm.delete\",\"params\":{\"vm\":\"vm%u\"}}", vm);
        break;
    case 3:
        (void)fprintf(out,
                      "{\"method\":\"vm.add_device\",\"params\":{\"vm\":\"vm%u\",\"settings\":"
                      "{\"path\":\"/image%u\"},\"stage\":true}}",
                      vm, other);
        break;
    case 4:
        (void)fprintf(out,
                      "{\"method\":\"vm.remove_device\",\"params\":{\"vm\":\"vm%u\","
                      "\"device\":\"0:%u\"}}",
                      vm, other);
        break;
    case 5: (void)fprintf(out, "{\"method\":\"vm.start\",\"params\":{\"vm\":\"vm%u\"}}", vm); break;
    case 6:
        (void)fprintf(out, "{\"method\":\"vm.turn_off\",\"params\":{\"vm\":\"vm%u\"}}", vm);
        break;
    case 7:
        (void)fprintf(out,
                      "{\"method\":\"vm.configure\",\"params\":{\"vm\":\"$0.vm\","
                      "\"settings\":{\"cpu.count\":%u}}}",
                      other + 1);
        break;
    case 8:
        (void)fprintf(out,
                      "{\"method\":\"image.resize\",\"params\":{\"path\":\"/images/%u.vhdx\","
                      "\"size_bytes\":2097152}}",
                      (unsigned)chance(world, 8));
        break;
    case 9:
    case 13:
        (void)fprintf(out,
                      "{\"method\":\"image.create\",\"params\":{\"path\":\"/images/%u.vhdx\","
                      "\"size_bytes\":1048576}}",
                      (unsigned)chance(world, 8));
        break;
    case 10:
        (void)fprintf(out,
                      "{\"method\":\"vm.add_device\",\"params\":{\"vm\":\"vm%u\",\"settings\":"
                      "{\"path\":\"$0.path\"}}}",
                      vm);
        break;
    default:
        (void)fprintf(out, "{\"method\":\"vm.pause\",\"params\":{\"vm\":\"vm%u\"}}", vm);
        break;
    }
}

static void transact(struct world *world)
{
    struct api_request request = { .method = API_METHOD_TX_APPLY };
    size_t count = 1 + chance(world, 5), length;
    FILE *out = open_memstream(&request.args.tx_apply.ops, &length);

    hv_assert(out);
    (void)fputc('[', out);
    for (size_t i = 0; i < count; i++) {
        (void)fputs(i ? "," : "", out);
        put_op(world, out);
    }
    (void)fputc(']', out);
    hv_assert(fclose(out) == 0);
    request.args.tx_apply.plan = chance(world, 6) == 0;
    request.args.tx_apply.wait = chance(world, 2);
    request.args.tx_apply.queue = chance(world, 4) == 0;
    if (chance(world, 3) == 0)
        request.args.tx_apply.deadline_ms = 1 + chance(world, 3000);
    if (chance(world, 3) == 0)
        request.args.tx_apply.idempotency_key = some_path(world);
    vmms_core_call(world->core, world->next_call++, &request, "uid:0");
    take_effects(world);
}

static void call(struct world *world)
{
    static const enum api_method methods[] = {
        API_METHOD_VM_CREATE,
        API_METHOD_VM_CREATE,
        API_METHOD_VM_CONFIGURE,
        API_METHOD_VM_DELETE,
        API_METHOD_VM_START,
        API_METHOD_VM_START,
        API_METHOD_VM_START,
        API_METHOD_VM_TURN_OFF,
        API_METHOD_VM_PAUSE,
        API_METHOD_VM_RESUME,
        API_METHOD_VM_RESET,
        API_METHOD_VM_GET,
        API_METHOD_VM_LIST,
        API_METHOD_HOST_PING,
        API_METHOD_VM_STATS,
        API_METHOD_HOST_HELLO,
        API_METHOD_VM_ADD_DEVICE,
        API_METHOD_VM_ADD_DEVICE,
        API_METHOD_VM_REMOVE_DEVICE,
        API_METHOD_VM_MODIFY_DEVICE,
        API_METHOD_GUEST_SHUTDOWN,
        API_METHOD_GUEST_REBOOT,
        API_METHOD_GUEST_GET,
        API_METHOD_GUEST_ADD_KVP,
        API_METHOD_GUEST_MODIFY_KVP,
        API_METHOD_GUEST_REMOVE_KVP,
        API_METHOD_HOST_STOP_VMS,
        API_METHOD_VM_SAVE,
        API_METHOD_VM_SAVE,
        API_METHOD_VM_DISCARD_SAVED_STATE,
        API_METHOD_CONSOLE_CTRL_ALT_DEL,
    };
    struct api_request request = { .method = methods[chance(world, HV_ARRAY_SIZE(methods))] };
    const struct api_field *vm = api_record_find(api_methods[request.method].args, "vm", NULL);
    char name[16], *copy;

    (void)snprintf(name, sizeof(name), "vm%u", (unsigned)chance(world, NAMES));
    if (vm) {
        copy = strdup(name);
        memcpy((char *)&request.args + vm->offset, &copy, sizeof(copy));
    }
    if (request.method == API_METHOD_VM_CREATE) {
        request.args.vm_create.name = strdup(name);
        request.args.vm_create.plan = chance(world, 8) == 0;
        fill_settings(world, &request.args.vm_create.settings);
    } else if (request.method == API_METHOD_VM_CONFIGURE) {
        fill_settings(world, &request.args.vm_configure.settings);
        request.args.vm_configure.stage = chance(world, 2);
        request.args.vm_configure.unstage = chance(world, 8) == 0;
        if (chance(world, 4) == 0) {
            (void)snprintf(name, sizeof(name), "vm%u", (unsigned)chance(world, NAMES));
            request.args.vm_configure.settings.has |= API_SETTINGS_HAS_NAME;
            request.args.vm_configure.settings.name = strdup(name);
        }
    } else if (request.method == API_METHOD_VM_SAVE) {
        fill_save(world, &request.args.vm_save);
    } else if (request.method == API_METHOD_VM_LIST) {
        request.args.vm_list.limit = 1 + (uint32_t)chance(world, 4);
    } else {
        fill_other(world, &request);
    }
    set_flag(world, &request, "queue");
    set_flag(world, &request, "plan");
    send(world, &request);
}

void world_step(struct world *world)
{
    uint64_t what = chance(world, 12);

    if (what == 0 && chance(world, 3) == 0)
        transact(world);
    else if (what == 0 && chance(world, 2))
        group_call(world);
    else if (what == 1 && chance(world, 3) == 0)
        call_again(world);
    else if (what < 2)
        call(world);
    else if (what == 10)
        job_call(world);
    else if (what == 11)
        step_job(world);
    else if (what == 9)
        tick(world);
    else if (what < 5)
        finish_pending(world);
    else
        step_worker(world);
    vmms_core_each_vm(world->core, NULL, check_file, world);
}

static bool is_settled(const struct world *world)
{
    if (world->n_pending)
        return false;
    for (size_t i = 0; i < MAX_JOBS; i++) {
        if (world->jobs[i].id)
            return false;
    }
    if (vmms_core_is_ticking(world->core))
        return false;
    for (size_t i = 0; i < MAX_WORKERS; i++) {
        const struct worker *worker = &world->workers[i];

        if (worker->state != W_NONE &&
            (worker->is_asked || worker->is_killed || worker->state == W_SPAWNING ||
             worker->state == W_ALIVE || worker->state == W_STOPPED || worker->state == W_LOST ||
             worker->state == W_FOUND || worker->state == W_SAVING || worker->state == W_SAVED))
            return false;
    }
    return true;
}

void world_settle(struct world *world)
{
    world->is_calm = true;
    for (int i = 0; i < 200000 && !is_settled(world); i++) {
        finish_pending(world);
        step_worker(world);
        step_job(world);
        tick(world);
    }
    hv_assert(is_settled(world));
    compare_groups(world);
    hv_assert(!world->core->jobs.active); /* no job runs for ever */
    world->is_calm = false;
}
