/* SPDX-License-Identifier: Apache-2.0 */
/* From an image to its parents: a worker reads where they may be, vmmsd looks there, and what it
 * finds must be what the child was made for. */
#include "vmmsd/spawn/image_priv.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_PLACES = 2 };

struct image_resolver {
    struct vmms_images *images;
    struct image_worker *worker;
    struct image_chain_wish wish;
    char *path, *stop_at;
    enum api_image_format format;
    image_chain_fn *done;
    void *opaque;
    struct image_chain chain;
    uv_work_t work;
    struct image_open open;
    struct stat stop_stat;
    int stop_errnum;
    char *places[MAX_PLACES]; /* where the next parent may be */
    size_t n_places, at_place;
    struct api_error *place_error; /* of the first place where something was wrong */
    bool is_working;
    bool is_stopped;
};

void image_chain_fini(struct image_chain *chain)
{
    for (size_t i = 0; i < chain->count; i++) {
        hv_close(chain->files[i].fd);
        free(chain->files[i].path);
        free(chain->opens[i].real_path);
        image_answer_fini(&chain->probes[i]);
    }
    api_error_free(chain->parents_error);
    *chain = (struct image_chain){ 0 };
}

struct api_error *image_in_use_error(const struct vmms_images *images, const char *path,
                                     const struct image_holder *holder)
{
    struct api_error *error = NULL;
    char who[160];
    uint64_t job;

    if (image_worker_of_pid(images, holder->pid, &job))
        (void)snprintf(who, sizeof(who), "job %llu", (unsigned long long)job);
    else if (holder->pid == getpid())
        (void)snprintf(who, sizeof(who), "another request to this service");
    else if (!holder->pid)
        (void)snprintf(who, sizeof(who), "another program");
    else if (!images->config.name_process(images->config.opaque, holder->pid, who, sizeof(who)))
        (void)snprintf(who, sizeof(who), "the program %s", holder->comm);
    if (holder->pid && holder->pid != getpid())
        api_error_set(&error, API_E_IN_USE, "image.in_use", NULL,
                      "The file %s is in use by %s (process %d).", path, who, holder->pid);
    else
        api_error_set(&error, API_E_IN_USE, "image.in_use", NULL, "The file %s is in use by %s.",
                      path, who);
    if (error)
        api_error_set_text(&error->data.holder, who);
    return error;
}

static void resolver_free(struct image_resolver *resolver)
{
    for (size_t i = 0; i < resolver->n_places; i++)
        free(resolver->places[i]);
    api_error_free(resolver->place_error);
    api_error_free(resolver->open.error);
    image_chain_fini(&resolver->chain);
    free(resolver->path);
    free(resolver->stop_at);
    free(resolver);
}

static void conclude(struct image_resolver *resolver, struct api_error *error)
{
    image_chain_fn *done = resolver->done;
    void *opaque = resolver->opaque;
    struct image_chain *chain = &resolver->chain;

    if (error && chain->count)
        for (size_t i = 0; i < chain->count; i++)
            api_error_add(error, &error->data.chain, &error->data.n_chain, chain->files[i].path);
    done(opaque, error ? NULL : chain, error);
    resolver_free(resolver);
}

/* Something is wrong with an image that was opened: the end, unless the wish is content with what
 * there is. */
static void parent_wrong(struct image_resolver *resolver, struct api_error *error)
{
    if (!resolver->wish.is_lenient) {
        conclude(resolver, error);
        return;
    }
    resolver->chain.parents_error = error;
    conclude(resolver, NULL);
}

static void open_next(struct image_resolver *resolver);

static void no_parent_found(struct image_resolver *resolver)
{
    const char *child = resolver->chain.files[resolver->chain.count - 1].path;
    struct api_error *error = HV_TAKE_PTR(resolver->place_error);

    if (error && error->code == API_E_FILE_NOT_FOUND)
        error = api_error_free(error);
    if (!error) {
        api_error_set(&error, API_E_PARENT_MISSING, "image.parent.missing", NULL,
                      "The parent of %s is missing: there is no %s%s%s.", child,
                      resolver->n_places ? resolver->places[0] : "name of it",
                      resolver->n_places > 1 ? " and no " : "",
                      resolver->n_places > 1 ? resolver->places[1] : "");
        api_error_hint(error, "Put it back, or tell the image where it is: image.set_parent.");
    }
    parent_wrong(resolver, error);
}

