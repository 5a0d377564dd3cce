/* SPDX-License-Identifier: Apache-2.0 */
/* Reads whose data the core has not, and looks at files, off the loop. */
#include "vmmsd/service/service_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"
#include "vmmsd/spawn/disks.h"
#include "vmmsd/spawn/launch.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Statistics */

struct stats_call {
    struct vmms_service *service;
    uint64_t call;
    char id[HV_GUID_TEXT_BYTES];
    char *name;
};

static void stats_done(void *opaque, struct api_vm_stats *stats, struct api_error *error)
{
    struct stats_call *call = opaque;
    union api_result result = { 0 };

    if (stats) {
        result.vm_stats = *stats;
        result.vm_stats.id = strdup(call->id);
        result.vm_stats.name = HV_TAKE_PTR(call->name);
    }
    if (!call->service->is_closing)
        vmms_service_reply(call->service, call->call, API_METHOD_VM_STATS, &result, UINT64_MAX,
                           error);
    api_vm_stats_fini(&result.vm_stats);
    api_error_free(error);
    free(call->name);
    free(call);
}

static void serve_stats(struct vmms_service *service, const struct vmms_effect *effect)
{
    struct stats_call *call = calloc(1, sizeof(*call));

    hv_assert(call);
    call->service = service;
    call->call = effect->call;
    memcpy(call->id, effect->row.id, sizeof(call->id));
    call->name = strdup(effect->row.settings.name);
    vmms_spawner_stats(service->spawner, call->id, stats_done, call);
}

/* Security */

static void serve_security(struct vmms_service *service, const struct vmms_effect *effect)
{
    union api_result result = { 0 };
    struct api_error *error = NULL;

    if (vmms_spawner_security(service->spawner, effect->row.id, &result.vm_security, &error) == 0) {
        result.vm_security.id = strdup(effect->row.id);
        result.vm_security.name = strdup(effect->row.settings.name);
    }
    vmms_service_reply(service, effect->call, effect->method, &result, UINT64_MAX, error);
    api_vm_security_fini(&result.vm_security);
    api_error_free(error);
}

/* The console's log */

static char *encode(const char *bytes, size_t length, enum api_text_encoding encoding)
{
    struct json_writer out = { 0 };
    char *text;
    size_t text_length;

    if (encoding == API_TEXT_ENCODING_TEXT)
        return strndup(bytes, length);
    json_put_base64(&out, bytes, length);
    if (json_writer_take(&out, &text, &text_length) < 0)
        return NULL;
    /* Without the quotes of its JSON form. */
    memmove(text, text + 1, text_length - 2);
    text[text_length - 2] = '\0';
    return text;
}

/* As text, NUL (which ends a C string) is shown as what it is: nothing. */
static size_t drop_nuls(char *bytes, size_t length)
{
    size_t kept = 0;

    for (size_t i = 0; i < length; i++) {
        if (bytes[i])
            bytes[kept++] = bytes[i];
    }
    return kept;
}

static void serve_console_log(struct vmms_service *service, const struct vmms_effect *effect)
{
    const struct api_vm_console_log_args *args = &effect->request.args.vm_console_log;
    hv_autofree char *bytes = malloc(VMMS_CONSOLE_RING_BYTES);
    union api_result result = { 0 };
    struct api_console_log *log = &result.console_log;
    size_t length;

    hv_assert(bytes);
    log->from = args->from;
    length = vmms_console_read(service->consoles, effect->row.id, args->port, &log->from, bytes,
                               VMMS_CONSOLE_RING_BYTES);
    if (!length)
        log->from = vmms_console_end(service->consoles, effect->row.id, args->port);
    log->end = log->from + length;
    log->encoding = args->encoding;
    if (args->encoding == API_TEXT_ENCODING_TEXT)
        length = drop_nuls(bytes, length);
    log->data = encode(bytes, length, args->encoding);
    vmms_service_reply(service, effect->call, API_METHOD_VM_CONSOLE_LOG, &result, UINT64_MAX, NULL);
    api_console_log_fini(log);
}

void vmms_serve(struct vmms_service *service, struct vmms_effect *effect)
{
    const union api_args *args = &effect->request.args;

    switch (effect->method) {
    case API_METHOD_VM_STATS: serve_stats(service, effect); break;
    case API_METHOD_VM_SECURITY: serve_security(service, effect); break;
    case API_METHOD_VM_CONSOLE_LOG: serve_console_log(service, effect); break;
    case API_METHOD_VM_CONSOLE:
        vmms_console_serve(service, effect->call, effect->row.id, &args->vm_console);
        break;
    case API_METHOD_GUEST_GET: vmms_serve_guest(service, effect); break;
    case API_METHOD_GUEST_ADD_KVP:
    case API_METHOD_GUEST_MODIFY_KVP:
    case API_METHOD_GUEST_REMOVE_KVP: vmms_serve_pairs(service, effect); break;
    case API_METHOD_CONSOLE_TYPE_TEXT:
    case API_METHOD_CONSOLE_CTRL_ALT_DEL: vmms_serve_order(service, effect); break;
    case API_METHOD_HOST_BACKUP: vmms_store_backup(service->store, effect->call); break;
    case API_METHOD_EVENTS_READ:
        vmms_store_read_events(service->store, effect->call, args->events_read.since,
                               args->events_read.limit);
        break;
    case API_METHOD_EVENTS_SUBSCRIBE:
        vmms_events_subscribe(service, effect->call, &args->events_subscribe);
        break;
    default:
        hv_assert(effect->method == API_METHOD_IMAGE_INFO || api_methods[effect->method].is_job);
        vmms_serve_image(service, effect);
        break;
    }
}

