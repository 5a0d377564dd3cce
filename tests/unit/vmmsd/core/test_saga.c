/* SPDX-License-Identifier: Apache-2.0 */
/* Transactions that make files and change VMs that run: the service is ended at every instant of
 * them, once and twice, and what is there afterwards is all of it or nothing. */
#include "tests/lib/cmocka.h"

#include "api/gen/tables.h"
#include "vmmsd/core/core.h"

#include <stdio.h>
#include <string.h>

enum { MAX = 16, MAX_QUEUE = 256 };

/* What outlives the service: its database, files, and the worker of the VM "on". */
struct place {
    struct vmms_row rows[MAX];
    size_t n_rows;
    struct vmms_job_row jobs[MAX];
    size_t n_jobs;
    char *files[MAX];
    struct api_device disks[MAX]; /* of the worker */
    size_t n_disks;
    const char *refused; /* path of a disk that the worker does not take, or NULL */
    size_t stopped;      /* job whose work does not end by itself, or 0 */
    uint64_t seq, clock, chance;
    struct vmms_core *core;
    struct vmms_effect *queue[MAX_QUEUE];
    size_t n_queue;
    int instants; /* until the service ends; -1: it does not */
    bool is_dead;
    int code; /* of the answer; -1: none */
    uint32_t index;
};

static const char on_id[] = "00000000-0000-4000-8000-000000000001";
static const char off_id[] = "00000000-0000-4000-8000-000000000002";
static const char disk_id[] = "00000000-0000-4000-8000-00000000000d";

static uint64_t now(void *opaque)
{
    return ((struct place *)opaque)->clock += 1000000;
}

static void fill(void *opaque, void *ret, size_t length)
{
    struct place *place = opaque;

    place->chance++;
    memset(ret, 0, length);
    memcpy(ret, &place->chance, sizeof(place->chance));
}

/* The store */

static void store_row(struct place *place, const struct vmms_change *change)
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
    assert_true(place->n_rows <= MAX);
    if (change->kind == VMMS_ROW_DELETE)
        place->rows[at] = place->rows[--place->n_rows];
    else
        assert_int_equal(vmms_row_copy(&change->row, &place->rows[at]), 0);
}

static void store_job(struct place *place, const struct vmms_change *change)
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
    assert_true(place->n_jobs <= MAX && change->job_kind != VMMS_JOB_ROW_DELETE);
    assert_int_equal(vmms_job_row_copy(&change->job, &place->jobs[at]), 0);
}

/* Files */

static char **find_file(struct place *place, const char *path)
{
    for (size_t i = 0; i < MAX; i++) {
        if (place->files[i] && strcmp(place->files[i], path) == 0)
            return &place->files[i];
    }
    return NULL;
}

static void make_file(struct place *place, const char *path)
{
    assert_null(find_file(place, path));
    for (size_t i = 0; i < MAX; i++) {
        if (place->files[i])
            continue;
        place->files[i] = strdup(path);
        return;
    }
    fail_msg("too many files");
}

static void remove_file(struct place *place, const char *path)
{
    char **file = find_file(place, path);

    if (!file)
        return;
    free(*file);
    *file = NULL;
}

/* The worker */

static struct api_device *find_disk(struct place *place, const char *disk)
{
    for (size_t i = 0; i < place->n_disks; i++) {
        if (strcmp(place->disks[i].id, disk) == 0)
            return &place->disks[i];
    }
    return NULL;
}

