/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disk images: opened and locked here, read by one-shot workers (`vmwp --image`) only.
 *
 * All functions belong to the loop's thread and return at once; file work runs in libuv's pool,
 * and what happens is told from the loop. Rules 7.1, 7.5, 7.7, 8.13 to 8.15 of the reliability
 * reference.
 */
#pragma once

#include "hvcore/base/log.h"
#include "vmmsd/core/core.h"

struct uv_loop_s;
struct vmms_images;

enum { VMMS_CHAIN_MAX = 32 };

/* A disk of a VM; all is the caller's, for the time of the call. */
typedef void vmms_disk_fn(void *opaque, const char *vm_name, const struct api_device *disk);

struct vmms_images_config {
    /* public: texts must outlive the images */
    struct uv_loop_s *loop;
    const char *worker_path;
    const char *host_id; /* marks our temporary files */
    const struct hv_log *log;
    void *opaque;
    /* fact is the callee's to empty, as vmms_core_job_fact does */
    void (*job_fact)(void *opaque, struct vmms_job_fact *fact);
    /* Whose process is that ("VM web")? For sentences about files in use. False: not known. */
    bool (*name_process)(void *opaque, int pid, char *ret, size_t room);
    /* The disks that VMs have now, whatever their state: one call of `disk` for each. */
    void (*each_disk)(void *opaque, vmms_disk_fn *disk, void *disk_opaque);
};

/* Returns 0 or -ENOMEM; config is copied. */
int vmms_images_new(const struct vmms_images_config *config, struct vmms_images **ret);

/* End all work at once, without an answer to anybody; handles close in the loop. */
void vmms_images_close(struct vmms_images *images);
/* After the loop has run out. */
void vmms_images_free(struct vmms_images *images);

/* One file of a chain: the first is the image itself, the next its parent, and so on. */
struct vmms_image_file {
    /* public */
    int fd; /* locked: the lock goes where the descriptor goes, and ends with its last copy */
    char *path;
    enum api_image_format format;
};

/* Close the descriptors and free the array. Takes NULL. */
void vmms_image_files_free(struct vmms_image_file *files, size_t count);

struct vmms_chain_request {
    /* public */
    const char *path;
    bool is_writable;                    /* the first; parents are opened to be read */
    const enum api_image_format *format; /* as recorded; NULL: by the file's name */
};

/* files: the callee's, n_files of them; or NULL and an error that is the callee's. */
typedef void vmms_chain_fn(void *opaque, struct vmms_image_file *files, size_t n_files,
                           struct api_error *error);

/*
 * Open an image with all its parents, for a VM that is to have it as a disk. Parents are looked for
 * where a sandboxed worker reads that they are, and must be those that the child was made for.
 * Errors name the file: FileNotFound, InUse with its holder, ParentMissing, ParentMismatch,
 * CorruptImage, ... Calls back exactly once, unless vmms_images_close comes first.
 */
void vmms_images_resolve(struct vmms_images *images, const struct vmms_chain_request *request,
                         vmms_chain_fn *done, void *opaque);

/* Jobs, as the effects of core.h say: request is copied. */
void vmms_images_run_job(struct vmms_images *images, uint64_t job, uint64_t deadline_ms,
                         const struct api_request *request);
void vmms_images_cancel_job(struct vmms_images *images, uint64_t job);
void vmms_images_finish_job(struct vmms_images *images, uint64_t job,
                            const struct api_request *request, const char *result);
/* result: of one that was done, and whose file is to go as well if nobody uses it; or NULL */
void vmms_images_undo_job(struct vmms_images *images, uint64_t job,
                          const struct api_request *request, const char *result);

/* result: image of image.info, job_changed with a plan otherwise; the callee's to finish; NULL with
 * an error that is the callee's. */
typedef void vmms_image_answer_fn(void *opaque, union api_result *result, struct api_error *error);

/* Answer image.info, or what an image method would do. request is copied. */
void vmms_images_ask(struct vmms_images *images, const struct api_request *request,
                     vmms_image_answer_fn *done, void *opaque);
