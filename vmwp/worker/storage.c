/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/worker/storage_priv.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

/* Requests that cannot be done at once wait for these; more threads help one file little. */
enum { IO_THREADS = 4, LOOK_MS = 1000, RETRY_MS = 500, RETRY_MOST_MS = 4000 };

/* Images */

static void close_chain(const struct wp_image_file *chain, size_t n_chain)
{
    for (size_t i = 0; i < n_chain; i++)
        hv_close(chain[i].fd);
}

static enum blk_format format_of(enum wp_image_format format)
{
    static const enum blk_format formats[] = { [WP_IMAGE_RAW] = BLK_FORMAT_RAW,
                                               [WP_IMAGE_VHD] = BLK_FORMAT_VHD,
                                               [WP_IMAGE_VHDX] = BLK_FORMAT_VHDX };

    return formats[format];
}

/* The top image has the recorded format; a parent's is what it says itself, for nobody but the
 * image's maker wrote into it. */
static int parent_format(const struct wp_image_file *file, enum blk_format *ret,
                         struct hv_error **reterr)
{
    struct blk_probe *probe = malloc(sizeof(*probe));
    int r = probe ? blk_image_probe(file->fd, file->path, NULL, probe, reterr) : -ENOMEM;

    if (r == 0)
        *ret = probe->format;
    free(probe);
    return r;
}

/* The chain's descriptors are taken over in any case. */
static int open_image(const struct wp_image_file *chain, size_t n_chain, enum wp_image_format top,
                      bool is_read_only, struct blk_disk **ret, struct hv_error **reterr)
{
    struct blk_image_file *files = calloc(n_chain, sizeof(*files));
    int r = files ? 0 : -ENOMEM;

    for (size_t i = 0; r == 0 && i < n_chain; i++) {
        files[i] = (struct blk_image_file){ chain[i].fd, chain[i].path, format_of(top) };
        if (i > 0)
            r = parent_format(&chain[i], &files[i].format, reterr);
    }
    if (r == 0)
        r = blk_image_open(files, (unsigned)n_chain, is_read_only ? BLK_OPEN_READ_ONLY : 0, ret,
                           reterr);
    if (r < 0)
        close_chain(chain, n_chain);
    free(files);
    return r;
}

/* Units */

static struct unit *find_unit(struct wp_storage *storage, const char *id)
{
    HV_LIST_FOREACH (node, &storage->units) {
        struct unit *unit = HV_LIST_ENTRY(node, struct unit, node);

        if (strcmp(unit->id, id) == 0)
            return unit;
    }
    return NULL;
}

static void unit_free(struct unit *unit)
{
    hv_list_remove(&unit->node);
    (void)blk_disk_close(unit->disk);
    free(unit);
}

static int attach(struct wp_storage *storage, const struct unit *unit, bool is_read_only,
                  struct hv_error **reterr)
{
    struct storvsp_lun_config config = {
        .kind = unit->kind == WP_DISK_DVD ? STORVSP_DVD : STORVSP_DISK,
        .disk = unit->disk,
        .is_read_only = is_read_only,
    };

    return storvsp_attach(storage->controllers[unit->controller].storvsp, unit->lun, &config,
                          reterr);
}

/* Where the disk's files are, while it has them open. */
static void note_files(struct unit *unit, const struct wp_image_file *chain, size_t n_chain)
{
    unit->n_files = unit->disk ? n_chain : 0;
    for (size_t i = 0; i < unit->n_files; i++)
        unit->fds[i] = chain[i].fd;
}

static struct unit *unit_new(struct wp_storage *storage, const struct wp_disk *disk)
{
    struct unit *unit = calloc(1, sizeof(*unit));

    if (!unit)
        return NULL;
    memcpy(unit->id, disk->id, sizeof(unit->id));
    unit->kind = disk->kind;
    unit->controller = disk->controller;
    unit->lun = disk->lun;
    hv_list_append(&storage->units, &unit->node);
    return unit;
}

static int refuse_place(struct wp_storage *storage, const struct wp_disk *disk,
                        struct hv_error **reterr)
{
    if (disk->controller >= WP_MAX_CONTROLLERS || !storage->controllers[disk->controller].storvsp)
        return hv_error_set(reterr, -ENODEV, "vm.storage.controller",
                            "The VM has no SCSI controller %u.", disk->controller);
    if (find_unit(storage, disk->id))
        return hv_error_set(reterr, -EEXIST, "vm.storage.id", "There is a device %s already.",
                            disk->id);
    return 0;
}

