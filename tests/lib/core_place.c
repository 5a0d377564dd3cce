/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/core_place.h"

#include "api/gen/tables.h"
#include "tests/lib/cmocka.h"

#include <stdio.h>
#include <string.h>

static const char on_id[] = "00000000-0000-4000-8000-000000000001";
static const char off_id[] = "00000000-0000-4000-8000-000000000002";
static const char disk_id[] = "00000000-0000-4000-8000-00000000000d";

static uint64_t now(void *opaque)
{
    return ((struct core_place *)opaque)->clock += 1000000;
}

static void fill(void *opaque, void *ret, size_t length)
{
    struct core_place *place = opaque;

    place->chance++;
    memset(ret, 0, length);
    memcpy(ret, &place->chance, sizeof(place->chance));
}

/* The store */

static void store_row(struct core_place *place, const struct vmms_change *change)
{
    size_t at = 0;

    if (change->kind == VMMS_ROW_NONE)
        return;
    while (at < place->n_rows && strcmp(place->rows[at].id, change->row.id) != 0)
        at++;
    assert_true((change->kind == VMMS_ROW_INSERT) == (at == place->n_rows));
    if (at < place->n_rows)
        vmms_row_fini(&place->rows[at]);
    else
        place->n_rows++;
    assert_true(place->n_rows <= CORE_PLACE_MAX);
    if (change->kind == VMMS_ROW_DELETE)
        place->rows[at] = place->rows[--place->n_rows];
    else
        assert_int_equal(vmms_row_copy(&change->row, &place->rows[at]), 0);
}

static void store_job(struct core_place *place, const struct vmms_change *change)
{
    size_t at = 0;

    if (change->job_kind == VMMS_JOB_ROW_NONE)
        return;
    while (at < place->n_jobs && place->jobs[at].id != change->job.id)
        at++;
    assert_true((change->job_kind == VMMS_JOB_ROW_INSERT) == (at == place->n_jobs));
    if (at < place->n_jobs)
        vmms_job_row_fini(&place->jobs[at]);
    else
        place->n_jobs++;
    assert_true(place->n_jobs <= CORE_PLACE_MAX && change->job_kind != VMMS_JOB_ROW_DELETE);
    assert_int_equal(vmms_job_row_copy(&change->job, &place->jobs[at]), 0);
}

/* Files */

char **core_place_file(struct core_place *place, const char *path)
{
    for (size_t i = 0; i < CORE_PLACE_MAX; i++) {
        if (place->files[i] && strcmp(place->files[i], path) == 0)
            return &place->files[i];
    }
    return NULL;
}

static void make_file(struct core_place *place, const char *path)
{
    assert_null(core_place_file(place, path));
    for (size_t i = 0; i < CORE_PLACE_MAX; i++) {
        if (place->files[i])
            continue;
        place->files[i] = strdup(path);
        return;
    }
    fail_msg("too many files");
}

static void remove_file(struct core_place *place, const char *path)
{
    char **file = core_place_file(place, path);

    if (!file)
        return;
    free(*file);
    *file = NULL;
}

/* The worker */

struct api_device *core_place_disk(struct core_place *place, const char *disk)
{
    for (size_t i = 0; i < place->n_disks; i++) {
        if (strcmp(place->disks[i].id, disk) == 0)
            return &place->disks[i];
    }
    return NULL;
}

static enum api_error_code change_disk(struct core_place *place, const struct vmms_effect *effect)
{
    const struct api_device *device = &effect->device;
    struct api_device *disk = core_place_disk(place, device->id);

    if (place->refused && device->path && strcmp(device->path, place->refused) == 0 &&
        effect->verb != VMMS_WORKER_REMOVE_DISK)
        return API_E_FAILED;
    if (effect->verb == VMMS_WORKER_ADD_DISK) {
        if (disk)
            return API_E_ALREADY_EXISTS;
        assert_int_equal(api_device_copy(device, &place->disks[place->n_disks++]), 0);
        return API_E_NONE;
    }
    if (!disk)
        return API_E_NOT_FOUND;
    api_device_fini(disk);
    if (effect->verb == VMMS_WORKER_REMOVE_DISK)
        *disk = place->disks[--place->n_disks];
    else
        assert_int_equal(api_device_copy(device, disk), 0);
    return API_E_NONE;
}

/* The service's life */

