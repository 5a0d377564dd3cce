/* SPDX-License-Identifier: Apache-2.0 */
/* Looks at files that a call names: asked for, and judged when the answer is there. */
#include "vmmsd/core/core_priv.h"

#include "api/gen/tables.h"

#include <string.h>

struct vmms_file *vmms_files_add(struct vmms_core *core, struct vmms_effect **effect,
                                 const char *field, const char *path)
{
    struct vmms_file *file;

    if (!*effect)
        *effect = vmms_emit(core, VMMS_EFFECT_CHECK_FILES);
    (*effect)->files =
        reallocarray((*effect)->files, (*effect)->n_files + 1, sizeof(struct vmms_file));
    hv_assert((*effect)->files);
    file = &(*effect)->files[(*effect)->n_files++];
    *file = (struct vmms_file){ .field = field ? strdup(field) : NULL, .path = strdup(path) };
    hv_assert(file->path && (!field || file->field));
    return file;
}

void vmms_files_add_known(struct vmms_core *core, struct vmms_effect **effect,
                          const struct vmms_row *row)
{
    for (size_t i = 0; i < row->n_devices; i++) {
        if (row->devices[i].path)
            (void)vmms_files_add(core, effect, NULL, row->devices[i].path);
    }
}

void vmms_files_add_image(struct vmms_core *core, struct vmms_effect **effect, const char *field,
                          const struct api_device *device)
{
    struct vmms_file *file;

    if (!device->path)
        return;
    file = vmms_files_add(core, effect, field, device->path);
    file->is_image = true;
    file->is_written = !device->read_only;
    file->format = device->format;
}

bool vmms_files_wait(struct vmms_core *core, struct vmms_effect *effect, struct vmms_call *call)
{
    if (!effect)
        return false;
    if (core->tx) {
        vmms_tx_note_files(core, effect);
        return false;
    }
    effect->call = call->id;
    hv_list_append(&core->checking, &call->node);
    return true;
}

/* Has the file that is to be made a place? */
static void judge_place(const struct vmms_file *file, struct api_error **reterr)
{
    if (file->errnum == EEXIST)
        api_error_set(reterr, API_E_ALREADY_EXISTS, "image.exists", file->field,
                      "There is a file %s already.", file->path);
    else if (file->errnum)
        api_error_set(reterr, API_E_INVALID_PARAMETER, "image.path", file->field,
                      "The file %s cannot be made: its folder cannot be written to: %s.",
                      file->path, strerror(file->errnum));
}

static void judge_reading(const struct vmms_file *file, struct api_error **reterr)
{
    if (file->is_made)
        judge_place(file, reterr);
    else if (file->errnum == ENOENT || file->errnum == ENOTDIR)
        api_error_set(reterr, API_E_FILE_NOT_FOUND, "vm.file", file->field,
                      "%s: there is no file %s.", file->field, file->path);
    else if (file->errnum)
        api_error_set(reterr, API_E_INVALID_PARAMETER, "vm.file", file->field,
                      "%s: the file %s cannot be read: %s.", file->field, file->path,
                      strerror(file->errnum));
    else if (!file->is_regular)
        api_error_set(reterr, API_E_INVALID_PARAMETER, "vm.file", file->field,
                      "%s: %s is not a regular file.", file->field, file->path);
    else if (file->is_written && !file->is_writable)
        api_error_set(reterr, API_E_INVALID_PARAMETER, "vm.file.read_only", file->field,
                      "%s: the file %s cannot be written; attach it with read_only.", file->field,
                      file->path);
}

/* What is recorded must be true now; a raw disk whose content looks like another format is one
 * only when the caller says so, which the format in the call does. */
static void judge_format(const struct vmms_file *file, struct api_error **reterr)
{
    static const enum vmms_looks looks[] = { [API_IMAGE_FORMAT_RAW] = VMMS_LOOKS_RAW,
                                             [API_IMAGE_FORMAT_VHD] = VMMS_LOOKS_VHD,
                                             [API_IMAGE_FORMAT_VHDX] = VMMS_LOOKS_VHDX };

    if (file->format == API_IMAGE_FORMAT_RAW || looks[file->format] == file->looks)
        return;
    api_error_set(reterr, API_E_CORRUPT_IMAGE, "vm.device.format", file->field,
                  "%s: %s is to be attached as %s, and is none.", file->field, file->path,
                  api_enum_image_format.values[file->format]);
    api_error_hint(*reterr, "Name its true format.");
}

static bool is_same_file(const struct vmms_file *a, const struct vmms_file *b)
{
    return !a->errnum && !b->errnum && a->device == b->device && a->inode == b->inode;
}

/* One image cannot be two disks of a VM, under whatever names. */
static void judge_twins(const struct vmms_file *files, size_t at, size_t n_files,
                        struct api_error **reterr)
{
    for (size_t i = 0; i < n_files; i++) {
        bool counts = !files[i].field || (files[i].is_image && i < at);

        if (i == at || !counts || !is_same_file(&files[at], &files[i]))
            continue;
        api_error_set(reterr, API_E_ALREADY_EXISTS, "vm.device.twice", files[at].field,
                      "%s: %s is the same file as %s, which the VM has already.", files[at].field,
                      files[at].path, files[i].path);
    }
}

static void judge(const struct vmms_file *files, size_t n_files, struct api_error **reterr)
{
    for (size_t i = 0; i < n_files && !*reterr; i++) {
        if (!files[i].field)
            continue;
        judge_reading(&files[i], reterr);
        if (*reterr || !files[i].is_image)
            continue;
        judge_format(&files[i], reterr);
        judge_twins(files, i, n_files, reterr);
    }
}

struct api_error *vmms_files_judge(const struct vmms_file *files, size_t n_files)
{
    struct api_error *error = NULL;

    judge(files, n_files, &error);
    return error;
}

/* A transaction's files, call by call: one call's files are no twins of another VM's. */
static struct api_error *judge_by_call(const struct vmms_call *call, const struct vmms_file *files)
{
    size_t end;

    for (size_t at = 0; at < call->n_file_ops; at = end) {
        HV_CLEANUP(api_error_freep) struct api_error *error = NULL;

        for (end = at + 1; end < call->n_file_ops && call->file_ops[end] == call->file_ops[at];)
            end++;
        error = vmms_files_judge(files + at, end - at);
        if (error)
            return vmms_tx_error(call->file_ops[at], NULL, error);
    }
    return NULL;
}

void vmms_core_files_checked(struct vmms_core *core, uint64_t id, const struct vmms_file *files,
                             size_t n_files)
{
    HV_LIST_FOREACH (node, &core->checking) {
        struct vmms_call *call = HV_LIST_ENTRY(node, struct vmms_call, node);
        struct api_error *error;

        if (call->id != id)
            continue;
        hv_list_remove(node);
        if (call->n_file_ops && call->n_file_ops == n_files)
            error = judge_by_call(call, files);
        else
            error = vmms_files_judge(files, n_files);
        if (error) {
            vmms_reply_error(core, call, error);
            return;
        }
        call->are_files_checked = true;
        vmms_handle_call(core, call);
        return;
    }
}
