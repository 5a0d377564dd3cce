/* SPDX-License-Identifier: Apache-2.0 */
/* Which VM has a disk that rests on an image: only the disks tell, since a parent knows nothing of
 * its children. Their chains are read without a lock, so that nobody who starts one is refused. */
#include "vmmsd/spawn/image_priv.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct disk {
    char *vm, *path;
    enum api_image_format format;
};

struct image_users {
    struct vmms_images *images;
    struct image_worker *worker;
    struct image_resolver *resolver;
    char *path;
    struct stat stat;
    int errnum;
    struct disk *disks;
    size_t n_disks, room, at;
    image_users_fn *done;
    void *opaque;
    uv_work_t work;
    bool is_working;
    bool is_stopped;
};

static void users_free(struct image_users *users)
{
    for (size_t i = 0; i < users->n_disks; i++) {
        free(users->disks[i].vm);
        free(users->disks[i].path);
    }
    free(users->disks);
    free(users->path);
    free(users);
}

static void conclude(struct image_users *users, struct api_error *error)
{
    image_users_fn *done = users->done;
    void *opaque = users->opaque;

    users_free(users);
    done(opaque, error);
}

static struct api_error *used_error(const struct image_users *users,
                                    const struct image_chain *chain)
{
    const struct disk *disk = &users->disks[users->at];
    struct api_error *error = NULL;
    char holder[160];

    api_error_set(&error, API_E_IN_USE, "image.parent_in_use", "path",
                  "%s is a parent of %s, which is a disk of VM %s and could not be read any more.",
                  users->path, disk->path, disk->vm);
    api_error_hint(error, "Take the disk out of the VM first, or work on a copy of the parent.");
    if (!error)
        return NULL;
    (void)snprintf(holder, sizeof(holder), "VM %s", disk->vm);
    api_error_set_text(&error->data.holder, holder);
    for (size_t i = 0; i < chain->count; i++)
        api_error_add(error, &error->data.chain, &error->data.n_chain, chain->files[i].path);
    return error;
}

static bool is_parent(const struct image_users *users, const struct image_chain *chain)
{
    for (size_t i = 1; i < chain->count; i++) {
        if (chain->opens[i].dev == users->stat.st_dev &&
            chain->opens[i].inode == users->stat.st_ino)
            return true;
    }
    return false;
}

static void look_at_next(struct image_users *users);

static void resolved(void *opaque, struct image_chain *chain, struct api_error *error)
{
    struct image_users *users = opaque;

    users->resolver = NULL;
    api_error_free(error);
    if (chain && is_parent(users, chain)) {
        conclude(users, used_error(users, chain));
        return;
    }
    users->at++;
    look_at_next(users);
}

static void look_at_next(struct image_users *users)
{
    const struct disk *disk = &users->disks[users->at];
    struct image_chain_wish wish = { .is_lenient = true, .is_unlocked = true };

    if (users->at == users->n_disks) {
        conclude(users, NULL);
        return;
    }
    wish.path = disk->path;
    wish.format = disk->format;
    users->resolver = image_resolve(users->images, users->worker, &wish, resolved, users);
}

static void stat_work(uv_work_t *work)
{
    struct image_users *users = work->data;

    users->errnum = stat(users->path, &users->stat) < 0 ? errno : 0;
}

static void stat_done(uv_work_t *work, int status)
{
    struct image_users *users = work->data;

    users->is_working = false;
    if (users->is_stopped)
        users_free(users);
    else if (users->errnum)
        conclude(users, NULL); /* what is not there is nobody's parent */
    else
        look_at_next(users);
}

static void add_disk(void *opaque, const char *vm_name, const struct api_device *device)
{
    struct image_users *users = opaque;
    struct disk *disk;

    if (device->format == API_IMAGE_FORMAT_RAW)
        return; /* without parents */
    if (users->n_disks == users->room) {
        users->room = users->room ? 2 * users->room : 16;
        users->disks = reallocarray(users->disks, users->room, sizeof(*users->disks));
        hv_assert(users->disks);
    }
    disk = &users->disks[users->n_disks++];
    *disk = (struct disk){ strdup(vm_name), strdup(device->path), device->format };
    hv_assert(disk->vm && disk->path);
}

struct image_users *image_users_find(struct vmms_images *images, struct image_worker *worker,
                                     const char *path, image_users_fn *done, void *opaque)
{
    struct image_users *users = calloc(1, sizeof(*users));

    hv_assert(users);
    users->images = images;
    users->worker = worker;
    users->path = strdup(path);
    hv_assert(users->path);
    users->done = done;
    users->opaque = opaque;
    users->work.data = users;
    images->config.each_disk(images->config.opaque, add_disk, users);
    users->is_working = true;
    hv_assert(uv_queue_work(images->config.loop, &users->work, stat_work, stat_done) == 0);
    return users;
}

struct image_users *image_users_stop(struct image_users *users)
{
    if (!users)
        return NULL;
    users->is_stopped = true;
    users->resolver = image_resolver_stop(users->resolver);
    if (!users->is_working)
        users_free(users);
    return NULL;
}
