/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/core_host.h"

#include "api/gen/tables.h"
#include "vmmsd/core/core_priv.h"

#include <stdio.h>
#include <string.h>

static uint64_t now(void *opaque)
{
    return ((struct core_host *)opaque)->clock;
}

static void fill(void *opaque, void *ret, size_t length)
{
    memset(ret, (int)++((struct core_host *)opaque)->chance, length);
}

struct core_host *core_host_new(void)
{
    struct core_host *host = calloc(1, sizeof(*host));
    const struct vmms_env env = { host, now, now, fill };

    hv_assert(host);
    host->clock = UINT64_C(3600000000000);
    host->guests_obey = true;
    hv_assert(vmms_core_new(&env, &host->core) == 0);
    hv_assert(vmms_core_set_host(host->core, "host", "boot", "0", 2, UINT64_C(64) << 30) == 0);
    return host;
}

struct core_host *core_host_free(struct core_host *host)
{
    vmms_effect_free(host->reply);
    vmms_core_free(host->core);
    free(host);
    return NULL;
}

static struct vmms_vm *vm_of(struct core_host *host, const char *name)
{
    struct vmms_vm *vm = vmms_look_up(host->core, name);

    hv_assert(vm);
    return vm;
}

enum api_vm_state core_host_state(struct core_host *host, const char *name)
{
    return vm_of(host, name)->row.state;
}

const char *core_host_incarnation(struct core_host *host, const char *name)
{
    return vm_of(host, name)->row.incarnation;
}

void core_host_load(struct core_host *host, const char *name, enum api_vm_state state,
                    enum vmms_mark mark, struct api_settings settings)
{
    struct vmms_row row = { .state = state, .generation = 1, .created_ms = 1, .mark = mark };

    (void)snprintf(row.id, sizeof(row.id), "00000000-0000-4000-8000-%012u", ++host->n_loaded);
    row.saved = state == API_VM_STATE_SAVING ? VMMS_SAVED_STALE : VMMS_SAVED_NONE;
    if (state != API_VM_STATE_OFF)
        (void)snprintf(row.incarnation, sizeof(row.incarnation), "00000000-0000-4000-9000-%012u",
                       host->n_loaded);
    row.settings = settings;
    row.settings.name = strdup(name);
    row.settings.boot_kernel = strdup("/kernel");
    row.settings.has |= API_SETTINGS_HAS_NAME | API_SETTINGS_HAS_BOOT_KERNEL;
    hv_assert(vmms_core_load(host->core, &row) == 0);
}

static void note(char *text, const char *first, const char *second)
{
    size_t length = strlen(text);

    (void)snprintf(text + length, HOST_TEXT_BYTES - length, "%s%s", first, second);
}

static void tell(struct core_host *host, const struct vmms_row *row, struct vmms_fact *fact)
{
    vmms_core_fact(host->core, row->id, fact);
}

static void end(struct core_host *host, const struct vmms_row *row, const char *cause)
{
    struct vmms_fact *fact = vmms_fact_new(VMMS_FACT_GONE, row->incarnation);

    fact->cause = strdup(cause);
    tell(host, row, fact);
}

static void spawn(struct core_host *host, const struct vmms_row *row)
{
    struct vmms_fact *fact = vmms_fact_new(VMMS_FACT_SPAWNED, row->incarnation);

    note(host->starts, row->settings.name, " ");
    tell(host, row, fact);
    fact = vmms_fact_new(VMMS_FACT_GREETED, row->incarnation);
    fact->state = strdup("ready");
    tell(host, row, fact);
}

static void answer(struct core_host *host, const struct vmms_effect *effect, bool is_refused)
{
    struct vmms_fact *fact = vmms_fact_new(VMMS_FACT_ANSWER, effect->row.incarnation);

    fact->verb = effect->verb;
    if (is_refused)
        api_error_set(&fact->error, API_E_GUEST_NOT_READY, "x", NULL, "No.");
    tell(host, &effect->row, fact);
}

static void save_ends(struct core_host *host, const struct vmms_row *row, enum api_error_code code)
{
    struct vmms_fact *fact = vmms_fact_new(VMMS_FACT_ANSWER, row->incarnation);

    fact->verb = VMMS_WORKER_SAVE;
    api_error_set(&fact->error, code, "x", NULL, "It was stopped.");
    tell(host, row, fact);
}

