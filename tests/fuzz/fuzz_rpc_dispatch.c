/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bodies of requests, from their bytes to the text of the answers, with a core in memory behind:
 * each call is answered once, each answer is JSON, and the core's invariants hold.
 *
 * Input: bodies, with NUL bytes between. One that begins with '!' meets a store that is full.
 */
#include "api/gen/tables.h"
#include "api/rpc/envelope.h"
#include "api/rpc/json.h"
#include "api/rpc/writer.h"
#include "vmmsd/core/core.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { MAX_EFFECTS = 20000, MAX_WORKERS = 64 };

struct world {
    struct vmms_core *core;
    uint64_t now_ns, calls, answers, seq;
    bool is_full;
    struct worker {
        char vm[HV_GUID_TEXT_BYTES], incarnation[HV_GUID_TEXT_BYTES];
    } workers[MAX_WORKERS];
    size_t n_workers;
};

static uint64_t now(void *opaque)
{
    struct world *world = opaque;

    return world->now_ns += 1000000;
}

static void fill(void *opaque, void *ret, size_t length)
{
    struct world *world = opaque;

    world->seq++;
    memset(ret, 0, length);
    memcpy(ret, &world->seq, length < sizeof(world->seq) ? length : sizeof(world->seq));
}

/* What was written is what a client can read. */
static void check_json(struct json_writer *out)
{
    static const struct json_limits *limits = &json_limits_reply;
    struct json_doc *doc = NULL;
    struct json_fault fault;
    size_t length;
    char *text;

    hv_assert(json_writer_take(out, &text, &length) == 0);
    hv_assert(json_parse(text, length, limits, &doc, &fault) == 0);
    json_doc_free(doc);
    free(text);
}

static void answer(const struct vmms_effect *effect)
{
    struct json_writer out = { 0 };

    if (effect->error)
        rpc_put_error(&out, "1", effect->error);
    else
        rpc_put_result(&out, "1", effect->method, &effect->result, effect->fields);
    check_json(&out);
}

static void store(struct world *world, struct vmms_effect *effect)
{
    struct api_error *error = NULL;
    uint64_t first = world->seq + 1;

    if (world->is_full)
        api_error_set(&error, API_E_DISK_FULL, "store.full", NULL, "The disk is full.");
    else
        world->seq += effect->change->n_events;
    vmms_core_committed(world->core, effect->change->id, first, error);
}

static void spawn(struct world *world, const struct vmms_effect *effect)
{
    struct vmms_fact *fact = vmms_fact_new(VMMS_FACT_SPAWNED, effect->row.incarnation);
    struct worker *worker = &world->workers[world->n_workers++ % MAX_WORKERS];

    memcpy(worker->vm, effect->row.id, sizeof(worker->vm));
    memcpy(worker->incarnation, effect->row.incarnation, sizeof(worker->incarnation));
    fact->pid = 7;
    vmms_core_fact(world->core, effect->row.id, fact);
    fact = vmms_fact_new(VMMS_FACT_GREETED, effect->row.incarnation);
    fact->state = strdup("defined");
    vmms_core_fact(world->core, effect->row.id, fact);
}

static void tell(struct world *world, const struct vmms_effect *effect, enum vmms_fact_kind kind)
{
    struct vmms_fact *fact = vmms_fact_new(kind, effect->row.incarnation);

    fact->verb = effect->verb;
    vmms_core_fact(world->core, effect->row.id, fact);
}

static void end_job(struct world *world, const struct vmms_effect *effect)
{
    struct vmms_job_fact fact = { .kind = VMMS_JOB_ENDED, .job = effect->job };

    vmms_core_job_fact(world->core, &fact);
}

static void look_at_files(struct world *world, struct vmms_effect *effect)
{
    for (size_t i = 0; i < effect->n_files; i++) {
        effect->files[i].is_regular = effect->files[i].is_writable = true;
        effect->files[i].inode = strlen(effect->files[i].path);
    }
    vmms_core_files_checked(world->core, effect->call, effect->files, effect->n_files);
}