/* Files that settings name */

struct file_check {
    uv_work_t work;
    struct vmms_service *service;
    struct vmms_effect *effect;
};

/* Is there room for a file of that name? */
static void look_at_place(struct vmms_file *file)
{
    hv_autofree char *folder = strdup(file->path);
    struct stat st;
    char *slash;

    hv_assert(folder);
    slash = strrchr(folder, '/');
    if (lstat(file->path, &st) == 0)
        file->errnum = EEXIST;
    else if (errno != ENOENT || !slash)
        file->errnum = errno;
    if (file->errnum)
        return;
    slash[slash == folder] = '\0';
    if (faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) < 0)
        file->errnum = errno;
}

static void look_at(struct vmms_file *file)
{
    hv_autofd int fd = -1;
    struct stat st;

    if (file->is_made) {
        look_at_place(file);
        return;
    }
    fd = vmms_file_open(file->path, false);
    file->is_regular = fd >= 0;
    if (fd == -EMEDIUMTYPE)
        return;
    if (fd < 0 || fstat(fd, &st) < 0) {
        file->errnum = fd < 0 ? -fd : errno;
        return;
    }
    file->device = st.st_dev;
    file->inode = st.st_ino;
    if (!file->is_image)
        return;
    file->looks = vmms_file_looks(fd);
    file->is_writable = !file->is_written || faccessat(AT_FDCWD, file->path, W_OK, AT_EACCESS) == 0;
}

static void check_work(uv_work_t *work)
{
    struct file_check *check = work->data;

    for (size_t i = 0; i < check->effect->n_files; i++)
        look_at(&check->effect->files[i]);
}

static void check_done(uv_work_t *work, int status)
{
    struct file_check *check = work->data;

    if (!check->service->is_closing) {
        vmms_core_files_checked(check->service->core, check->effect->call, check->effect->files,
                                check->effect->n_files);
        vmms_service_drain(check->service);
    }
    vmms_effect_free(check->effect);
    free(check);
}

/* Kernels are most often at hand: then no thread need be woken, which costs more than the look. */
static bool glance_at_all(struct vmms_effect *effect)
{
    for (size_t i = 0; i < effect->n_files; i++) {
        struct vmms_file *file = &effect->files[i];

        if (file->is_image || !vmms_file_glance(file->path, &file->device, &file->inode))
            return false;
        file->is_regular = true;
    }
    return true;
}

void vmms_check_files(struct vmms_service *service, struct vmms_effect *effect)
{
    struct file_check *check;

    if (glance_at_all(effect)) {
        vmms_core_files_checked(service->core, effect->call, effect->files, effect->n_files);
        vmms_effect_free(effect);
        return;
    }
    check = calloc(1, sizeof(*check));
    hv_assert(check);
    check->work.data = check;
    check->service = service;
    check->effect = effect;
    hv_assert(uv_queue_work(service->config.loop, &check->work, check_work, check_done) == 0);
}

/* Files of a VM that is no more */

struct removal {
    uv_work_t work;
    struct vmms_service *service;
    char vm_id[HV_GUID_TEXT_BYTES];
    int r;
};

static void remove_work(uv_work_t *work)
{
    struct removal *removal = work->data;

    removal->r = vmms_remove_files(removal->service->config.state_dir,
                                   removal->service->config.runtime_dir, removal->vm_id);
}

static void remove_done(uv_work_t *work, int status)
{
    struct removal *removal = work->data;
    struct vmms_service *service = removal->service;

    if (removal->r < 0)
        hv_log_printf(service->config.log, HV_LOG_WARNING, NULL,
                      "Files of the deleted VM %s cannot be removed: %s.", removal->vm_id,
                      strerror(-removal->r));
    else if (!service->is_closing)
        vmms_store_files_removed(service->store, removal->vm_id);
    free(removal);
}

void vmms_remove_vm_files(struct vmms_service *service, const char *vm_id)
{
    struct removal *removal = calloc(1, sizeof(*removal));

    hv_assert(removal);
    if (service->consoles)
        vmms_consoles_forget(service->consoles, vm_id);
    removal->work.data = removal;
    removal->service = service;
    (void)snprintf(removal->vm_id, sizeof(removal->vm_id), "%s", vm_id);
    hv_assert(uv_queue_work(service->config.loop, &removal->work, remove_work, remove_done) == 0);
}

/* A saved state that counts no more: out of the way before anything else happens to its VM, and
 * removed when there is time, for that may take long. */
static void remove_saved_work(uv_work_t *work)
{
    struct removal *removal = work->data;

    vmms_saved_remove(removal->service->config.state_dir, removal->vm_id);
}

static void remove_saved_done(uv_work_t *work, int status)
{
    free(work->data);
}

void vmms_remove_saved(struct vmms_service *service, const char *vm_id)
{
    struct removal *removal = calloc(1, sizeof(*removal));

    hv_assert(removal);
    vmms_saved_set_aside(service->config.state_dir, vm_id);
    removal->work.data = removal;
    removal->service = service;
    (void)snprintf(removal->vm_id, sizeof(removal->vm_id), "%s", vm_id);
    hv_assert(uv_queue_work(service->config.loop, &removal->work, remove_saved_work,
                            remove_saved_done) == 0);
}
