/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk images: what a file holds, opening it as a disk, and the work done on images at rest.
 *
 * On descriptors only: no path is opened here; a path is what messages call the file. The format
 * of an image is recorded where it was attached and given here; it is guessed only by a probe that
 * is asked to. Every number in a file is hostile; nothing is written to an image that didn't pass.
 *
 * thread: a function here works on its files alone; run no two on the same image at once. All are
 *         slow (file I/O) and none starts a thread.
 * return: 0 or a negative errno: -EUCLEAN where an image is damaged, -EOPNOTSUPP where it wants
 *         what we lack, -EINVAL where the request makes no sense, -ECANCELED after a cancel, else
 *         the host's. *reterr then has a sentence that names the file, under a code "image.*".
 * spec:   MS-VHDX; Virtual Hard Disk Image Format Specification (2006)
 */
#pragma once

#include "hvcore/base/guid.h"
#include "vmwp/blk/disk.h"

enum {
    BLK_CHAIN_MAX = 32, /* images of one chain, the top one counted */
    BLK_PATH_BYTES = 4096
};

#define BLK_VHD_MAX_BYTES  (UINT64_C(2040) << 30)
#define BLK_VHDX_MAX_BYTES (UINT64_C(64) << 40)

struct blk_image_file {
    /* public */
    int fd;
    const char *path; /* for messages */
    enum blk_format format;
};

/* What an image says of itself. */
struct blk_probe {
    /* read only */
    enum blk_format format;
    enum blk_kind kind;
    uint64_t bytes;                                      /* virtual size */
    uint64_t file_bytes;                                 /* length of the file */
    uint32_t logical_bytes, physical_bytes, block_bytes; /* as in struct blk_info */
    struct hv_guid identity;   /* VHDX page 83 data, VHD unique id; raw: made of device and inode */
    struct hv_guid data_write; /* what a child's linkage must be: VHDX DataWriteGuid, VHD unique id;
                                  zeroes for raw */
    bool is_log_pending;       /* VHDX: changes wait in the log; a writable open applies them */
    bool has_parent;
    struct hv_guid parent_id, parent_id2; /* linkage: data_write of the parent; the second is an
                                             alternative, or zeroes */
    char parent_relative[BLK_PATH_BYTES]; /* hints: UTF-8, '/' between parts, "" where absent; */
    char parent_absolute[BLK_PATH_BYTES]; /* relative is to the folder of this image */
};

/*
 * What does the file hold? Only the structures that say so are read, never the whole table.
 *
 * expected: refuse anything else; NULL: by its content, raw where no signature is found. fd is
 * borrowed and may be read-only.
 */
int blk_image_probe(int fd, const char *path, const enum blk_format *expected,
                    struct blk_probe *ret, struct hv_error **reterr);

enum {
    BLK_OPEN_READ_ONLY = 1 << 0, /* no byte is written, a pending log is applied in memory only */
};

/*
 * Open a disk. chain[0] is the image on top, then its parent, and so on to the one without parent;
 * parents are only read. Linkage, depth and loops (device and inode) are checked.
 *
 * On success the descriptors are taken over and closed by blk_disk_close; on failure they remain
 * the caller's. chain and its paths are copied.
 */
int blk_image_open(const struct blk_image_file *chain, unsigned n_chain, unsigned flags,
                   struct blk_disk **ret, struct hv_error **reterr);

struct blk_create_options {
    /* public; zero means the default */
    enum blk_format format;
    enum blk_kind kind;
    uint64_t bytes;       /* virtual size; 0 only with a parent: as large as it */
    uint32_t block_bytes; /* VHDX: power of two, 1 to 256 MiB, default 32 MiB (2 MiB differencing);
                             VHD: power of two, 512 KiB to 256 MiB, default 2 MiB */
    uint32_t logical_bytes;  /* 512 (default) or 4096 (VHDX) */
    uint32_t physical_bytes; /* 512 or 4096; default 4096 for VHDX, 512 otherwise */
    /* differencing only */
    const struct blk_probe *parent;
    const char *parent_relative; /* UTF-8, relative to the new image's folder, or NULL */
    const char *parent_absolute; /* UTF-8, or NULL; one of both must be given */
};