static void next_place(struct image_resolver *resolver, struct api_error *error)
{
    if (!resolver->place_error || resolver->place_error->code == API_E_FILE_NOT_FOUND) {
        api_error_free(resolver->place_error);
        resolver->place_error = HV_TAKE_PTR(error);
    }
    api_error_free(error);
    resolver->at_place++;
    open_next(resolver);
}

/* The last file is not the parent that it should be. */
static void drop_last(struct image_resolver *resolver)
{
    struct image_chain *chain = &resolver->chain;
    size_t last = --chain->count;

    hv_close(chain->files[last].fd);
    free(chain->files[last].path);
    free(chain->opens[last].real_path);
    image_answer_fini(&chain->probes[last]);
}

static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
}

/* place: taken */
static void add_place(struct image_resolver *resolver, char *place)
{
    if (place && resolver->n_places && strcmp(resolver->places[0], place) == 0)
        free(place);
    else if (place)
        resolver->places[resolver->n_places++] = place;
}

static void find_places(struct image_resolver *resolver)
{
    const struct image_chain *chain = &resolver->chain;
    const struct image_answer *probe = &chain->probes[chain->count - 1];
    hv_autofree char *folder = folder_of(chain->opens[chain->count - 1].real_path);
    const char *relative = probe->parent_relative;
    char *place = NULL;

    for (size_t i = 0; i < resolver->n_places; i++)
        free(resolver->places[i]);
    resolver->n_places = resolver->at_place = 0;
    resolver->place_error = api_error_free(resolver->place_error);
    while (relative && strncmp(relative, "./", 2) == 0)
        relative += 2;
    if (relative && *relative && *relative != '/' &&
        asprintf(&place, "%s/%s", folder, relative) >= 0)
        add_place(resolver, place);
    if (probe->parent_absolute && *probe->parent_absolute == '/')
        add_place(resolver, strdup(probe->parent_absolute));
}

/* The files that were found are what was wished for? */
static bool is_complete(const struct image_resolver *resolver)
{
    const struct image_chain *chain = &resolver->chain;
    const struct image_open *last = &chain->opens[chain->count - 1];

    if (resolver->stop_at)
        return chain->count > 1 && last->dev == resolver->stop_stat.st_dev &&
               last->inode == resolver->stop_stat.st_ino;
    return resolver->wish.is_alone || !chain->probes[chain->count - 1].has_parent ||
           chain->count == resolver->wish.max_files;
}

static void advance(struct image_resolver *resolver)
{
    const struct image_chain *chain = &resolver->chain;
    struct api_error *error = NULL;

    if (is_complete(resolver)) {
        conclude(resolver, NULL);
    } else if (!chain->probes[chain->count - 1].has_parent) {
        api_error_set(&error, API_E_INVALID_PARAMETER, "image.not_ancestor", "into",
                      "%s is no ancestor of %s.", resolver->stop_at, resolver->path);
        conclude(resolver, error);
    } else if (chain->count == VMMS_CHAIN_MAX) {
        api_error_set(&error, API_E_PARENT_MISMATCH, "image.chain.depth", NULL,
                      "The chain of %s is longer than %d images.", resolver->path, VMMS_CHAIN_MAX);
        parent_wrong(resolver, error);
    } else {
        find_places(resolver);
        open_next(resolver);
    }
}