static enum api_error_code change_disk(struct place *place, const struct vmms_effect *effect)
{
    const struct api_device *device = &effect->device;
    struct api_device *disk = find_disk(place, device->id);

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
static bool is_over(struct place *place)
{
    if (place->instants == 0)
        place->is_dead = true;
    if (place->instants > 0)
        place->instants--;
    return place->is_dead;
}

static void take_effects(struct place *place)
{
    struct vmms_effect *effect;

    while ((effect = vmms_core_take_effect(place->core))) {
        assert_true(place->n_queue < MAX_QUEUE);
        place->queue[place->n_queue++] = effect;
    }
    assert_null(vmms_core_check(place->core));
}

static void committed(struct place *place, struct vmms_change *change)
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

static void look_at_files(struct place *place, struct vmms_effect *effect)
{
    for (size_t i = 0; i < effect->n_files; i++) {
        struct vmms_file *file = &effect->files[i];
        bool is_there = find_file(place, file->path) != NULL;

        file->is_regular = is_there;
        file->is_writable = true;
        file->looks = VMMS_LOOKS_VHDX;
        file->inode = strlen(file->path) * 256 + (uint8_t)file->path[1];
        file->errnum = is_there == file->is_made ? (is_there ? EEXIST : ENOENT) : 0;
    }
    vmms_core_files_checked(place->core, effect->call, effect->files, effect->n_files);
}

static void tell_job(struct place *place, uint64_t job, enum vmms_job_fact_kind kind, char *result,
                     enum api_error_code code)
{
    struct vmms_job_fact fact = { .kind = kind, .job = job, .result = result };

