/* SPDX-License-Identifier: Apache-2.0 */
/* Orders on disk images: read from their messages, done by vmwp/blk, answered. */
#include "vmwp/worker/image_priv.h"

#include <fcntl.h>
#include <string.h>

static const char *const formats[] = {
    [BLK_FORMAT_RAW] = "raw", [BLK_FORMAT_VHD] = "vhd", [BLK_FORMAT_VHDX] = "vhdx"
};
static const char *const kinds[] = { [BLK_KIND_FIXED] = "fixed",
                                     [BLK_KIND_DYNAMIC] = "dynamic",
                                     [BLK_KIND_DIFFERENCING] = "differencing" };

struct work {
    struct wp_image *image;
    const char *operation;
    struct blk_image_file chain[BLK_CHAIN_MAX];
    unsigned n_chain;
    struct blk_image_file target;
    bool has_target;
    struct blk_create_options create;
    struct blk_probe parent;
    enum blk_compact_mode mode;
    uint64_t bytes;
    int is_forced; /* sd-bus booleans are ints */
    int is_partial;
    struct hv_error *error;
    char *problems[WP_IMAGE_MAX_PROBLEMS];
    unsigned n_problems;
    bool is_cut_short;
};

static int refuse(struct work *work, const char *what)
{
    return hv_error_set(&work->error, -EBADMSG, "image.order", "The worker was asked wrongly: %s.",
                        what);
}

static int index_of(const char *const *names, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0)
            return (int)i;
    }
    return -1;
}

/* Reading orders. Descriptors and texts belong to the message, which outlives the work. */

static int read_file(sd_bus_message *m, struct blk_image_file *ret, const char **ret_format)
{
    int r = sd_bus_message_enter_container(m, 'r', "hss");

    if (r <= 0)
        return r;
    r = sd_bus_message_read(m, "hss", &ret->fd, &ret->path, ret_format);
    return r < 0 ? r : sd_bus_message_exit_container(m) < 0 ? -EBADMSG : 1;
}

static int read_files(struct work *work, sd_bus_message *m, struct blk_image_file *ret,
                      unsigned max, unsigned *ret_count)
{
    int r = sd_bus_message_enter_container(m, 'a', "(hss)"), format;
    struct blk_image_file file;
    const char *name;

    while (r >= 0 && (r = read_file(m, &file, &name)) > 0) {
        format = index_of(formats, HV_ARRAY_SIZE(formats), name);
        if (format < 0 || *ret_count == max)
            return refuse(work, "a format that is not known, or too many files");
        file.format = (enum blk_format)format;
        ret[(*ret_count)++] = file;
    }
    r = r < 0 ? r : sd_bus_message_exit_container(m);
    return r < 0 ? refuse(work, "the list of files is malformed") : 0;
}

static int take_name(const char *const *names, size_t count, const char *name, int *ret)
{
    *ret = index_of(names, count, name);
    return *ret < 0 ? -EBADMSG : 0;
}

static int read_option(struct work *work, sd_bus_message *m, const char *key)
{
    struct blk_create_options *o = &work->create;
    const char *text;
    int r, index;

    if (strcmp(key, "bytes") == 0)
        return sd_bus_message_read(m, "v", "t", &work->bytes);
    if (strcmp(key, "block_bytes") == 0)
        return sd_bus_message_read(m, "v", "u", &o->block_bytes);
    if (strcmp(key, "logical_bytes") == 0)
        return sd_bus_message_read(m, "v", "u", &o->logical_bytes);
    if (strcmp(key, "physical_bytes") == 0)
        return sd_bus_message_read(m, "v", "u", &o->physical_bytes);
    if (strcmp(key, "parent_relative") == 0)
        return sd_bus_message_read(m, "v", "s", &o->parent_relative);
    if (strcmp(key, "parent_absolute") == 0)
        return sd_bus_message_read(m, "v", "s", &o->parent_absolute);
    if (strcmp(key, "force") == 0)
        return sd_bus_message_read(m, "v", "b", &work->is_forced);
    if (strcmp(key, "is_partial") == 0)
        return sd_bus_message_read(m, "v", "b", &work->is_partial);
    r = sd_bus_message_read(m, "v", "s", &text);
    if (r < 0)
        return r;
    if (strcmp(key, "mode") == 0) {
        work->mode = strcmp(text, "quick") == 0 ? BLK_COMPACT_QUICK : BLK_COMPACT_FULL;
        return 0;
    }
    if (strcmp(key, "format") == 0) {
        r = take_name(formats, HV_ARRAY_SIZE(formats), text, &index);
        o->format = r < 0 ? o->format : (enum blk_format)index;
        return r;
    }
    if (strcmp(key, "kind") == 0) {
        r = take_name(kinds, HV_ARRAY_SIZE(kinds), text, &index);
        o->kind = r < 0 ? o->kind : (enum blk_kind)index;
        return r;
    }
    return -EBADMSG;
}