/* Between two of these anything may end. */
static bool is_over(struct core_place *place)
{
    if (place->instants == 0)
        place->is_dead = true;
    if (place->instants > 0)
        place->instants--;
    return place->is_dead;
}

void core_place_take_effects(struct core_place *place)
{
    struct vmms_effect *effect;

    while ((effect = vmms_core_take_effect(place->core))) {
        assert_true(place->n_queue < CORE_PLACE_QUEUE);
        place->queue[place->n_queue++] = effect;
    }
    assert_null(vmms_core_check(place->core));
}

static void committed(struct core_place *place, struct vmms_change *change)
{
    uint64_t first = place->seq + 1;

    for (const struct vmms_change *at = change; at; at = at->next) {
        store_row(place, at);
        store_job(place, at);
    }
    place->seq += vmms_change_count_events(change);
    if (!is_over(place))
        vmms_core_committed(place->core, change->id, first, NULL);
}

void core_place_look_at_files(struct core_place *place, struct vmms_effect *effect)
{
    for (size_t i = 0; i < effect->n_files; i++) {
        struct vmms_file *file = &effect->files[i];
        bool is_there = core_place_file(place, file->path) != NULL;

        file->is_regular = is_there;
        file->is_writable = true;
        file->looks = VMMS_LOOKS_VHDX;
        file->inode = strlen(file->path) * 256 + (uint8_t)file->path[1];
        file->errnum = is_there == file->is_made ? (is_there ? EEXIST : ENOENT) : 0;
    }
    vmms_core_files_checked(place->core, effect->call, effect->files, effect->n_files);
}

static void tell_job(struct core_place *place, uint64_t job, enum vmms_job_fact_kind kind,
                     char *result, enum api_error_code code)
{
    struct vmms_job_fact fact = { .kind = kind, .job = job, .result = result };

    if (code)
        api_error_set(&fact.error, code, "x", NULL, "It went wrong.");
    vmms_core_job_fact(place->core, &fact);
}

static const char *path_of(const struct core_place *place, uint64_t job)
{
    for (size_t i = 0; i < place->n_jobs; i++) {
        if (place->jobs[i].id == job)
            return place->jobs[i].object;
    }
    fail_msg("no job %llu is stored", (unsigned long long)job);
    return "";
}

static void work(struct core_place *place, const struct vmms_effect *effect)
{
    const char *path = path_of(place, effect->job);
    char part[80];

    (void)snprintf(part, sizeof(part), "%s.part", path);
    if (effect->kind == VMMS_EFFECT_RUN_JOB) {
        make_file(place, part);
        if (!is_over(place) && place->stopped != effect->job)
            tell_job(place, effect->job, VMMS_JOB_WORKED, strdup("{}"), API_E_NONE);
        return;
    }
    if (effect->kind == VMMS_EFFECT_FINISH_JOB && core_place_file(place, part)) {
        make_file(place, path);
        remove_file(place, part);
    }
    if (effect->kind == VMMS_EFFECT_UNDO_JOB || effect->kind == VMMS_EFFECT_CANCEL_JOB)
        remove_file(place, part);
    if (effect->kind == VMMS_EFFECT_UNDO_JOB && effect->text)
        remove_file(place, path);
    if (!is_over(place))
        tell_job(place, effect->job, VMMS_JOB_ENDED, NULL,
                 effect->kind == VMMS_EFFECT_CANCEL_JOB ? API_E_CANCELLED : API_E_NONE);
}

static void tell_worker_fact(struct core_place *place, const struct vmms_row *row,
                             enum vmms_fact_kind kind, enum vmms_worker_verb verb,
                             const char *state, enum api_error_code code)
{
    struct vmms_fact *fact = vmms_fact_new(kind, row->incarnation);

    fact->verb = verb;
    fact->pid = 1;
    fact->state = state ? strdup(state) : NULL;
    fact->is_adoption = state && strcmp(state, "running") == 0;
    if (code)
        api_error_set(&fact->error, code, "x", NULL, "The worker does not want to.");
    vmms_core_fact(place->core, row->id, fact);
}

static void ask_worker(struct core_place *place, const struct vmms_effect *effect)
{
    bool is_disk =
        effect->verb >= VMMS_WORKER_ADD_DISK && effect->verb <= VMMS_WORKER_CHANGE_MEDIUM;
    enum api_error_code code = is_disk ? change_disk(place, effect) : API_E_NONE;

    if (!is_over(place))
        tell_worker_fact(place, &effect->row, VMMS_FACT_ANSWER, effect->verb, NULL, code);
}