    if (code)
        api_error_set(&fact.error, code, "x", NULL, "It went wrong.");
    vmms_core_job_fact(place->core, &fact);
}

static const char *path_of(const struct place *place, uint64_t job)
{
    for (size_t i = 0; i < place->n_jobs; i++) {
        if (place->jobs[i].id == job)
            return place->jobs[i].object;
    }
    fail_msg("no job %llu is stored", (unsigned long long)job);
    return "";
}

static void work(struct place *place, const struct vmms_effect *effect)
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
    if (effect->kind == VMMS_EFFECT_FINISH_JOB && find_file(place, part)) {
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

static void tell_worker_fact(struct place *place, const struct vmms_row *row,
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

static void ask_worker(struct place *place, const struct vmms_effect *effect)
{
    bool is_disk =
        effect->verb >= VMMS_WORKER_ADD_DISK && effect->verb <= VMMS_WORKER_CHANGE_MEDIUM;
    enum api_error_code code = is_disk ? change_disk(place, effect) : API_E_NONE;

    if (!is_over(place))
        tell_worker_fact(place, &effect->row, VMMS_FACT_ANSWER, effect->verb, NULL, code);
}

static void spawn(struct place *place, const struct vmms_effect *effect)
{
    tell_worker_fact(place, &effect->row, VMMS_FACT_SPAWNED, 0, NULL, API_E_NONE);
    tell_worker_fact(place, &effect->row, VMMS_FACT_GREETED, 0, "ready", API_E_NONE);
}

static void take_answer(struct place *place, const struct vmms_effect *effect)
{
    if (effect->call != 1)
        return;
    place->code = effect->error ? (int)effect->error->code : 0;
    place->index = effect->error ? effect->error->data.index : 0;
}

static void carry_out(struct place *place, struct vmms_effect *effect)
{
    switch (effect->kind) {
    case VMMS_EFFECT_REPLY: take_answer(place, effect); break;
    case VMMS_EFFECT_COMMIT: committed(place, effect->change); break;
    case VMMS_EFFECT_CHECK_FILES: look_at_files(place, effect); break;
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

static void forget_service(struct place *place)
{
    for (size_t i = 0; i < place->n_queue; i++)
        vmms_effect_free(place->queue[i]);
    place->n_queue = 0;
    place->core = vmms_core_free(place->core);
}

static void start_service(struct place *place)
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
    take_effects(place);
}

/* Until nothing is left to do, or it ends. Returns false when it ended. */
static bool run(struct place *place)
{
    for (int quiet = 0; quiet < 3 && !place->is_dead;) {
        struct vmms_effect *effect;

        if (!place->n_queue) {
            quiet++;
            vmms_core_tick(place->core);
            take_effects(place);
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
            take_effects(place);
    }
    return !place->is_dead;
}

static void put_row(struct place *place, const char *id, const char *name, enum api_vm_state state)
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

/* "on" runs with a disk at 0:0 and an empty drive at 0:1; "off" is off. */
static struct place *place_new(void)
{
    struct place *place = calloc(1, sizeof(*place));

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
    start_service(place);
    (void)run(place);
    return place;
}

static void place_free(struct place *place)
{
    forget_service(place);
    for (size_t i = 0; i < place->n_rows; i++)
        vmms_row_fini(&place->rows[i]);
    for (size_t i = 0; i < place->n_jobs; i++)
        vmms_job_row_fini(&place->jobs[i]);
    for (size_t i = 0; i < MAX; i++)
        free(place->files[i]);
    for (size_t i = 0; i < place->n_disks; i++)
        api_device_fini(&place->disks[i]);
    free(place);
}

static void apply(struct place *place, const char *ops)
{
    struct api_request request = { .method = API_METHOD_TX_APPLY };

    request.args.tx_apply.ops = strdup(ops);
    request.args.tx_apply.wait = true;
    vmms_core_call(place->core, 1, &request, "uid:0");
    take_effects(place);
}

#define ADD_NEW                                                                                    \
    "{\"method\":\"image.create\",\"params\":{\"path\":\"/new.vhdx\",\"size_bytes\":1048576}},"    \
    "{\"method\":\"vm.add_device\",\"params\":{\"vm\":\"on\",\"settings\":{\"path\":\"$0.path\"}}" \
    "}"
#define CHANGE_OTHERS                                                                              \
    "{\"method\":\"vm.remove_device\",\"params\":{\"vm\":\"on\",\"device\":\"0:0\"}},"             \
    "{\"method\":\"vm.modify_device\",\"params\":{\"vm\":\"on\",\"device\":\"0:1\","               \
    "\"settings\":{\"path\":\"/cd.iso\"}}}"

static const char ops[] =
    "[" ADD_NEW "," CHANGE_OTHERS ","
    "{\"method\":\"image.create\",\"params\":{\"path\":\"/web.vhdx\",\"size_bytes\":1048576}},"
    "{\"method\":\"vm.create\",\"params\":{\"name\":\"web\",\"settings\":{\"boot.kernel\":\"/"
    "kernel\"},\"devices\":[{\"path\":\"$4.path\"}]}},"
    "{\"method\":\"vm.delete\",\"params\":{\"vm\":\"off\"}},"
    "{\"method\":\"vm.start\",\"params\":{\"vm\":\"$5.vm\"}}]";

static const struct vmms_row *row_named(const struct place *place, const char *name)
{
    for (size_t i = 0; i < place->n_rows; i++) {
        if (strcmp(place->rows[i].settings.name, name) == 0)
            return &place->rows[i];
    }
    return NULL;
}

/* As text, so that two places can be compared: files, VMs with their disks, the worker's disks. */
static char *describe(const struct place *place)
{
    char *text;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    static const char *const names[] = { "on", "off", "web" };
    static const char *const files[] = { "/kernel", "/old.vhdx", "/cd.iso", "/new.vhdx",
                                         "/web.vhdx" };
    size_t n_files = 0;

    for (size_t i = 0; i < HV_ARRAY_SIZE(files); i++)
        (void)fprintf(out, "%s ", find_file((struct place *)place, files[i]) ? files[i] : "-");
    for (size_t i = 0; i < MAX; i++)
        n_files += place->files[i] != NULL;
    (void)fprintf(out, "%zu files\n", n_files);
    for (size_t i = 0; i < HV_ARRAY_SIZE(names); i++) {
        const struct vmms_row *row = row_named(place, names[i]);

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

static void no_job_is_open(const struct place *place)
{
    for (size_t i = 0; i < place->n_jobs; i++)
        assert_true(place->jobs[i].ended_ms);
}

/* The worker has exactly what the row of its VM says, under the same ids. */
static void worker_and_row_agree(struct place *place)
{
    const struct vmms_row *row = row_named(place, "on");

    assert_int_equal(row->n_devices, place->n_disks + 1);
    for (size_t i = 1; i < row->n_devices; i++)
        assert_non_null(find_disk(place, row->devices[i].id));
}

static char *described(bool is_done)
{
    struct place *place = place_new();
    char *text;

    if (is_done) {
        apply(place, ops);
        assert_true(run(place));
        assert_int_equal(place->code, 0);
        no_job_is_open(place);
    }
    text = describe(place);
    place_free(place);
    return text;
}

static void all_of_it_is_done(void **state)
{
    char *nothing = described(false), *all = described(true);

    assert_string_equal(nothing, "/kernel /old.vhdx /cd.iso - - 3 files\n"
                                 "on running: 0: 0:/old.vhdx 1:\noff off:\nweb -:\n"
                                 "worker 0:/old.vhdx\nworker 1:\n");
    assert_string_equal(all, "/kernel /old.vhdx /cd.iso /new.vhdx /web.vhdx 5 files\n"
                             "on running: 0: 1:/cd.iso 2:/new.vhdx\noff -:\n"
                             "web running: 0: 0:/web.vhdx\n"
                             "worker 1:/cd.iso\nworker 2:/new.vhdx\n");
    free(nothing);
    free(all);
}

/* Ends at its first-th instant, and at the second-th after that; then it runs on. Returns whether
 * it came to both. */
static bool is_whole_after(int first, int second, const char *refused, const char *all,
                           const char *nothing)
{
    struct place *place = place_new();
    bool has_ended = false, has_ended_twice = false;
    hv_autofree char *found = NULL;

    place->refused = refused;
    place->instants = first;
    apply(place, ops);
    if (!run(place)) {
        has_ended = true;
        forget_service(place);
        place->instants = second;
        start_service(place);
        if (!run(place)) {
            has_ended_twice = true;
            forget_service(place);
            place->instants = -1;
            start_service(place);
            assert_true(run(place));
        }
    }
    found = describe(place);
    if (strcmp(found, nothing) != 0 && (refused || strcmp(found, all) != 0))
        fail_msg("ended at %d and %d: neither all nor nothing:\n%s", first, second, found);
    no_job_is_open(place);
    worker_and_row_agree(place);
    assert_null(vmms_core_check(place->core));
    place_free(place);
    return second < 0 ? has_ended : has_ended_twice;
}

static void end_everywhere(const char *refused)
{
    char *nothing = described(false), *all = described(true);
    int first, second = 0, most = 0;

    for (first = 0; is_whole_after(first, -1, refused, all, nothing); first++) {
        for (second = 0; is_whole_after(first, second, refused, all, nothing); second++)
            ;
        most = second > most ? second : most;
    }
    assert_true(first > 30 && most > 5);
    free(nothing);
    free(all);
}

static void ended_at_any_instant_it_is_all_or_nothing(void **state)
{
    end_everywhere(NULL);
}

static void ended_while_it_is_taken_back_nothing_is_left(void **state)
{
    end_everywhere("/cd.iso");
}

static void a_step_that_fails_takes_all_back(void **state)
{
    char *nothing = described(false), *found;
    struct place *place = place_new();

    place->refused = "/cd.iso";
    apply(place, ops);
    assert_true(run(place));
    assert_int_equal(place->code, API_E_TRANSACTION_ABORTED);
    assert_int_equal(place->index, 3);
    found = describe(place);
    assert_string_equal(found, nothing);
    assert_non_null(strstr(place->jobs[0].steps, "\"undone\""));
    assert_null(strstr(place->jobs[0].steps, "\"kept\""));
    no_job_is_open(place);
    worker_and_row_agree(place);
    place_free(place);
    free(nothing);
    free(found);
}

static void cancel(struct place *place, uint64_t job)
{
    struct api_request request = { .method = API_METHOD_JOB_CANCEL };

    request.args.job_cancel.job = job;
    vmms_core_call(place->core, 2, &request, "uid:0");
    take_effects(place);
}

/* The second image's work hangs; it is job 3, behind the transaction and the first image. */
static void cancelled_or_late_it_is_taken_back(void **state)
{
    for (int is_late = 0; is_late < 2; is_late++) {
        char *nothing = described(false), *found;
        struct api_request request = { .method = API_METHOD_TX_APPLY };
        struct place *place = place_new();

        place->stopped = 3;
        request.args.tx_apply.ops = strdup(ops);
        request.args.tx_apply.wait = true;
        request.args.tx_apply.deadline_ms = is_late ? 100000 : 0;
        vmms_core_call(place->core, 1, &request, "uid:0");
        take_effects(place);
        assert_true(run(place));
        assert_int_equal(place->code, -1);
        if (is_late)
            place->clock += UINT64_C(200000000000);
        else
            cancel(place, 1);
        assert_true(run(place));
        assert_int_equal(place->code, is_late ? API_E_TIMEOUT : API_E_CANCELLED);
        found = describe(place);
        assert_string_equal(found, nothing);
        no_job_is_open(place);
        place_free(place);
        free(nothing);
        free(found);
    }
}

/* A file that a VM was given in the meantime stays, and the error says so. */
static void what_somebody_uses_by_now_is_kept(void **state)
{
    struct api_request request = { .method = API_METHOD_VM_ADD_DEVICE };
    struct place *place = place_new();

    place->stopped = 3;
    apply(place, ops);
    assert_true(run(place));
    request.args.vm_add_device.vm = strdup("off");
    request.args.vm_add_device.settings.kind = API_DEVICE_KIND_DISK;
    request.args.vm_add_device.settings.path = strdup("/new.vhdx");
    vmms_core_call(place->core, 3, &request, "uid:0");
    take_effects(place);
    assert_true(run(place));
    cancel(place, 1);
    assert_true(run(place));
    assert_non_null(find_file(place, "/new.vhdx"));
    assert_null(find_file(place, "/web.vhdx"));
    assert_non_null(strstr(place->jobs[0].error, "Not all could be taken back"));
    assert_non_null(strstr(place->jobs[0].error, "VM off has /new.vhdx as a disk by now"));
    assert_non_null(strstr(place->jobs[0].steps, "\"kept\""));
    worker_and_row_agree(place);
    place_free(place);
}

/* Each of these as the second call, behind one that makes /new.vhdx. */
static void what_cannot_be_taken_back_is_refused_before_anything_is_done(void **state)
{
    static const struct {
        const char *call, *said;
    } rows[] = {
        { "{\"method\":\"image.compact\",\"params\":{\"path\":\"/old.vhdx\"}}", "taken back" },
        { "{\"method\":\"image.merge\",\"params\":{\"path\":\"/old.vhdx\"}}", "taken back" },
        { "{\"method\":\"image.set_parent\",\"params\":{\"path\":\"/old.vhdx\",\"parent\":\"/"
          "a.vhdx\"}}",
          "taken back" },
        { "{\"method\":\"image.resize\",\"params\":{\"path\":\"/old.vhdx\",\"size_bytes\":"
          "2097152}}",
          "taken back" },
        { "{\"method\":\"image.validate\",\"params\":{\"path\":\"/old.vhdx\"}}",
          "changes nothing" },
        { "{\"method\":\"guest.copy_files\",\"params\":{\"vm\":\"on\",\"source\":\"/kernel\","
          "\"destination\":\"/x\"}}",
          "given cannot be taken" },
        { "{\"method\":\"tx.apply\",\"params\":{\"ops\":[]}}", "within transactions" },
        { "{\"method\":\"vm.list\"}", "changes nothing" },
        { "{\"method\":\"image.create\",\"params\":{\"path\":\"/"
          "new.vhdx\",\"size_bytes\":1048576}}",
          "makes /new.vhdx already" },
        { "{\"method\":\"image.create\",\"params\":{\"path\":\"/"
          "old.vhdx\",\"size_bytes\":1048576}}",
          "There is a file /old.vhdx already" },
        { "{\"method\":\"image.convert\",\"params\":{\"path\":\"/none.vhdx\",\"to\":\"/b.raw\"}}",
          "no file /none.vhdx" },
        { "{\"method\":\"vm.add_device\",\"params\":{\"vm\":\"on\",\"settings\":{\"path\":\"$0."
          "device\"}}}",
          "brings no device" },
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        struct place *place = place_new();
        struct vmms_effect *effect = NULL;
        char *text;

        assert_true(asprintf(&text,
                             "[{\"method\":\"image.create\",\"params\":{\"path\":\"/new.vhdx\","
                             "\"size_bytes\":1048576}},%s]",
                             rows[i].call) > 0);
        apply(place, text);
        if (place->n_queue && place->queue[0]->kind == VMMS_EFFECT_CHECK_FILES) {
            look_at_files(place, place->queue[0]);
            take_effects(place);
        }
        effect = place->queue[place->n_queue - 1];
        assert_int_equal(effect->kind, VMMS_EFFECT_REPLY);
        assert_non_null(effect->error);
        if (!strstr(effect->error->message, rows[i].said))
            fail_msg("%s: %s", rows[i].call, effect->error->message);
        assert_int_equal(effect->error->data.index, 1);
        assert_int_equal(place->n_jobs, 0);
        place_free(place);
        free(text);
    }
}

static void a_plan_tells_each_step_and_its_undo(void **state)
{
    struct api_request request = { .method = API_METHOD_TX_APPLY };
    struct place *place = place_new();
    const struct api_plan *plan;

    request.args.tx_apply.ops = strdup(ops);
    request.args.tx_apply.plan = true;
    vmms_core_call(place->core, 1, &request, "uid:0");
    take_effects(place);
    look_at_files(place, place->queue[0]);
    take_effects(place);
    plan = &place->queue[1]->result.transaction.plan;
    assert_string_equal(plan->verdict, "ok");
    assert_int_equal(plan->n_steps, 8);
    assert_string_equal(plan->steps[0].undo, "remove /new.vhdx");
    assert_string_equal(plan->steps[1].undo, "take 0:2 away from VM on again");
    assert_string_equal(plan->steps[2].undo, "give VM on /old.vhdx back at 0:0");
    assert_string_equal(plan->steps[3].undo, "put nothing back into drive 0:1 of VM on");
    assert_string_equal(plan->steps[4].what, "image.create");
    assert_string_equal(plan->steps[5].what, "vm.create");
    assert_null(plan->steps[5].undo);
    assert_string_equal(plan->steps[7].what, "vm.start");
    assert_int_equal(plan->n_files, 2);
    assert_int_equal(place->n_jobs, 0);
    place_free(place);
}

/* A key counts also where nothing but configuration is changed, and over a restart. */
static void the_same_key_is_one_transaction(void **state)
{
    static const char *const some[] = {
        "[{\"method\":\"vm.create\",\"params\":{\"name\":\"web\"}}]",
        "[{\"method\":\"image.create\",\"params\":{\"path\":\"/"
        "new.vhdx\",\"size_bytes\":1048576}}]",
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(some); i++) {
        struct place *place = place_new();
        size_t n_jobs = 0;

        for (int turn = 0; turn < 3; turn++) {
            struct api_request request = { .method = API_METHOD_TX_APPLY };

            request.args.tx_apply.ops = strdup(some[turn == 2 ? 1 - i : i]);
            request.args.tx_apply.idempotency_key = strdup("k");
            request.args.tx_apply.wait = true;
            place->code = -1;
            vmms_core_call(place->core, 1, &request, "uid:0");
            take_effects(place);
            assert_true(run(place));
            assert_int_equal(place->code, turn == 2 ? API_E_INVALID_PARAMETER : 0);
            n_jobs = n_jobs ? n_jobs : place->n_jobs;
            assert_int_equal(place->n_jobs, n_jobs);
            no_job_is_open(place);
            forget_service(place);
            start_service(place);
            assert_true(run(place));
        }
        place_free(place);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_of_it_is_done),
        cmocka_unit_test(a_step_that_fails_takes_all_back),
        cmocka_unit_test(cancelled_or_late_it_is_taken_back),
        cmocka_unit_test(what_somebody_uses_by_now_is_kept),
        cmocka_unit_test(what_cannot_be_taken_back_is_refused_before_anything_is_done),
        cmocka_unit_test(a_plan_tells_each_step_and_its_undo),
        cmocka_unit_test(the_same_key_is_one_transaction),
        cmocka_unit_test(ended_at_any_instant_it_is_all_or_nothing),
        cmocka_unit_test(ended_while_it_is_taken_back_nothing_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
