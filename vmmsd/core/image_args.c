/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/core/image_args.h"

#include "api/gen/tables.h"

#include <string.h>
#include <strings.h>

#define VHD_MAX_BYTES (UINT64_C(2040) << 30)

int vmms_image_format_of(const char *path, const char *field, enum api_image_format *ret,
                         struct api_error **reterr)
{
    static const struct {
        const char *ending;
        enum api_image_format format;
    } rows[] = {
        { ".vhdx", API_IMAGE_FORMAT_VHDX }, { ".avhdx", API_IMAGE_FORMAT_VHDX },
        { ".vhd", API_IMAGE_FORMAT_VHD },   { ".avhd", API_IMAGE_FORMAT_VHD },
        { ".raw", API_IMAGE_FORMAT_RAW },   { ".img", API_IMAGE_FORMAT_RAW },
        { ".iso", API_IMAGE_FORMAT_RAW },
    };
    const char *dot = strrchr(path, '.');
    int r;

    for (size_t i = 0; dot && i < HV_ARRAY_SIZE(rows); i++) {
        if (strcasecmp(dot, rows[i].ending) == 0) {
            *ret = rows[i].format;
            return 0;
        }
    }
    r = api_error_set(reterr, API_E_INVALID_PARAMETER, "image.format", field,
                      "The name of %s does not say which format it has.", path);
    if (reterr && *reterr)
        api_error_set_text(&(*reterr)->data.allowed, "raw, vhd or vhdx");
    api_error_hint(reterr ? *reterr : NULL, "Give %s: raw, vhd or vhdx.", field);
    return r;
}

enum api_image_type vmms_image_type_of(const struct api_image_create_args *args,
                                       enum api_image_format format)
{
    if (args->has & API_IMAGE_CREATE_ARGS_HAS_TYPE)
        return args->type;
    if (args->parent)
        return API_IMAGE_TYPE_DIFFERENCING;
    return format == API_IMAGE_FORMAT_RAW ? API_IMAGE_TYPE_FIXED : API_IMAGE_TYPE_DYNAMIC;
}

static int refuse(struct api_error **reterr, const char *field, const char *text,
                  const char *allowed)
{
    int r = api_error_set(reterr, API_E_INVALID_PARAMETER, "image.argument", field, "%s: %s.",
                          field, text);

    if (*reterr && allowed)
        api_error_set_text(&(*reterr)->data.allowed, allowed);
    return r;
}

static int check_size(uint64_t bytes, enum api_image_format format, struct api_error **reterr)
{
    if (format == API_IMAGE_FORMAT_VHD && bytes > VHD_MAX_BYTES)
        return refuse(reterr, "size_bytes", "a VHD holds at most 2040 GiB",
                      "at most 2190433320960 bytes; VHDX holds more");
    return 0;
}

static int check_block(uint64_t bytes, enum api_image_format format, enum api_image_type type,
                       struct api_error **reterr)
{
    if (!bytes)
        return 0;
    if (format == API_IMAGE_FORMAT_RAW)
        return refuse(reterr, "block_bytes", "a raw image has no blocks", NULL);
    if (type == API_IMAGE_TYPE_FIXED && format == API_IMAGE_FORMAT_VHD)
        return refuse(reterr, "block_bytes", "a fixed VHD has no blocks", NULL);
    if (bytes & (bytes - 1) || (format == API_IMAGE_FORMAT_VHDX && bytes < UINT64_C(1) << 20))
        return refuse(reterr, "block_bytes", "not a block size of this format",
                      "a power of two, to 256 MiB, from 1 MiB (VHDX) or 512 KiB (VHD)");
    return 0;
}

static int check_sectors(const struct api_image_create_args *args, enum api_image_format format,
                         struct api_error **reterr)
{
    const struct {
        const char *field;
        uint32_t bytes;
    } rows[] = { { "logical_sector_bytes", args->logical_sector_bytes },
                 { "physical_sector_bytes", args->physical_sector_bytes } };

    for (size_t i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        if (rows[i].bytes && rows[i].bytes != 512 && rows[i].bytes != 4096)
            return refuse(reterr, rows[i].field, "not a sector size", "512 or 4096");
        if (rows[i].bytes == 4096 && format != API_IMAGE_FORMAT_VHDX)
            return refuse(reterr, rows[i].field, "only VHDX has sectors of 4096 bytes", "512");
    }
    if (args->logical_sector_bytes == 4096 && args->size_bytes % 4096)
        return refuse(reterr, "size_bytes", "not a multiple of the sector", NULL);
    return 0;
}

