/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/spawn/image_task_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/writer.h"
#include "vmmsd/core/image_args.h"

#include <stdio.h>
#include <string.h>

/* What a plan takes for the speed of a disk. */
enum { BYTES_PER_S = 200 << 20 };

/* Arguments */

const char *image_task_text(const struct image_task *task, const char *name)
{
    const struct api_field *field =
        api_record_find(api_methods[task->request.method].args, name, NULL);
    char *text;

    if (!field)
        return NULL;
    memcpy(&text, (const char *)&task->request.args + field->offset, sizeof(text));
    return text;
}

/* An argument that is an enum, or what the file's name says, which the core has seen to be there.
 */
enum api_image_format image_task_format(const struct image_task *task, const char *name,
                                        const char *path)
{
    size_t index = 0;
    const struct api_field *field =
        api_record_find(api_methods[task->request.method].args, name, &index);
    enum api_image_format format = API_IMAGE_FORMAT_RAW;

    if (field && api_record_has(field, index, &task->request.args))
        memcpy(&format, (const char *)&task->request.args + field->offset, sizeof(format));
    else
        (void)vmms_image_format_of(path, name, &format, NULL);
    return format;
}

bool image_makes_file(enum api_method method)
{
    return method == API_METHOD_IMAGE_CREATE || method == API_METHOD_IMAGE_CONVERT;
}

bool image_breaks_children(const struct image_task *task)
{
    enum api_method method = task->request.method;

    return method == API_METHOD_IMAGE_RESIZE || method == API_METHOD_IMAGE_MERGE ||
           (method == API_METHOD_IMAGE_SET_PARENT && task->request.args.image_set_parent.force);
}

/* The file that a job makes, as it will be called. */
const char *image_task_target(const struct image_task *task)
{
    return image_task_text(task, task->request.method == API_METHOD_IMAGE_CREATE ? "path" : "to");
}

/* From the folder of one file to another: "../base/a.vhdx". NULL: the same file system tree does
 * not reach, or no memory; the absolute name is given in any case. */
char *image_relative_path(const char *from, const char *to)
{
    hv_autofree char *ups = strdup("");
    size_t common = 0;
    char *path = NULL;

    for (size_t i = 0; from[i] && from[i] == to[i]; i++) {
        if (from[i] == '/')
            common = i + 1;
    }
    for (const char *at = from + common; ups && (at = strchr(at, '/')); at++) {
        char *more = NULL;

        if (asprintf(&more, "%s../", ups) < 0)
            return NULL;
        free(ups);
        ups = more;
    }
    if (!ups || asprintf(&path, "%s%s", *ups ? ups : "./", to + common) < 0)
        return NULL;
    return path;
}

static uint32_t block_bytes(uint64_t bytes)
{
    return (uint32_t)bytes; /* the schema allows 256 MiB */
}

static void fill_create(const struct image_task *task, struct image_run *run)
{
    const struct api_image_create_args *args = &task->request.args.image_create;
    enum api_image_format format = task->target.format;

    run->operation = "create";
    run->kind = api_enum_image_type.values[vmms_image_type_of(args, format)];
    run->bytes = args->size_bytes;
    run->block_bytes = block_bytes(args->block_bytes);
    run->logical_bytes = args->logical_sector_bytes;
    run->physical_bytes = args->physical_sector_bytes;
    if (task->chain.count)
        run->parent_absolute = task->chain.opens[0].real_path;
}

static void fill_convert(const struct image_task *task, struct image_run *run)
{
    const struct api_image_convert_args *args = &task->request.args.image_convert;
    enum api_image_type type =
        task->target.format == API_IMAGE_FORMAT_RAW ? API_IMAGE_TYPE_FIXED : API_IMAGE_TYPE_DYNAMIC;

    if (args->has & API_IMAGE_CONVERT_ARGS_HAS_TO_TYPE)
        type = args->to_type;
    run->operation = "convert";
    run->kind = api_enum_image_type.values[type];
    run->block_bytes = block_bytes(args->block_bytes);
}