static void spawn(struct core_place *place, const struct vmms_effect *effect)
{
    tell_worker_fact(place, &effect->row, VMMS_FACT_SPAWNED, 0, NULL, API_E_NONE);
    tell_worker_fact(place, &effect->row, VMMS_FACT_GREETED, 0, "ready", API_E_NONE);
}

static void take_answer(struct core_place *place, const struct vmms_effect *effect)
{
    if (effect->call != 1)
        return;
    place->code = effect->error ? (int)effect->error->code : 0;
    place->index = effect->error ? effect->error->data.index : 0;
}

static void carry_out(struct core_place *place, struct vmms_effect *effect)
{
    switch (effect->kind) {
    case VMMS_EFFECT_REPLY: take_answer(place, effect); break;
    case VMMS_EFFECT_COMMIT: committed(place, effect->change); break;
    case VMMS_EFFECT_CHECK_FILES: core_place_look_at_files(place, effect); break;
    case VMMS_EFFECT_RUN_JOB:
    case VMMS_EFFECT_CANCEL_JOB:
    case VMMS_EFFECT_FINISH_JOB:
    case VMMS_EFFECT_UNDO_JOB: work(place, effect); break;
    case VMMS_EFFECT_ASK_WORKER: ask_worker(place, effect); break;
    case VMMS_EFFECT_SPAWN: spawn(place, effect); break;
    case VMMS_EFFECT_ADOPT:
        tell_worker_fact(place, &effect->row, VMMS_FACT_GREETED, 0, "running", API_E_NONE);
        break;
    default: break;
    }
}

void core_place_forget_service(struct core_place *place)
{
    for (size_t i = 0; i < place->n_queue; i++)
        vmms_effect_free(place->queue[i]);
    place->n_queue = 0;
    place->core = vmms_core_free(place->core);
}

void core_place_start_service(struct core_place *place)
{
    const struct vmms_env env = { place, now, now, fill };
    uint64_t last_job = 0;

    place->is_dead = false;
    assert_int_equal(vmms_core_new(&env, &place->core), 0);
    assert_int_equal(vmms_core_set_host(place->core, "h", "b", "0", 2, 8ull << 30), 0);
    for (size_t i = 0; i < place->n_rows; i++) {
        struct vmms_row row;

        assert_int_equal(vmms_row_copy(&place->rows[i], &row), 0);
        assert_int_equal(vmms_core_load(place->core, &row), 0);
    }
    for (size_t i = 0; i < place->n_jobs; i++) {
        struct vmms_job_row row;

        last_job = place->jobs[i].id;
        assert_int_equal(vmms_job_row_copy(&place->jobs[i], &row), 0);
        assert_int_equal(vmms_core_load_job(place->core, &row), 0);
    }
    vmms_core_loaded(place->core, place->seq, last_job);
    vmms_core_opened(place->core);
    core_place_take_effects(place);
}

bool core_place_run(struct core_place *place)
{
    for (int quiet = 0; quiet < 3 && !place->is_dead;) {
        struct vmms_effect *effect;

        if (!place->n_queue) {
            quiet++;
            vmms_core_tick(place->core);
            core_place_take_effects(place);
            continue;
        }
        if (is_over(place))
            break;
        quiet = 0;
        effect = place->queue[0];
        memmove(place->queue, place->queue + 1, --place->n_queue * sizeof(effect));
        carry_out(place, effect);
        vmms_effect_free(effect);
        if (!place->is_dead)
            core_place_take_effects(place);
    }
    return !place->is_dead;
}

static void put_row(struct core_place *place, const char *id, const char *name,
                    enum api_vm_state state)
{
    struct vmms_row *row = &place->rows[place->n_rows++];

    *row = (struct vmms_row){ .generation = 1, .created_ms = 1, .changed_ms = 1, .state = state };
    (void)snprintf(row->id, sizeof(row->id), "%s", id);
    if (state == API_VM_STATE_RUNNING)
        (void)snprintf(row->incarnation, sizeof(row->incarnation), "%s", id);
    row->settings.name = strdup(name);
    row->settings.boot_kernel = strdup("/kernel");
    row->settings.has = API_SETTINGS_HAS_NAME | API_SETTINGS_HAS_BOOT_KERNEL;
}