static int read_options(struct work *work, sd_bus_message *m)
{
    int r = sd_bus_message_enter_container(m, 'a', "{sv}");
    const char *key;

    while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        r = sd_bus_message_read(m, "s", &key);
        r = r < 0 ? r : read_option(work, m, key);
        r = r < 0 ? r : sd_bus_message_exit_container(m);
    }
    work->create.bytes = work->bytes;
    return r < 0 ? refuse(work, "an option is malformed or not known") : 0;
}

static int read_run(struct work *work, sd_bus_message *m)
{
    unsigned n_target = 0;
    int r = sd_bus_message_read(m, "s", &work->operation);

    if (r < 0)
        return refuse(work, "no operation");
    r = read_files(work, m, work->chain, BLK_CHAIN_MAX, &work->n_chain);
    if (r == 0)
        r = read_files(work, m, &work->target, 1, &n_target);
    work->has_target = n_target == 1;
    return r < 0 ? r : read_options(work, m);
}

/* Operations */

static int probe_parent(struct work *work, const struct blk_image_file *file)
{
    return blk_image_probe(file->fd, file->path, &file->format, &work->parent, &work->error);
}

static int run_create(struct work *work)
{
    int r = 0;

    if (work->n_chain) {
        r = probe_parent(work, &work->chain[0]);
        work->create.parent = &work->parent;
    }
    return r < 0
               ? r
               : blk_image_create(work->target.fd, work->target.path, &work->create, &work->error);
}

/* A disk takes its descriptors over: it gets copies, the message keeps its own. */
static int open_source(struct work *work, struct blk_disk **ret)
{
    struct blk_image_file copies[BLK_CHAIN_MAX];
    int r = 0;

    for (unsigned i = 0; i < work->n_chain; i++) {
        copies[i] = work->chain[i];
        copies[i].fd = fcntl(work->chain[i].fd, F_DUPFD_CLOEXEC, 3);
        if (copies[i].fd < 0)
            r = -errno;
    }
    if (r == 0)
        r = blk_image_open(copies, work->n_chain, BLK_OPEN_READ_ONLY, ret, &work->error);
    for (unsigned i = 0; r < 0 && i < work->n_chain; i++)
        hv_close(copies[i].fd);
    return r;
}

static int run_convert(struct work *work, const struct blk_progress *progress)
{
    struct blk_disk *source;
    int r = open_source(work, &source);

    if (r < 0)
        return r;
    r = blk_image_convert(source, work->target.fd, work->target.path, &work->create, NULL, progress,
                          &work->error);
    blk_disk_close(source);
    return r;
}

static void take_problem(void *opaque, const char *code, const char *sentence)
{
    struct work *work = opaque;
    char *copy = work->n_problems < WP_IMAGE_MAX_PROBLEMS ? strdup(sentence) : NULL;

    if (copy)
        work->problems[work->n_problems++] = copy;
    else
        work->is_cut_short = true;
}

static uint64_t file_bytes(const struct blk_image_file *file)
{
    off_t end = lseek(file->fd, 0, SEEK_END);

    return end > 0 ? (uint64_t)end : 0;
}

/* Each image by itself, then whether they fit together; the latter only of images that are whole.
 */
static int run_check(struct work *work)
{
    struct blk_check_result result;
    struct blk_disk *disk;
    uint64_t done = 0, total = 0;
    int r = 0;

    for (unsigned i = 0; i < work->n_chain; i++)
        total += file_bytes(&work->chain[i]);
    for (unsigned i = 0; i < work->n_chain && r == 0; i++) {
        if (!wp_image_progress(work->image, done, total))
            return hv_error_set(&work->error, -ECANCELED, "image.cancelled",
                                "The check was stopped.");
        r = blk_image_check(&work->chain[i], take_problem, work, &result, &work->error);
        done += file_bytes(&work->chain[i]);
    }
    if (r < 0 || work->n_problems || work->is_partial)
        return r;
    r = open_source(work, &disk);
    if (r < 0 && work->error && r != -ENOMEM) {
        take_problem(work, "image.open", hv_error_message(work->error, r));
        work->error = hv_error_free(work->error);
        return 0;
    }
    if (r == 0)
        blk_disk_close(disk);
    return r;
}

static int run_set_parent(struct work *work)
{
    int r;

    if (work->n_chain != 2)
        return refuse(work, "an image and its parent are expected");
    r = probe_parent(work, &work->chain[1]);
    return r < 0 ? r
                 : blk_image_reparent(&work->chain[0], &work->parent, work->create.parent_relative,
                                      work->create.parent_absolute, work->is_forced, &work->error);
}