void image_task_fill_run(const struct image_task *task, struct image_run *run)
{
    const union api_args *args = &task->request.args;

    run->chain = task->chain.files;
    run->n_chain = task->chain.count;
    if (task->target.fd >= 0) {
        run->target = &task->target;
        run->format = api_enum_image_format.values[task->target.format];
    }
    switch (task->request.method) {
    case API_METHOD_IMAGE_CREATE: fill_create(task, run); break;
    case API_METHOD_IMAGE_CONVERT: fill_convert(task, run); break;
    case API_METHOD_IMAGE_VALIDATE:
        run->operation = "check";
        run->is_partial = task->chain.parents_error != NULL;
        break;
    case API_METHOD_IMAGE_RESIZE:
        run->operation = "resize";
        run->bytes = args->image_resize.size_bytes;
        break;
    case API_METHOD_IMAGE_MERGE: run->operation = "merge"; break;
    case API_METHOD_IMAGE_COMPACT:
        run->operation = "compact";
        run->mode = api_enum_compact_mode.values[args->image_compact.mode];
        break;
    default:
        run->operation = "set_parent";
        run->is_forced = args->image_set_parent.force;
        run->parent_absolute = task->parent.opens[0].real_path;
        break;
    }
}

/* Answers of asks */

static char *dup_text(const char *text)
{
    char *copy = text ? strdup(text) : NULL;

    hv_assert(!text || copy);
    return copy;
}

static void add_text(char ***list, size_t *count, const char *text)
{
    char **grown = reallocarray(*list, *count + 1, sizeof(char *));

    hv_assert(grown);
    *list = grown;
    grown[(*count)++] = dup_text(text);
}

static int type_of(const struct image_answer *probe)
{
    return probe->kind ? api_enum_index(&api_enum_image_type, probe->kind) : -1;
}

bool image_task_view(const struct image_task *task, struct api_image *image)
{
    const struct image_chain *chain = &task->chain;
    const struct image_answer *probe = &chain->probes[0];
    int type = type_of(probe);

    if (type < 0)
        return false;
    *image = (struct api_image){ .path = dup_text(chain->files[0].path),
                                 .format = chain->files[0].format,
                                 .type = (enum api_image_type)type,
                                 .size_bytes = probe->bytes,
                                 .file_bytes = probe->file_bytes,
                                 .logical_sector_bytes = probe->logical_bytes,
                                 .physical_sector_bytes = probe->physical_bytes,
                                 .block_bytes = probe->block_bytes,
                                 .id = dup_text(probe->identity),
                                 .is_clean = !probe->is_log_pending };
    image->has |= probe->block_bytes ? API_IMAGE_HAS_BLOCK_BYTES : 0;
    if (probe->has_parent)
        image->parent_id = dup_text(probe->parent_id);
    if (chain->count > 1)
        image->parent = dup_text(chain->files[1].path);
    for (size_t i = 0; i < chain->count; i++)
        add_text(&image->chain, &image->n_chain, chain->files[i].path);
    if (chain->parents_error)
        image->chain_error = dup_text(chain->parents_error->message);
    return true;
}

static void add_file(struct api_plan *plan, const char *path, enum api_plan_change change)
{
    plan->files = reallocarray(plan->files, plan->n_files + 1, sizeof(*plan->files));
    hv_assert(plan->files);
    plan->files[plan->n_files++] =
        (struct api_plan_file){ .path = dup_text(path), .change = change };
}

static void plan_files(const struct image_task *task, struct api_plan *plan)
{
    const struct image_chain *chain = &task->chain;

    switch (task->request.method) {
    case API_METHOD_IMAGE_CREATE:
    case API_METHOD_IMAGE_CONVERT:
        add_file(plan, image_task_target(task), API_PLAN_CHANGE_CREATED);
        break;
    case API_METHOD_IMAGE_MERGE:
        for (size_t i = 0; i + 1 < chain->count; i++)
            add_file(plan, chain->files[i].path, API_PLAN_CHANGE_MERGED);
        add_file(plan, chain->files[chain->count - 1].path, API_PLAN_CHANGE_CHANGED);
        break;
    case API_METHOD_IMAGE_VALIDATE: break;
    default: add_file(plan, chain->files[0].path, API_PLAN_CHANGE_CHANGED); break;
    }
}