int wp_storage_add(struct wp_storage *storage, const struct wp_disk *disk, struct hv_error **reterr)
{
    bool is_read_only = disk->is_read_only || disk->kind == WP_DISK_DVD;
    struct blk_disk *image = NULL;
    struct unit *unit;
    int r = refuse_place(storage, disk, reterr);

    if (r < 0) {
        close_chain(disk->chain, disk->n_chain);
        return r;
    }
    if (disk->n_chain > 0)
        r = open_image(disk->chain, disk->n_chain, disk->format, is_read_only, &image, reterr);
    if (r < 0)
        return r;
    unit = unit_new(storage, disk);
    if (!unit) {
        (void)blk_disk_close(image);
        return -ENOMEM;
    }
    unit->disk = image;
    note_files(unit, disk->chain, disk->n_chain);
    r = attach(storage, unit, is_read_only, reterr);
    if (r < 0)
        unit_free(unit);
    return r;
}

static struct unit *get_unit(struct wp_storage *storage, const char *id, struct hv_error **reterr)
{
    struct unit *unit = find_unit(storage, id);

    if (!unit)
        hv_error_set(reterr, -ENOENT, "vm.storage.id", "The VM has no disk or drive %s.", id);
    return unit;
}

int wp_storage_remove(struct wp_storage *storage, const char *id, struct hv_error **reterr)
{
    struct unit *unit = get_unit(storage, id, reterr);
    int r;

    if (!unit)
        return -ENOENT;
    r = storvsp_detach(storage->controllers[unit->controller].storvsp, unit->lun, reterr);
    if (r == 0)
        unit_free(unit);
    return r;
}

static int eject(struct wp_storage *storage, struct unit *unit, struct hv_error **reterr)
{
    int r = storvsp_eject(storage->controllers[unit->controller].storvsp, unit->lun, false, reterr);

    if (r == 0) {
        unit->disk = blk_disk_close(unit->disk);
        unit->n_files = 0;
    }
    return r;
}

int wp_storage_change_medium(struct wp_storage *storage, const char *id,
                             const struct wp_image_file *chain, size_t n_chain,
                             struct hv_error **reterr)
{
    struct unit *unit = get_unit(storage, id, reterr);
    struct blk_disk *image = NULL;
    int r = unit ? 0 : -ENOENT;

    if (r < 0)
        close_chain(chain, n_chain);
    else if (n_chain > 0)
        r = open_image(chain, n_chain, WP_IMAGE_RAW, true, &image, reterr);
    if (r == 0)
        r = eject(storage, unit, reterr);
    if (r == 0 && image)
        r = storvsp_insert(storage->controllers[unit->controller].storvsp, unit->lun, image,
                           reterr);
    if (r < 0) {
        (void)blk_disk_close(image);
        return r;
    }
    unit->disk = image;
    note_files(unit, chain, n_chain);
    return 0;
}

/* Failures: counted by the controller's threads, told from here */

static void look_at(struct wp_storage *storage, struct unit *unit)
{
    struct storvsp_lun_stats stats;
    char message[160];

    if (unit->is_failure_told ||
        storvsp_lun_stats(storage->controllers[unit->controller].storvsp, unit->lun, &stats) < 0 ||
        stats.errors == 0)
        return;
    unit->is_failure_told = true;
    (void)snprintf(
        message, sizeof(message),
        "The image of the disk at %u:%u cannot be read or written; the worker's log says "
        "what failed.",
        unit->controller, unit->lun);
    if (storage->config.failed)
        storage->config.failed(storage->config.opaque, unit->id, message);
}

static void look(uv_timer_t *timer)
{
    struct wp_storage *storage = timer->data;

    HV_LIST_FOREACH (node, &storage->units)
        look_at(storage, HV_LIST_ENTRY(node, struct unit, node));
}

static void free_timer(uv_handle_t *handle)
{
    free(handle);
}