static void ask(struct core_host *host, const struct vmms_effect *effect)
{
    switch (effect->verb) {
    case VMMS_WORKER_START:
        if (!host->starts_hang)
            answer(host, effect, host->starts_fail);
        break;
    case VMMS_WORKER_TURN_OFF: end(host, &effect->row, "turn_off"); break;
    case VMMS_WORKER_SHUT_DOWN:
        answer(host, effect, !host->guests_obey);
        if (host->guests_obey)
            end(host, &effect->row, "guest_power_off");
        break;
    case VMMS_WORKER_CANCEL_SAVE:
        if (host->is_saving)
            save_ends(host, &effect->row, API_E_CANCELLED);
        break;
    case VMMS_WORKER_SAVE:
        host->is_saving = host->saves_hang;
        if (host->saves_hang)
            break;
        if (host->saves_fail)
            answer(host, effect, true);
        else
            end(host, &effect->row, "save");
        break;
    default: answer(host, effect, false); break;
    }
}

static void commit(struct core_host *host, const struct vmms_change *change)
{
    for (size_t i = 0; i < change->n_events; i++) {
        note(host->events, change->events[i].type, " ");
        note(host->events, change->events[i].vm_name ? change->events[i].vm_name : "-", "\n");
    }
    host->commits++;
    vmms_core_committed(host->core, change->id, host->seq + 1, NULL);
    host->seq += change->n_events;
}

static void carry_out(struct core_host *host, struct vmms_effect *effect)
{
    switch (effect->kind) {
    case VMMS_EFFECT_REPLY:
        host->replies++;
        vmms_effect_free(host->reply);
        host->reply = effect;
        return;
    case VMMS_EFFECT_COMMIT: commit(host, effect->change); break;
    case VMMS_EFFECT_SPAWN: spawn(host, &effect->row); break;
    case VMMS_EFFECT_ASK_WORKER: ask(host, effect); break;
    case VMMS_EFFECT_KILL_WORKER: end(host, &effect->row, "killed"); break;
    case VMMS_EFFECT_TELL_PROGRESS: host->progress++; break;
    case VMMS_EFFECT_LOOK_FOR_KVP:
        host->asked++;
        if (host->has_pair)
            vmms_core_kvp_found(host->core, effect->for_vm, effect->token);
        break;
    default: break;
    }
    vmms_effect_free(effect);
}

void core_host_run(struct core_host *host)
{
    struct vmms_effect *effect;
    const char *broken;

    while ((effect = vmms_core_take_effect(host->core)))
        carry_out(host, effect);
    broken = vmms_core_check(host->core);
    if (broken)
        (void)fprintf(stderr, "not so: %s\n", broken);
    hv_assert(!broken);
}

void core_host_begin(struct core_host *host, bool with_boot)
{
    if (with_boot)
        vmms_core_booted(host->core);
    vmms_core_loaded(host->core, 0, 0);
    core_host_run(host);
    vmms_core_opened(host->core);
    core_host_run(host);
}

void core_host_pass(struct core_host *host, uint64_t ms)
{
    for (uint64_t at = 0; at < ms; at += 100) {
        host->clock += 100000000;
        vmms_core_tick(host->core);
        core_host_run(host);
    }
}

void core_host_call(struct core_host *host, struct api_request *request)
{
    vmms_core_call(host->core, ++host->last_call, request, "uid:0");
    core_host_run(host);
}

void core_host_verb(struct core_host *host, enum api_method method, const char *name)
{
    const struct api_field *field = api_record_find(api_methods[method].args, "vm", NULL);
    struct api_request request = { .method = method };
    char *copy = strdup(name);

    memcpy((char *)&request.args + field->offset, &copy, sizeof(copy));
    core_host_call(host, &request);
}

void core_host_fact(struct core_host *host, const char *name, struct vmms_fact *fact)
{
    tell(host, &vm_of(host, name)->row, fact);
    core_host_run(host);
}

void core_host_end(struct core_host *host, const char *name, const char *cause)
{
    end(host, &vm_of(host, name)->row, cause);
    core_host_run(host);
}