/* Which of size, type and parent go together. */
static int check_kind(const struct api_image_create_args *args, enum api_image_format format,
                      enum api_image_type type, struct api_error **reterr)
{
    if (type == API_IMAGE_TYPE_DIFFERENCING && !args->parent)
        return refuse(reterr, "parent", "a differencing image needs one", NULL);
    if (type != API_IMAGE_TYPE_DIFFERENCING && args->parent)
        return refuse(reterr, "type", "an image with a parent is a differencing one",
                      "differencing");
    if (format == API_IMAGE_FORMAT_RAW && type != API_IMAGE_TYPE_FIXED)
        return refuse(reterr, "type", "a raw image is always fixed", "fixed");
    if (!args->parent && !args->size_bytes)
        return refuse(reterr, "size_bytes", "it is missing", "1 MiB to 64 TiB");
    return 0;
}

static int check_create(const struct api_image_create_args *args, struct api_error **reterr)
{
    enum api_image_format format = args->format, parent;
    enum api_image_type type;
    int r = 0;

    if (!(args->has & API_IMAGE_CREATE_ARGS_HAS_FORMAT))
        r = vmms_image_format_of(args->path, "format", &format, reterr);
    if (r < 0)
        return r;
    type = vmms_image_type_of(args, format);
    if (check_kind(args, format, type, reterr) < 0 ||
        check_size(args->size_bytes, format, reterr) < 0 ||
        check_block(args->block_bytes, format, type, reterr) < 0 ||
        check_sectors(args, format, reterr) < 0)
        return -EINVAL;
    if (args->parent && vmms_image_format_of(args->parent, "parent", &parent, NULL) == 0 &&
        parent != format)
        return refuse(reterr, "parent", "an image and its parent have the same format", NULL);
    return 0;
}

static int check_convert(const struct api_image_convert_args *args, struct api_error **reterr)
{
    enum api_image_format format = args->format, to = args->to_format;

    if (!(args->has & API_IMAGE_CONVERT_ARGS_HAS_FORMAT) &&
        vmms_image_format_of(args->path, "format", &format, reterr) < 0)
        return -EINVAL;
    if (!(args->has & API_IMAGE_CONVERT_ARGS_HAS_TO_FORMAT) &&
        vmms_image_format_of(args->to, "to_format", &to, reterr) < 0)
        return -EINVAL;
    if (args->has & API_IMAGE_CONVERT_ARGS_HAS_TO_TYPE) {
        if (args->to_type == API_IMAGE_TYPE_DIFFERENCING)
            return refuse(reterr, "to_type", "a copy stands alone", "fixed or dynamic");
        if (to == API_IMAGE_FORMAT_RAW && args->to_type != API_IMAGE_TYPE_FIXED)
            return refuse(reterr, "to_type", "a raw image is always fixed", "fixed");
    }
    return check_block(args->block_bytes, to, args->to_type, reterr);
}

/* The others have a path, and `format` or its name says which. */
static int check_path(const char *path, bool has_format, struct api_error **reterr)
{
    enum api_image_format format;

    return has_format ? 0 : vmms_image_format_of(path, "format", &format, reterr);
}

int vmms_image_check_args(const struct api_request *request, struct api_error **reterr)
{
    const union api_args *args = &request->args;

    switch (request->method) {
    case API_METHOD_IMAGE_CREATE: return check_create(&args->image_create, reterr);
    case API_METHOD_IMAGE_CONVERT: return check_convert(&args->image_convert, reterr);
    case API_METHOD_IMAGE_INFO:
        return check_path(args->image_info.path, args->has & API_IMAGE_INFO_ARGS_HAS_FORMAT,
                          reterr);
    case API_METHOD_IMAGE_VALIDATE:
        return check_path(args->image_validate.path, args->has & API_IMAGE_VALIDATE_ARGS_HAS_FORMAT,
                          reterr);
    case API_METHOD_IMAGE_RESIZE:
        return check_path(args->image_resize.path, args->has & API_IMAGE_RESIZE_ARGS_HAS_FORMAT,
                          reterr);
    case API_METHOD_IMAGE_MERGE: return check_path(args->image_merge.path, false, reterr);
    case API_METHOD_IMAGE_COMPACT: return check_path(args->image_compact.path, false, reterr);
    case API_METHOD_IMAGE_SET_PARENT: return check_path(args->image_set_parent.path, false, reterr);
    default: return 0;
    }
}