static void carry_out(struct world *world, struct vmms_effect *effect)
{
    switch (effect->kind) {
    case VMMS_EFFECT_REPLY:
        answer(effect);
        world->answers++;
        break;
    case VMMS_EFFECT_SERVE: world->answers++; break;
    case VMMS_EFFECT_COMMIT: store(world, effect); break;
    case VMMS_EFFECT_CHECK_FILES: look_at_files(world, effect); break;
    case VMMS_EFFECT_SPAWN: spawn(world, effect); break;
    case VMMS_EFFECT_ASK_WORKER: tell(world, effect, VMMS_FACT_ANSWER); break;
    case VMMS_EFFECT_KILL_WORKER: tell(world, effect, VMMS_FACT_GONE); break;
    case VMMS_EFFECT_RUN_JOB:
    case VMMS_EFFECT_FINISH_JOB:
    case VMMS_EFFECT_UNDO_JOB: end_job(world, effect); break;
    default: break;
    }
    vmms_effect_free(effect);
}

static void drain(struct world *world)
{
    struct vmms_effect *effect;

    for (unsigned i = 0; i < MAX_EFFECTS && (effect = vmms_core_take_effect(world->core)); i++)
        carry_out(world, effect);
    hv_assert(!vmms_core_check(world->core));
    hv_assert(world->answers <= world->calls);
}

static void take_call(struct world *world, const struct json_value *value)
{
    struct api_error *error = NULL;
    struct json_writer out = { 0 };
    struct rpc_call call;

    if (rpc_call_read(value, &call, &error) == 0) {
        world->calls++;
        vmms_core_call(world->core, world->calls, &call.request, "uid:0");
        drain(world);
    } else {
        rpc_put_error(&out, call.id, error);
        check_json(&out);
        api_error_free(error);
    }
    rpc_call_fini(&call);
}

static void take_body(struct world *world, const char *body, size_t length)
{
    struct api_error *error = NULL;
    struct rpc_batch batch;

    world->is_full = length && *body == '!';
    if (rpc_batch_read(body + world->is_full, length - world->is_full, &batch, &error) == 0) {
        hv_assert(batch.count <= RPC_MAX_BATCH);
        for (const struct json_value *v = batch.first; v; v = batch.is_batch ? v->next : NULL)
            take_call(world, v);
        rpc_batch_fini(&batch);
    }
    api_error_free(error);
}

/* Whatever a call still waits for, it waits in vain. */
static void end_workers(struct world *world)
{
    for (size_t i = 0; i < world->n_workers && i < MAX_WORKERS; i++) {
        struct worker *worker = &world->workers[i];

        vmms_core_fact(world->core, worker->vm, vmms_fact_new(VMMS_FACT_GONE, worker->incarnation));
        drain(world);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    struct world world = { .now_ns = UINT64_C(1700000000000000000) };
    const struct vmms_env env = { &world, now, now, fill };

    hv_assert(vmms_core_new(&env, &world.core) == 0);
    hv_assert(vmms_core_set_host(world.core, "h", "b", "0", 2, UINT64_C(8) << 30) == 0);
    vmms_core_loaded(world.core, 0, 0);
    vmms_core_host_probed(world.core, NULL, "It is a test.");
    drain(&world);
    for (size_t at = 0; at < n;) {
        size_t length = strnlen((const char *)bytes + at, n - at);

        take_body(&world, (const char *)bytes + at, length);
        at += length + 1;
    }
    end_workers(&world);
    /* Who waits for what is over only in time is answered then. */
    world.is_full = false;
    for (unsigned i = 0; i < 64 && world.answers < world.calls; i++) {
        world.now_ns += UINT64_C(100000) * 1000000000;
        vmms_core_tick(world.core);
        drain(&world);
    }
    hv_assert(world.answers == world.calls || vmms_core_is_ticking(world.core));
    vmms_core_free(world.core);
    return 0;
}