static int make_timer(struct wp_storage *storage, uv_timer_t **ret)
{
    *ret = calloc(1, sizeof(**ret));
    if (!*ret)
        return -ENOMEM;
    (void)uv_timer_init(&storage->config.loop->uv, *ret);
    (*ret)->data = storage;
    return 0;
}

/* Requests that are held until the host's storage is good again */

static bool find_waiting(struct wp_storage *storage, char *ret, size_t room)
{
    unsigned lun;
    int r;

    for (unsigned i = 0; i < WP_MAX_CONTROLLERS; i++) {
        if (!storage->controllers[i].storvsp ||
            !storvsp_waiting(storage->controllers[i].storvsp, &lun, &r))
            continue;
        (void)snprintf(ret, room, "The storage of the disk at %u:%u fails: %s.", i, lun,
                       strerror(-r));
        return true;
    }
    return false;
}

static void retry(uv_timer_t *timer)
{
    struct wp_storage *storage = timer->data;

    for (unsigned i = 0; i < WP_MAX_CONTROLLERS; i++)
        if (storage->controllers[i].storvsp)
            storvsp_retry(storage->controllers[i].storvsp);
    if (storage->retry_ms < RETRY_MOST_MS)
        storage->retry_ms *= 2;
    (void)uv_timer_start(timer, retry, storage->retry_ms, 0);
}

static void check_waiting(struct wp_storage *storage)
{
    char message[160] = "";
    bool is_critical = find_waiting(storage, message, sizeof(message));

    if (is_critical == storage->is_critical)
        return;
    storage->is_critical = is_critical;
    storage->retry_ms = RETRY_MS;
    if (is_critical)
        (void)uv_timer_start(storage->retry, retry, storage->retry_ms, 0);
    else
        (void)uv_timer_stop(storage->retry);
    if (storage->config.critical)
        storage->config.critical(storage->config.opaque, is_critical, message);
}

void wp_storage_set_hold(struct wp_storage *storage, bool holds)
{
    for (unsigned i = 0; i < WP_MAX_CONTROLLERS; i++)
        if (storage->controllers[i].storvsp)
            storvsp_set_hold(storage->controllers[i].storvsp, holds);
}

/* Controllers */

static void run_sweep(void *opaque)
{
    struct controller *controller = opaque;

    storvsp_controller_sweep(controller->storvsp);
    check_waiting(controller->storage);
}

static void wake(void *opaque)
{
    struct controller *controller = opaque;

    wp_post(controller->storage->config.loop, &controller->sweep);
}

/* Can the VPs fill all processors that this process may use, and does an interruption cost them an
 * exit? An administrator's own scheduling policy is left as it is. */
static bool yields_to_vps(const struct hv_partition *partition, unsigned n_vps)
{
    cpu_set_t allowed;

    return hv_partition_backend(partition) == HV_BACKEND_KVM &&
           sched_getscheduler(0) == SCHED_OTHER &&
           sched_getaffinity(0, sizeof(allowed), &allowed) == 0 &&
           n_vps >= (unsigned)CPU_COUNT(&allowed);
}

static int make_controller(struct wp_storage *storage, const struct wp_controller *from,
                           struct hv_error **reterr)
{
    unsigned n_vps = hv_partition_n_vps(storage->config.partition);
    struct controller *controller = &storage->controllers[from->number];
    struct storvsp_config config = {
        .server = storage->config.server,
        .gpa = hv_partition_gpa(storage->config.partition),
        .number = from->number,
        .n_queues = n_vps < STORVSP_MAX_QUEUES ? n_vps : STORVSP_MAX_QUEUES,
        .n_io_threads = IO_THREADS,
        .yields_to_vps = yields_to_vps(storage->config.partition, n_vps),
        .log = storage->config.log,
        .wake = wake,
        .opaque = controller,
    };

    if (hv_guid_parse(from->instance, &config.instance) < 0)
        return -EINVAL;
    wp_task_init(&controller->sweep, run_sweep, controller);
    controller->storage = storage;
    return storvsp_controller_new(&config, &controller->storvsp, reterr);
}