static int run(struct work *work)
{
    const struct blk_progress progress = { wp_image_progress, work->image };
    const char *operation = work->operation;
    bool makes = strcmp(operation, "create") == 0 || strcmp(operation, "convert") == 0;

    if (makes != work->has_target || (!work->n_chain && strcmp(operation, "create") != 0))
        return refuse(work, "the files do not fit the operation");
    if (strcmp(operation, "create") == 0)
        return run_create(work);
    if (strcmp(operation, "convert") == 0)
        return run_convert(work, &progress);
    if (strcmp(operation, "check") == 0)
        return run_check(work);
    if (strcmp(operation, "resize") == 0)
        return blk_image_resize(&work->chain[0], work->bytes, &progress, &work->error);
    if (strcmp(operation, "merge") == 0)
        return blk_image_merge(work->chain, work->n_chain, &progress, &work->error);
    if (strcmp(operation, "compact") == 0)
        return blk_image_compact(&work->chain[0], work->mode, &progress, &work->error);
    if (strcmp(operation, "set_parent") == 0)
        return run_set_parent(work);
    return refuse(work, "no such operation");
}

/* Answers */

static int append_error(sd_bus_message *reply, int r, const struct hv_error *error)
{
    return sd_bus_message_append(reply, "a{sv}", 3, "error", "s",
                                 error && error->code ? error->code : "image.failed", "errno", "u",
                                 (uint32_t)-r, "message", "s", hv_error_message(error, r));
}

static int append_probe(sd_bus_message *reply, const struct blk_probe *p)
{
    char identity[HV_GUID_TEXT_BYTES], data_write[HV_GUID_TEXT_BYTES];
    char parent[HV_GUID_TEXT_BYTES], parent2[HV_GUID_TEXT_BYTES];

    hv_guid_format(&p->identity, identity);
    hv_guid_format(&p->data_write, data_write);
    hv_guid_format(&p->parent_id, parent);
    hv_guid_format(&p->parent_id2, parent2);
    return sd_bus_message_append(
        reply, "a{sv}", 15, "format", "s", formats[p->format], "kind", "s", kinds[p->kind], "bytes",
        "t", p->bytes, "file_bytes", "t", p->file_bytes, "logical_bytes", "u", p->logical_bytes,
        "physical_bytes", "u", p->physical_bytes, "block_bytes", "u", p->block_bytes, "identity",
        "s", identity, "data_write", "s", data_write, "is_log_pending", "b", p->is_log_pending,
        "has_parent", "b", p->has_parent, "parent_id", "s", parent, "parent_id2", "s", parent2,
        "parent_relative", "s", p->parent_relative, "parent_absolute", "s", p->parent_absolute);
}

static int append_problems(sd_bus_message *reply, const struct work *work)
{
    int r = sd_bus_message_open_container(reply, 'a', "{sv}");

    r = r < 0 ? r : sd_bus_message_append(reply, "{sv}", "is_cut_short", "b", work->is_cut_short);
    r = r < 0 ? r : sd_bus_message_open_container(reply, 'e', "sv");
    r = r < 0 ? r : sd_bus_message_append(reply, "s", "problems");
    r = r < 0 ? r : sd_bus_message_open_container(reply, 'v', "as");
    r = r < 0 ? r : sd_bus_message_open_container(reply, 'a', "s");
    for (unsigned i = 0; r >= 0 && i < work->n_problems; i++)
        r = sd_bus_message_append(reply, "s", work->problems[i]);
    for (int i = 0; r >= 0 && i < 4; i++)
        r = sd_bus_message_close_container(reply);
    return r;
}

static int answer_probe(struct work *work, sd_bus_message *m, sd_bus_message *reply)
{
    struct blk_probe *probe = &work->parent;
    struct blk_image_file file;
    enum blk_format expected;
    const char *name;
    int r = read_file(m, &file, &name), index;

    if (r <= 0)
        return append_error(reply, -EBADMSG, NULL);
    index = index_of(formats, HV_ARRAY_SIZE(formats), name);
    if (index < 0 && *name)
        return append_error(reply, -EBADMSG, NULL);
    expected = (enum blk_format)(index < 0 ? 0 : index);
    r = blk_image_probe(file.fd, file.path, *name ? &expected : NULL, probe, &work->error);
    return r < 0 ? append_error(reply, r, work->error) : append_probe(reply, probe);
}

static int answer_run(struct work *work, sd_bus_message *m, sd_bus_message *reply)
{
    int r = read_run(work, m);

    if (r == 0)
        r = run(work);
    return r < 0 ? append_error(reply, r, work->error) : append_problems(reply, work);
}

int wp_image_work(struct wp_image *image)
{
    struct work *work = calloc(1, sizeof(*work));
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    sd_bus_message *m = image->order;
    int r = sd_bus_message_new_method_return(m, &reply);

    if (!work)
        return -ENOMEM;
    work->image = image;
    if (r >= 0)
        r = sd_bus_message_is_method_call(m, WP_IMAGE_INTERFACE, "Probe") > 0
                ? answer_probe(work, m, reply)
                : answer_run(work, m, reply);
    r = r < 0 ? r : sd_bus_send(image->bus, reply, NULL);
    for (unsigned i = 0; i < work->n_problems; i++)
        free(work->problems[i]);
    hv_error_free(work->error);
    free(work);
    return r < 0 ? r : sd_bus_flush(image->bus);
}