static bool is_text(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

static bool is_its_parent(const struct image_chain *chain)
{
    const struct image_answer *child = &chain->probes[chain->count - 2];
    const struct image_answer *parent = &chain->probes[chain->count - 1];

    return is_text(child->parent_id, parent->data_write) ||
           is_text(child->parent_id2, parent->data_write);
}

static void probed(void *opaque, struct image_answer *answer, struct api_error *error)
{
    struct image_resolver *resolver = opaque;
    struct image_chain *chain = &resolver->chain;
    size_t last = chain->count - 1;

    if (error && last == 0) {
        parent_wrong(resolver, error);
        return;
    }
    if (answer) {
        chain->probes[last] = *answer;
        *answer = (struct image_answer){ 0 };
    }
    if (!error && last > 0 && !is_its_parent(chain))
        api_error_set(&error, API_E_PARENT_MISMATCH, "image.parent.mismatch", NULL,
                      "%s is not the parent that %s was made for, or was written to since.",
                      chain->files[last].path, chain->files[last - 1].path);
    if (error) {
        drop_last(resolver);
        next_place(resolver, error);
        return;
    }
    advance(resolver);
}

static bool is_loop(const struct image_resolver *resolver)
{
    for (size_t i = 0; i < resolver->chain.count; i++) {
        if (resolver->chain.opens[i].dev == resolver->open.dev &&
            resolver->chain.opens[i].inode == resolver->open.inode)
            return true;
    }
    return false;
}

static void take_file(struct image_resolver *resolver)
{
    struct image_chain *chain = &resolver->chain;
    struct image_open *open = &resolver->open;
    size_t at = chain->count++;

    chain->files[at] = (struct vmms_image_file){
        .fd = open->fd,
        .path = strdup(at ? open->real_path : resolver->path),
        .format = resolver->format,
    };
    hv_assert(chain->files[at].path);
    chain->opens[at] = *open;
    *open = (struct image_open){ .fd = -1 };
    image_worker_probe(resolver->worker, &chain->files[at], probed, resolver);
}

static void opened(struct image_resolver *resolver)
{
    struct image_open *open = &resolver->open;
    struct api_error *error = HV_TAKE_PTR(open->error);

    if (open->is_in_use)
        error = image_in_use_error(resolver->images, open->path, &open->holder);
    if (!error && resolver->stop_at && resolver->stop_errnum)
        api_error_set(&error, API_E_FILE_NOT_FOUND, "image.file", "into", "%s cannot be found: %s.",
                      resolver->stop_at, strerror(resolver->stop_errnum));
    if (!error && is_loop(resolver))
        api_error_set(&error, API_E_PARENT_MISMATCH, "image.chain.loop", NULL,
                      "The chain of %s comes back to %s.", resolver->path, open->path);
    if (!error) {
        take_file(resolver);
        return;
    }
    open->fd = hv_close(open->fd);
    free(open->real_path);
    *open = (struct image_open){ .fd = -1 };
    if (resolver->chain.count == 0)
        conclude(resolver, error);
    else
        next_place(resolver, error);
}

static void open_work(uv_work_t *work)
{
    struct image_resolver *resolver = work->data;

    if (resolver->stop_at && stat(resolver->stop_at, &resolver->stop_stat) < 0)
        resolver->stop_errnum = errno;
    (void)image_file_open(&resolver->open);
}

static void open_done(uv_work_t *work, int status)
{
    struct image_resolver *resolver = work->data;

    resolver->is_working = false;
    if (!resolver->is_stopped) {
        opened(resolver);
        return;
    }
    hv_close(resolver->open.fd);
    free(resolver->open.real_path);
    resolver_free(resolver);
}

static void open_next(struct image_resolver *resolver)
{
    const struct image_chain *chain = &resolver->chain;
    bool is_first = chain->count == 0;

    if (!is_first && resolver->at_place == resolver->n_places) {
        no_parent_found(resolver);
        return;
    }
    resolver->open = (struct image_open){
        .fd = -1,
        .path = is_first ? resolver->path : resolver->places[resolver->at_place],
        .is_writable = is_first ? resolver->wish.is_writable : resolver->wish.are_parents_writable,
        .is_hint = !is_first,
        .is_unlocked = resolver->wish.is_unlocked,
        .child_owner = is_first ? 0 : chain->opens[chain->count - 1].owner,
    };
    resolver->is_working = true;
    hv_assert(uv_queue_work(resolver->images->config.loop, &resolver->work, open_work, open_done) ==
              0);
}

struct image_resolver *image_resolve(struct vmms_images *images, struct image_worker *worker,
                                     const struct image_chain_wish *wish, image_chain_fn *done,
                                     void *opaque)
{
    struct image_resolver *resolver = calloc(1, sizeof(*resolver));

    hv_assert(resolver);
    resolver->images = images;
    resolver->worker = worker;
    resolver->wish = *wish;
    resolver->format = wish->format;
    resolver->path = strdup(wish->path);
    resolver->stop_at = wish->stop_at ? strdup(wish->stop_at) : NULL;
    hv_assert(resolver->path && (resolver->stop_at || !wish->stop_at));
    resolver->done = done;
    resolver->opaque = opaque;
    resolver->work.data = resolver;
    open_next(resolver);
    return resolver;
}

struct image_resolver *image_resolver_stop(struct image_resolver *resolver)
{
    if (!resolver)
        return NULL;
    resolver->is_stopped = true;
    if (!resolver->is_working)
        resolver_free(resolver);
    return NULL;
}
