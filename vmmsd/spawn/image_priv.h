/* SPDX-License-Identifier: Apache-2.0 */
/* Files (image_files.c), the worker (image_worker.c), chains (image_chain.c), jobs (image_job.c).
 */
#pragma once

#include "hvcore/base/list.h"
#include "vmmsd/io/bus.h"
#include "vmmsd/spawn/image.h"

#include <sys/types.h>

enum { IMAGE_COMM_BYTES = 32 };

struct vmms_images {
    struct vmms_images_config config;
    struct hv_list tasks;
    struct hv_list workers;
    bool is_closing;
};

/* Files: blocking, any thread */

/* Who has a file open with a lock on it. */
struct image_holder {
    int pid; /* 0: not found */
    char comm[IMAGE_COMM_BYTES];
};

struct image_open {
    /* in; path outlives it */
    const char *path;
    bool is_writable;
    bool is_hint;     /* the path was read in an image: stricter */
    bool is_unlocked; /* only to look at it: others may have it and write to it */
    uid_t child_owner;
    /* out */
    int fd;
    dev_t dev;
    ino_t inode;
    uid_t owner;
    char *real_path; /* without symbolic links; the caller's */
    struct api_error *error;
    struct image_holder holder; /* filled when the file is in use */
    bool is_in_use;
};

/* Open and lock. Returns 0, or -EINVAL with open->error, or with is_in_use set and no error yet. */
int image_file_open(struct image_open *open);

/* The name under which a job makes what will be called `path`. NULL: out of memory. */
char *image_temporary_path(const char *path, const char *host_id, uint64_t job);

struct image_make {
    const char *path;      /* as it will be called */
    const char *temporary; /* NULL: only look whether it could be made */
    uint64_t bytes_needed;
    int fd;
    struct api_error *error;
};

/* Make the empty, locked temporary file. Returns 0, or -EINVAL with make->error. */
int image_file_make(struct image_make *make);

/* Give it its name, durably; never over another file. Coming again after it was done is fine. */
int image_file_publish(const char *temporary, const char *path, struct api_error **reterr);
/* Remove it, durably. What is not there is no error. */
int image_file_remove(const char *path, struct api_error **reterr);
/* The same of an image that was finished, unless somebody has it open by now. */
int image_file_unmake(const char *path, struct api_error **reterr);

/* The worker */

struct image_answer {
    char *format, *kind, *identity, *data_write, *parent_id, *parent_id2;
    char *parent_relative, *parent_absolute;
    uint64_t bytes, file_bytes;
    uint32_t logical_bytes, physical_bytes, block_bytes;
    bool is_log_pending, has_parent, is_cut_short;
    char **problems;
    size_t n_problems;
};

void image_answer_fini(struct image_answer *answer);

/* answer: the callee may take texts out of it; error: the callee's. One of them is NULL. */
typedef void image_answer_fn(void *opaque, struct image_answer *answer, struct api_error *error);
typedef void image_progress_fn(void *opaque, uint64_t done, uint64_t total);

struct image_worker;

/* Start a process. Returns 0, or -EINVAL with *reterr. job: for sentences, 0: none. */
int image_worker_new(struct vmms_images *images, uint64_t job, struct image_worker **ret,
                     struct api_error **reterr);
/* End it. Nothing is called back any more. Takes NULL. Returns NULL. */
struct image_worker *image_worker_free(struct image_worker *worker);
/* The same, and tell when its process is no more: only then are the locks free that went along with
 * its descriptors. */
void image_worker_end(struct image_worker *worker, void (*ended)(void *opaque), void *opaque);
/* Tell nobody of the ends that are still to come. */
void image_workers_forget(struct vmms_images *images);
/* A file's contents, within a deadline. */
void image_worker_probe(struct image_worker *worker, const struct vmms_image_file *file,
                        image_answer_fn *done, void *opaque);

struct image_run {
    const char *operation;
    const struct vmms_image_file *chain;
    size_t n_chain;
    const struct vmms_image_file *target; /* or NULL */
    /* options; zero and NULL: not given */
    const char *format, *kind, *mode, *parent_relative, *parent_absolute;
    uint64_t bytes;
    uint32_t block_bytes, logical_bytes, physical_bytes;
    bool is_forced, is_partial;
};

void image_worker_run(struct image_worker *worker, const struct image_run *run,
                      image_progress_fn *progress, image_answer_fn *done, void *opaque);
/* Ask it to stop, also with what it is asked later; one that does not is ended. The answer comes in
 * any case. */
void image_worker_cancel(struct image_worker *worker);

/* Is that process an image worker of ours? Its job's number, which may be 0. */
bool image_worker_of_pid(const struct vmms_images *images, int pid, uint64_t *ret_job);

/* Chains */

struct image_chain_wish {
    const char *path; /* copied */
    bool is_writable, are_parents_writable;
    bool is_alone;       /* do not look for parents */
    size_t max_files;    /* stop there; 0: go to the end */
    const char *stop_at; /* stop at this file, which must be among the ancestors; or NULL; copied */
    bool is_lenient;     /* what is wrong with what was opened is told beside it */
    bool is_unlocked;    /* only to look: whoever uses the files is not in the way */
    enum api_image_format format;
};

struct image_chain {
    /* read only */
    struct vmms_image_file files[VMMS_CHAIN_MAX];
    struct image_answer probes[VMMS_CHAIN_MAX];
    struct image_open opens[VMMS_CHAIN_MAX]; /* what opening told; without descriptors */
    size_t count;
    struct api_error *parents_error; /* of a lenient wish */
};

void image_chain_fini(struct image_chain *chain);

struct image_resolver;
/* chain: the callee's to empty; error: the callee's. One of them is NULL. */
typedef void image_chain_fn(void *opaque, struct image_chain *chain, struct api_error *error);

/* worker: borrowed, must stay until the end. */
struct image_resolver *image_resolve(struct vmms_images *images, struct image_worker *worker,
                                     const struct image_chain_wish *wish, image_chain_fn *done,
                                     void *opaque);
/* Stop, after its worker was freed; nothing is called back. Takes NULL. Returns NULL. */
struct image_resolver *image_resolver_stop(struct image_resolver *resolver);

/* Disks of VMs, with their parents */

struct image_users;
/* error: the callee's: which disk of which VM; NULL: of none. */
typedef void image_users_fn(void *opaque, struct api_error *error);

/* Is that file a parent, however far up, of a disk of a VM, whether it runs or not? What cannot be
 * read of a chain is passed over. path: copied; worker: borrowed, must stay until the end. */
struct image_users *image_users_find(struct vmms_images *images, struct image_worker *worker,
                                     const char *path, image_users_fn *done, void *opaque);
/* Stop, after its worker was freed; nothing is called back. Takes NULL. Returns NULL. */
struct image_users *image_users_stop(struct image_users *users);

/* "The file X is in use by VM web (process 12)." */
struct api_error *image_in_use_error(const struct vmms_images *images, const char *path,
                                     const struct image_holder *holder);
