/* SPDX-License-Identifier: Apache-2.0 */
/* A task (image_job.c), what its arguments mean and what is told of it (image_tell.c). */
#pragma once

#include "vmmsd/spawn/image_priv.h"

enum image_task_kind { TASK_JOB, TASK_ASK, TASK_CHAIN };

/* What goes on in libuv's pool. */
enum image_pool_work { POOL_NONE, POOL_MAKE, POOL_FINISH, POOL_UNDO };

/* One piece of work on images, from its order to its end. */
struct image_task {
    struct hv_list node;
    struct vmms_images *images;
    enum image_task_kind kind;
    uint64_t job;
    struct api_request request;
    struct image_worker *worker;
    struct image_resolver *resolver;
    struct image_users *users;
    struct image_chain chain;  /* of the image; of the parent for a new one */
    struct image_chain parent; /* of set_parent */
    struct vmms_image_file target;
    char *temporary;
    char *result;
    struct api_error *error; /* with which it ends when what it made is removed */
    enum image_pool_work pool_work;
    struct image_make make;
    struct api_error *pool_error;
    uv_work_t work;
    uv_timer_t deadline;
    bool is_cancelled, is_late;
    bool is_unmade;    /* what it had made is to go, and did not by itself */
    bool is_abandoned; /* the service closes: the pool's work has nobody to tell */
    void (*then)(struct image_task *task); /* when its worker is no more */
    union api_result answered;
    vmms_image_answer_fn *answer;
    vmms_chain_fn *chain_done;
    void *opaque;
};

/* An argument of its call that is a text; NULL: not given, or none of its arguments. */
const char *image_task_text(const struct image_task *task, const char *name);
/* An argument that is a format, or what the file's name says, which the core has seen to be there.
 */
enum api_image_format image_task_format(const struct image_task *task, const char *name,
                                        const char *path);
bool image_makes_file(enum api_method method);
/* Does it change what children read of the image, or how large they see it? A compacted image
 * reads as before. */
bool image_breaks_children(const struct image_task *task);
/* The file that a job makes, as it will be called. */
const char *image_task_target(const struct image_task *task);
/* From the folder of one file to another: "../base/a.vhdx". The caller frees it; NULL: no memory,
 * and the absolute name is given in any case. */
char *image_relative_path(const char *from, const char *to);
/* What the worker is to do with the files that were found. */
void image_task_fill_run(const struct image_task *task, struct image_run *run);

/* Answers, of a task whose files were found. False: the image itself was not understood. */
bool image_task_view(const struct image_task *task, struct api_image *ret);
void image_task_plan(const struct image_task *task, struct api_plan *ret);
/* The job's result as JSON. */
char *image_task_result(const struct image_task *task, const struct image_answer *answer);