/* The first step is the one that takes time. */
static void add_step(const struct image_task *task, struct api_plan *plan, const char *what)
{
    const char *target = image_makes_file(task->request.method) ? image_task_target(task)
                                                                : task->chain.files[0].path;
    struct api_plan_step step = { .what = dup_text(what), .object = dup_text(target) };
    uint64_t bytes = task->make.bytes_needed;

    if (!plan->n_steps && bytes) {
        step.has = API_PLAN_STEP_HAS_BYTES | API_PLAN_STEP_HAS_SECONDS;
        step.bytes = bytes;
        step.seconds = (uint32_t)(bytes / BYTES_PER_S + 1);
    }
    plan->steps = reallocarray(plan->steps, plan->n_steps + 1, sizeof(*plan->steps));
    hv_assert(plan->steps);
    plan->steps[plan->n_steps++] = step;
}

void image_task_plan(const struct image_task *task, struct api_plan *plan)
{
    static const struct {
        enum api_method method;
        const char *steps[3];
    } rows[] = {
        { API_METHOD_IMAGE_CREATE,
          { "make the image under a temporary name", "give it its name" } },
        { API_METHOD_IMAGE_CONVERT,
          { "copy the disk under a temporary name", "give the copy its name" } },
        { API_METHOD_IMAGE_VALIDATE, { "read the image and its parents" } },
        { API_METHOD_IMAGE_RESIZE, { "change the size of the disk" } },
        { API_METHOD_IMAGE_MERGE,
          { "write the changes into the ancestor", "remove the images that were merged" } },
        { API_METHOD_IMAGE_COMPACT, { "move blocks to the front", "shorten the file" } },
        { API_METHOD_IMAGE_SET_PARENT, { "write the parent's name into the image" } },
    };

    *plan = (struct api_plan){ 0 };
    plan->verdict = dup_text("ok");
    plan->space_needed = task->make.bytes_needed;
    for (size_t i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        for (size_t at = 0; rows[i].method == task->request.method && rows[i].steps[at]; at++)
            add_step(task, plan, rows[i].steps[at]);
    }
    plan_files(task, plan);
}

/* Results */

static void put_files(struct json_writer *out, const struct api_plan *plan, const char *key,
                      enum api_plan_change change, enum api_plan_change or_change)
{
    json_key(out, key);
    json_begin_array(out);
    for (size_t i = 0; i < plan->n_files; i++) {
        if (plan->files[i].change == change || plan->files[i].change == or_change)
            json_put_string(out, plan->files[i].path);
    }
    json_end_array(out);
}

static char *files_result(const struct image_task *task)
{
    struct api_plan plan = { 0 };
    struct json_writer out = { 0 };
    char *text;

    plan_files(task, &plan);
    json_begin_object(&out);
    put_files(&out, &plan, "created", API_PLAN_CHANGE_CREATED, API_PLAN_CHANGE_CREATED);
    put_files(&out, &plan, "changed", API_PLAN_CHANGE_CHANGED, API_PLAN_CHANGE_CHANGED);
    put_files(&out, &plan, "removed", API_PLAN_CHANGE_REMOVED, API_PLAN_CHANGE_MERGED);
    json_end_object(&out);
    api_plan_fini(&plan);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

static char *check_result(const struct image_task *task, const struct image_answer *answer)
{
    const struct api_error *parents = task->chain.parents_error;
    struct api_image_check check = { .is_cut_short = answer->is_cut_short };
    struct json_writer out = { 0 };
    char *text;

    for (size_t i = 0; i < answer->n_problems; i++)
        add_text(&check.errors, &check.n_errors, answer->problems[i]);
    /* Where the image itself was not understood, the check has told why. */
    if (parents && (type_of(&task->chain.probes[0]) >= 0 || !check.n_errors))
        add_text(&check.errors, &check.n_errors, parents->message);
    if (task->chain.probes[0].is_log_pending)
        add_text(&check.warnings, &check.n_warnings,
                 "The image was not closed well; its log is replayed when it is next opened to "
                 "write.");
    check.is_ok = !check.n_errors;
    api_record_write(&api_record_image_check, &check, UINT64_MAX, &out);
    api_image_check_fini(&check);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    return text;
}

char *image_task_result(const struct image_task *task, const struct image_answer *answer)
{
    return task->request.method == API_METHOD_IMAGE_VALIDATE ? check_result(task, answer)
                                                             : files_result(task);
}
