/* SPDX-License-Identifier: Apache-2.0 */
/* The core among files, a store and a worker that outlive it: it can be ended at any instant and
 * started again on what is left. */
#pragma once

#include "vmmsd/core/core.h"

enum { CORE_PLACE_MAX = 16, CORE_PLACE_QUEUE = 256 };

/* What outlives the service: its database, files, and the worker of the VM "on". */
struct core_place {
    struct vmms_row rows[CORE_PLACE_MAX];
    size_t n_rows;
    struct vmms_job_row jobs[CORE_PLACE_MAX];
    size_t n_jobs;
    char *files[CORE_PLACE_MAX];
    struct api_device disks[CORE_PLACE_MAX]; /* of the worker */
    size_t n_disks;
    const char *refused; /* path of a disk that the worker does not take, or NULL */
    size_t stopped;      /* job whose work does not end by itself, or 0 */
    uint64_t seq, clock, chance;
    struct vmms_core *core;
    struct vmms_effect *queue[CORE_PLACE_QUEUE];
    size_t n_queue;
    int instants; /* until the service ends; -1: it does not */
    bool is_dead;
    int code; /* of the answer; -1: none */
    uint32_t index;
};

/* "on" runs with a disk at 0:0 and an empty drive at 0:1; "off" is off. */
struct core_place *core_place_new(void);
void core_place_free(struct core_place *place);

/* As call 1, whose answer is kept in code and index. */
void core_place_apply(struct core_place *place, const char *ops);
/* After a call: what the core wants is queued, and its invariants are checked. */
void core_place_take_effects(struct core_place *place);
/* Until nothing is left to do, or it ends. Returns false when it ended. */
bool core_place_run(struct core_place *place);
void core_place_look_at_files(struct core_place *place, struct vmms_effect *effect);

void core_place_forget_service(struct core_place *place);
void core_place_start_service(struct core_place *place);

char **core_place_file(struct core_place *place, const char *path);
struct api_device *core_place_disk(struct core_place *place, const char *disk);
const struct vmms_row *core_place_row(const struct core_place *place, const char *name);
/* As text, so that two places can be compared: files, VMs with their disks, the worker's disks. */
char *core_place_describe(const struct core_place *place);