/*
 * Make an image in an empty file. fd: borrowed, writable, length 0 (else -EEXIST). Durable when it
 * returns; after a failure the file is empty again. Syncing the folder is the caller's.
 */
int blk_image_create(int fd, const char *path, const struct blk_create_options *options,
                     struct hv_error **reterr);

/* One problem: a stable code and a sentence that names the file. Both live for the call. */
typedef void blk_problem_fn(void *opaque, const char *code, const char *sentence);

struct blk_check_result {
    /* read only */
    unsigned n_problems;
    uint64_t n_blocks;     /* of the table; 0 for fixed and raw */
    uint64_t n_allocated;  /* blocks with space in the file */
    uint64_t leaked_bytes; /* of the file, that nothing refers to; no problem */
};

/*
 * Judge an image strictly and tell each problem. Reads only; fd borrowed. Returns 0 when the image
 * was judged (whatever was found), a negative errno when it could not be read.
 */
int blk_image_check(const struct blk_image_file *image, blk_problem_fn *fn, void *opaque,
                    struct blk_check_result *ret, struct hv_error **reterr);

/* Told now and then; false cancels. done <= total, both bytes. */
struct blk_progress {
    /* public */
    bool (*fn)(void *opaque, uint64_t done, uint64_t total);
    void *opaque;
};

/* Long ones: progress may be NULL; descriptors are borrowed. Cancelled or failed they leave images
 * that are whole and say what they said before. */

/*
 * Copy a disk (a chain opened read-only) into a new image; only what isn't zero takes space.
 * fd, path, options: as for blk_image_create, bytes 0 meaning as large as the source. With a
 * parent given, only what differs from it is written; `parent` is that parent opened read-only
 * (NULL otherwise). On failure the file is empty again.
 */
int blk_image_convert(struct blk_disk *source, int fd, const char *path,
                      const struct blk_create_options *options, struct blk_disk *parent,
                      const struct blk_progress *progress, struct hv_error **reterr);

/*
 * Change the virtual size; a multiple of the logical sector. VHD and differencing images that lie
 * below others must not be resized by the caller. VHD only grows; VHDX shrinks to what is used.
 */
int blk_image_resize(const struct blk_image_file *image, uint64_t bytes,
                     const struct blk_progress *progress, struct hv_error **reterr);

/*
 * Merge chain[0] and all between into chain[n - 1], its ancestor, which must be writable and is
 * grown when the child is larger. Afterwards the ancestor reads as the child did and, as VHDX,
 * bears the child's data_write, so that children of chain[0] fit it. Until the end the chain reads
 * as before, also after a crash or cancel.
 */
int blk_image_merge(const struct blk_image_file *chain, unsigned n_chain,
                    const struct blk_progress *progress, struct hv_error **reterr);

enum blk_compact_mode {
    BLK_COMPACT_QUICK, /* move blocks into free space and shorten the file */
    BLK_COMPACT_FULL   /* first free blocks that hold only zeroes */
};

/* Give space back. Not for raw and fixed images (-EINVAL). */
int blk_image_compact(const struct blk_image_file *image, enum blk_compact_mode mode,
                      const struct blk_progress *progress, struct hv_error **reterr);

/*
 * Write a new parent into a differencing image. The parent must be as large or smaller and have
 * the same sectors. Unless is_forced, its data_write must be the linkage the image has now.
 * relative, absolute: as in blk_create_options.
 */
int blk_image_reparent(const struct blk_image_file *image, const struct blk_probe *parent,
                       const char *relative, const char *absolute, bool is_forced,
                       struct hv_error **reterr);
