/* SPDX-License-Identifier: Apache-2.0 */
/* Disks that come and go: AddDisk, RemoveDisk and ChangeMedium of schemas/worker. */
#include "vmwp/worker/control_priv.h"
#include "vmwp/worker/storage.h"

#include <fcntl.h>
#include <string.h>

/* What a call brings; descriptors are copies of the message's until the storage has taken them. */
struct given {
    struct wp_disk disk;
    struct wp_image_file chain[WP_MAX_CHAIN];
};

static void given_fini(struct given *given)
{
    for (size_t i = 0; i < given->disk.n_chain; i++) {
        hv_close(given->chain[i].fd);
        free(given->chain[i].path);
    }
}

/* The storage has taken the descriptors over. */
static void given_taken(struct given *given)
{
    for (size_t i = 0; i < given->disk.n_chain; i++)
        given->chain[i].fd = -1;
}

static int read_file(struct given *given, const char *path, int fd)
{
    struct wp_image_file *file = &given->chain[given->disk.n_chain];

    if (given->disk.n_chain == WP_MAX_CHAIN)
        return -E2BIG;
    file->path = strdup(path);
    if (!file->path)
        return -ENOMEM;
    file->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    given->disk.n_chain++;
    return file->fd < 0 ? -errno : 0;
}

