/* SPDX-License-Identifier: Apache-2.0 */
/* The front doors that open and make images: descriptors in, layers behind. */
#include "vmwp/blk/chain_priv.h"
#include "vmwp/blk/image.h"

#include <string.h>

static const char *const format_names[] = {
    [BLK_FORMAT_RAW] = "raw", [BLK_FORMAT_VHD] = "VHD", [BLK_FORMAT_VHDX] = "VHDX"
};

static bool has_bytes(struct blk_file *file, uint64_t offset, const char *signature)
{
    char found[8];

    return offset <= file->bytes && file->bytes - offset >= sizeof(found) &&
           blk_file_read(file, offset, found, sizeof(found)) == 0 &&
           memcmp(found, signature, sizeof(found)) == 0;
}

/* spec: MS-VHDX 2.2 file type identifier; VHD "Hard Disk Footer Format", cookie */
static enum blk_format guess_format(struct blk_file *file)
{
    if (has_bytes(file, 0, "vhdxfile"))
        return BLK_FORMAT_VHDX;
    if (has_bytes(file, 0, "conectix") ||
        (file->bytes >= 512 && has_bytes(file, file->bytes - 512, "conectix")))
        return BLK_FORMAT_VHD;
    return BLK_FORMAT_RAW;
}

static int probe_file(struct blk_file *file, const enum blk_format *expected, struct blk_probe *ret,
                      struct hv_error **reterr)
{
    struct blk_report report = { .path = file->path, .reterr = reterr };
    enum blk_format format = expected ? *expected : guess_format(file);
    struct blk_layer *layer;
    int r;

    r = blk_layer_open(file, format, BLK_OPEN_READ_ONLY | BLK_OPEN_PROBE, &report, &layer);
    if (r < 0) {
        if ((unsigned)format < HV_ARRAY_SIZE(format_names))
            hv_error_set(reterr, r, "image.probe", "Image %s: can't be read as %s (%s).",
                         file->path, format_names[format], strerror(-r));
        return r;
    }
    *ret = layer->probe;
    *file = layer->file;
    layer->ops->free(layer);
    return 0;
}

int blk_image_probe(int fd, const char *path, const enum blk_format *expected,
                    struct blk_probe *ret, struct hv_error **reterr)
{
    struct blk_file file;
    int r;

    r = blk_file_init(&file, fd, path, reterr);
    if (r < 0)
        return r;
    r = probe_file(&file, expected, ret, reterr);
    blk_file_release(&file);
    return r;
}

static int init_files(struct blk_file *files, enum blk_format *formats,
                      const struct blk_image_file *chain, unsigned n_chain,
                      struct hv_error **reterr)
{
    for (unsigned i = 0; i < n_chain; i++) {
        int r = blk_file_init(&files[i], chain[i].fd, chain[i].path, reterr);

        if (r < 0) {
            while (i-- > 0)
                blk_file_release(&files[i]);
            return r;
        }
        formats[i] = chain[i].format;
    }
    return 0;
}

int blk_image_open(const struct blk_image_file *chain, unsigned n_chain, unsigned flags,
                   struct blk_disk **ret, struct hv_error **reterr)
{
    struct blk_file files[BLK_CHAIN_MAX];
    enum blk_format formats[BLK_CHAIN_MAX];
    int r;

    if (n_chain == 0 || n_chain > BLK_CHAIN_MAX)
        return hv_error_set(reterr, -EINVAL, "image.chain.depth",
                            "Image %s: its chain has %u images; 1 to %d are possible.",
                            n_chain ? chain[0].path : "(none)", n_chain, BLK_CHAIN_MAX);
    r = init_files(files, formats, chain, n_chain, reterr);
    if (r < 0)
        return r;
    r = blk_disk_open_files(files, formats, n_chain, flags, ret, reterr);
    for (unsigned i = 0; r < 0 && i < n_chain; i++)
        blk_file_release(&files[i]);
    return r;
}

int blk_image_create(int fd, const char *path, const struct blk_create_options *options,
                     struct hv_error **reterr)
{
    struct blk_report report = { .path = path, .reterr = reterr };
    struct blk_file file;
    int r;

    r = blk_file_init(&file, fd, path, reterr);
    if (r < 0)
        return r;
    r = blk_create(&file, options, &report);
    blk_file_release(&file);
    return r;
}