static void put_device(struct vmms_row *row, const char *id, enum api_device_kind kind,
                       uint32_t lun, const char *path)
{
    struct api_device device = { .id = strdup(id), .kind = kind };

    if (kind != API_DEVICE_KIND_SCSI) {
        device.has = API_DEVICE_HAS_LUN | (path ? API_DEVICE_HAS_FORMAT : 0);
        device.lun = lun;
        device.format = kind == API_DEVICE_KIND_DVD ? API_IMAGE_FORMAT_RAW : API_IMAGE_FORMAT_VHDX;
        device.path = path ? strdup(path) : NULL;
    }
    vmms_devices_insert(row, &device);
}

struct core_place *core_place_new(void)
{
    struct core_place *place = calloc(1, sizeof(*place));

    place->clock = UINT64_C(3600000000000);
    place->instants = -1;
    place->code = -1;
    make_file(place, "/kernel");
    make_file(place, "/old.vhdx");
    make_file(place, "/cd.iso");
    put_row(place, on_id, "on", API_VM_STATE_RUNNING);
    put_device(&place->rows[0], "00000000-0000-4000-8000-00000000000c", API_DEVICE_KIND_SCSI, 0,
               NULL);
    put_device(&place->rows[0], disk_id, API_DEVICE_KIND_DISK, 0, "/old.vhdx");
    put_device(&place->rows[0], "00000000-0000-4000-8000-00000000000e", API_DEVICE_KIND_DVD, 1,
               NULL);
    for (size_t i = 1; i < place->rows[0].n_devices; i++)
        assert_int_equal(
            api_device_copy(&place->rows[0].devices[i], &place->disks[place->n_disks++]), 0);
    put_row(place, off_id, "off", API_VM_STATE_OFF);
    core_place_start_service(place);
    (void)core_place_run(place);
    return place;
}

void core_place_free(struct core_place *place)
{
    core_place_forget_service(place);
    for (size_t i = 0; i < place->n_rows; i++)
        vmms_row_fini(&place->rows[i]);
    for (size_t i = 0; i < place->n_jobs; i++)
        vmms_job_row_fini(&place->jobs[i]);
    for (size_t i = 0; i < CORE_PLACE_MAX; i++)
        free(place->files[i]);
    for (size_t i = 0; i < place->n_disks; i++)
        api_device_fini(&place->disks[i]);
    free(place);
}

void core_place_apply(struct core_place *place, const char *ops)
{
    struct api_request request = { .method = API_METHOD_TX_APPLY };

    request.args.tx_apply.ops = strdup(ops);
    request.args.tx_apply.wait = true;
    vmms_core_call(place->core, 1, &request, "uid:0");
    core_place_take_effects(place);
}

const struct vmms_row *core_place_row(const struct core_place *place, const char *name)
{
    for (size_t i = 0; i < place->n_rows; i++) {
        if (strcmp(place->rows[i].settings.name, name) == 0)
            return &place->rows[i];
    }
    return NULL;
}

char *core_place_describe(const struct core_place *place)
{
    char *text;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    static const char *const names[] = { "on", "off", "web" };
    static const char *const files[] = { "/kernel", "/old.vhdx", "/cd.iso", "/new.vhdx",
                                         "/web.vhdx" };
    size_t n_files = 0;

    for (size_t i = 0; i < HV_ARRAY_SIZE(files); i++)
        (void)fprintf(out, "%s ",
                      core_place_file((struct core_place *)place, files[i]) ? files[i] : "-");
    for (size_t i = 0; i < CORE_PLACE_MAX; i++)
        n_files += place->files[i] != NULL;
    (void)fprintf(out, "%zu files\n", n_files);
    for (size_t i = 0; i < HV_ARRAY_SIZE(names); i++) {
        const struct vmms_row *row = core_place_row(place, names[i]);

        (void)fprintf(out, "%s %s:", names[i], row ? api_enum_vm_state.values[row->state] : "-");
        for (size_t at = 0; row && at < row->n_devices; at++)
            (void)fprintf(out, " %u:%s", row->devices[at].lun,
                          row->devices[at].path ? row->devices[at].path : "");
        (void)fprintf(out, "\n");
    }
    for (size_t lun = 0; lun < 4; lun++) {
        for (size_t i = 0; i < place->n_disks; i++) {
            if (place->disks[i].lun == lun)
                (void)fprintf(out, "worker %zu:%s\n", lun,
                              place->disks[i].path ? place->disks[i].path : "");
        }
    }
    assert_int_equal(fclose(out), 0);
    return text;
}