/* Say which device it is that keeps the VM from starting. */
static int name_device(const struct wp_disk *disk, int r, struct hv_error **reterr)
{
    char field[32];

    if (!reterr)
        return r;
    (void)snprintf(field, sizeof(field), "devices.%u:%u", disk->controller, disk->lun);
    if (!*reterr)
        return hv_error_set_field(reterr, r, "vm.storage", field,
                                  "The disk at %u:%u cannot be plugged: %s.", disk->controller,
                                  disk->lun, strerror(-r));
    free((*reterr)->field);
    (*reterr)->field = strdup(field);
    return r;
}

/* After one has failed the descriptors of the rest are let go with the process. */
static int make(struct wp_storage *storage, struct hv_error **reterr)
{
    const struct wp_definition *definition = storage->config.definition;
    int r = 0;

    for (size_t i = 0; r == 0 && i < definition->n_controllers; i++)
        r = make_controller(storage, &definition->controllers[i], reterr);
    for (size_t i = 0; r == 0 && i < definition->n_disks; i++) {
        r = wp_storage_add(storage, &definition->disks[i], reterr);
        if (r < 0)
            (void)name_device(&definition->disks[i], r, reterr);
    }
    return r;
}

static void take_back(struct wp_storage *storage)
{
    for (unsigned i = 0; i < WP_MAX_CONTROLLERS; i++)
        if (storage->controllers[i].storvsp)
            storvsp_controller_revoke(storage->controllers[i].storvsp);
}

int wp_storage_new(const struct wp_storage_config *config, struct wp_storage **ret,
                   struct hv_error **reterr)
{
    struct wp_storage *storage = calloc(1, sizeof(*storage));
    int r;

    if (!storage)
        return -ENOMEM;
    storage->config = *config;
    hv_list_init(&storage->units);
    r = make_timer(storage, &storage->look);
    r = r < 0 ? r : make_timer(storage, &storage->retry);
    r = r < 0 ? r : make(storage, reterr);
    if (r < 0) {
        take_back(storage);
        (void)wp_storage_free(storage);
        return r;
    }
    *ret = storage;
    return 0;
}

struct wp_storage *wp_storage_free(struct wp_storage *storage)
{
    if (!storage)
        return NULL;
    for (unsigned i = 0; i < WP_MAX_CONTROLLERS; i++) {
        struct controller *controller = &storage->controllers[i];

        if (!controller->storvsp)
            continue;
        controller->storvsp = storvsp_controller_free(controller->storvsp);
        wp_task_withdraw(storage->config.loop, &controller->sweep);
    }
    HV_LIST_FOREACH (node, &storage->units)
        unit_free(HV_LIST_ENTRY(node, struct unit, node));
    if (storage->look)
        uv_close((uv_handle_t *)storage->look, free_timer);
    if (storage->retry)
        uv_close((uv_handle_t *)storage->retry, free_timer);
    free(storage);
    return NULL;
}

static void each_controller(struct wp_storage *storage, void (*fn)(void *vsp))
{
    for (unsigned i = 0; i < WP_MAX_CONTROLLERS; i++)
        if (storage->controllers[i].storvsp)
            fn(storage->controllers[i].storvsp);
}

void wp_storage_pause(struct wp_storage *storage)
{
    (void)uv_timer_stop(storage->look);
    each_controller(storage, storvsp_ops.pause);
}

void wp_storage_resume(struct wp_storage *storage)
{
    each_controller(storage, storvsp_ops.resume);
    if (!hv_list_is_empty(&storage->units))
        (void)uv_timer_start(storage->look, look, LOOK_MS, LOOK_MS);
}

void wp_storage_reset(struct wp_storage *storage)
{
    each_controller(storage, storvsp_ops.reset);
}

void wp_storage_get_stats(struct wp_storage *storage, struct wp_storage_stats *ret)
{
    *ret = (struct wp_storage_stats){ 0 };
    HV_LIST_FOREACH (node, &storage->units) {
        struct unit *unit = HV_LIST_ENTRY(node, struct unit, node);
        struct storvsp_lun_stats stats;

        if (storvsp_lun_stats(storage->controllers[unit->controller].storvsp, unit->lun, &stats) <
            0)
            continue;
        ret->reads += stats.reads;
        ret->read_bytes += stats.read_bytes;
        ret->writes += stats.writes;
        ret->write_bytes += stats.write_bytes;
        ret->flushes += stats.flushes;
        ret->errors += stats.errors;
    }
}