static int read_chain(sd_bus_message *m, struct given *given)
{
    int r = sd_bus_message_enter_container(m, 'a', "(sh)");
    const char *path;
    int fd;

    given->disk.chain = given->chain;
    while (r >= 0 && (r = sd_bus_message_read(m, "(sh)", &path, &fd)) > 0)
        r = read_file(given, path, fd);
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int index_of(const char *const *names, unsigned n, const char *name)
{
    for (unsigned i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return (int)i;
    return -EINVAL;
}

static int read_choice(sd_bus_message *m, const char *const *names, unsigned n, int *ret)
{
    const char *name;
    int r = sd_bus_message_read(m, "v", "s", &name);

    if (r >= 0)
        r = *ret = index_of(names, n, name);
    return r;
}

static int read_id(sd_bus_message *m, struct wp_disk *disk)
{
    const char *id;
    int r = sd_bus_message_read(m, "v", "s", &id);

    if (r < 0)
        return r;
    if (strlen(id) >= sizeof(disk->id))
        return -EINVAL;
    memcpy(disk->id, id, strlen(id) + 1);
    return 0;
}

static int read_property(sd_bus_message *m, const char *key, struct wp_disk *disk)
{
    static const char *const kinds[] = { "disk", "dvd" };
    static const char *const formats[] = { "raw", "vhd", "vhdx" };
    int choice, r;

    if (strcmp(key, "id") == 0)
        return read_id(m, disk);
    if (strcmp(key, "controller") == 0)
        return sd_bus_message_read(m, "v", "u", &disk->controller);
    if (strcmp(key, "lun") == 0)
        return sd_bus_message_read(m, "v", "u", &disk->lun);
    if (strcmp(key, "read_only") == 0) {
        r = sd_bus_message_read(m, "v", "b", &choice);
        disk->is_read_only = r >= 0 && choice;
        return r;
    }
    if (strcmp(key, "kind") == 0) {
        r = read_choice(m, kinds, HV_ARRAY_SIZE(kinds), &choice);
        disk->kind = r < 0 ? 0 : (enum wp_disk_kind)choice;
        return r;
    }
    if (strcmp(key, "format") == 0) {
        r = read_choice(m, formats, HV_ARRAY_SIZE(formats), &choice);
        disk->format = r < 0 ? 0 : (enum wp_image_format)choice;
        return r;
    }
    return sd_bus_message_skip(m, "v");
}

static int read_disk(sd_bus_message *m, struct wp_disk *disk)
{
    int r = sd_bus_message_enter_container(m, 'a', "{sv}");
    const char *key;

    while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        r = sd_bus_message_read(m, "s", &key);
        if (r >= 0)
            r = read_property(m, key, disk);
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static const char *name_of(int r, const struct hv_error *error)
{
    if (error && strcmp(error->code, "image.chain.linkage") == 0)
        return WP_ERROR "ParentMismatch";
    switch (r) {
    case -ENOENT:
    case -ENODEV: return WP_ERROR "NotFound";
    case -EEXIST: return WP_ERROR "AlreadyExists";
    case -EINVAL: return WP_ERROR "InvalidParameter";
    case -EUCLEAN: return WP_ERROR "CorruptImage";
    case -EOPNOTSUPP: return WP_ERROR "NotSupported";
    case -EBUSY: return WP_ERROR "InUse";
    case -ENOSPC: return WP_ERROR "DiskFull";
    default: return WP_ERROR "Failed";
    }
}

static int finish(sd_bus_message *m, int r, const struct hv_error *error, sd_bus_error *ret_error)
{
    if (r >= 0)
        return sd_bus_reply_method_return(m, NULL);
    return sd_bus_error_set(ret_error, name_of(r, error), hv_error_message(error, r));
}

static int refuse_phase(const struct connection *c, sd_bus_error *ret_error)
{
    enum wp_phase phase = wp_worker_story(c->control->config.worker)->phase;

    if (phase == WP_PHASE_RUNNING || phase == WP_PHASE_PAUSED)
        return 0;
    return sd_bus_error_setf(ret_error, WP_ERROR "InvalidState",
                             "The VM is %s; this is possible in running and paused.",
                             wp_phase_name(phase));
}

int wp_on_add_disk(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct connection *c = opaque;
    struct given given = { 0 };
    int r = refuse_phase(c, ret_error);

    if (r < 0)
        return r;
    r = read_disk(m, &given.disk);
    if (r >= 0)
        r = read_chain(m, &given);
    if (r >= 0) {
        r = wp_storage_add(wp_worker_storage(c->control->config.worker), &given.disk, &error);
        given_taken(&given);
    }
    given_fini(&given);
    return finish(m, r, error, ret_error);
}

int wp_on_remove_disk(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct connection *c = opaque;
    const char *id;
    int r = refuse_phase(c, ret_error);

    if (r < 0)
        return r;
    r = sd_bus_message_read(m, "s", &id);
    if (r >= 0)
        r = wp_storage_remove(wp_worker_storage(c->control->config.worker), id, &error);
    return finish(m, r, error, ret_error);
}

int wp_on_change_medium(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct connection *c = opaque;
    struct given given = { 0 };
    const char *id;
    int r = refuse_phase(c, ret_error);

    if (r < 0)
        return r;
    r = sd_bus_message_read(m, "s", &id);
    if (r >= 0)
        r = read_chain(m, &given);
    if (r >= 0) {
        r = wp_storage_change_medium(wp_worker_storage(c->control->config.worker), id, given.chain,
                                     given.disk.n_chain, &error);
        given_taken(&given);
    }
    given_fini(&given);
    return finish(m, r, error, ret_error);
}

/* Better storage */

int wp_on_set_storage_hold(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    struct connection *c = opaque;
    int holds, r = sd_bus_message_read(m, "b", &holds);

    (void)ret_error;
    if (r < 0)
        return r;
    wp_storage_set_hold(wp_worker_storage(c->control->config.worker), holds);
    return sd_bus_reply_method_return(m, NULL);
}

int wp_methods_tell_storage(struct connection *c)
{
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    uint64_t age_ms = 0;
    const char *message = wp_worker_critical(c->control->config.worker, &age_ms);
    int r = wp_methods_new_signal(c, "StorageCritical", &m);

    r = r < 0 ? r
              : sd_bus_message_append(m, "bst", message != NULL, message ? message : "", age_ms);
    return r < 0 ? r : sd_bus_send(c->bus, m, NULL);
}
