/* SPDX-License-Identifier: Apache-2.0 */
/* The blocking part of a start: directories, descriptors, the process itself. Any thread. */
#pragma once

#include "vmmsd/core/core.h"
#include "vmmsd/spawn/disks.h"

struct vmms_launch {
    /* public: set by the caller, texts must outlive the launch */
    const char *worker_path;
    const char *state_dir;
    const char *runtime_dir;
    uint64_t epoch;
    bool is_unit; /* it will be one of systemd's: its log goes to the journal, and it is held
                   * (SIGSTOP) until it is where its memory counts */
    struct vmms_row row;
    struct vmms_disk *disks; /* open; belong to the launch, which closes them */
    size_t n_disks;
    /* read only: filled by vmms_launch_run */
    int pid;
    int pidfd;
    int status_fd;
    uint64_t pid_start;
    struct api_error *error;
};

/* Returns 0, or -EINVAL with launch->error; nothing is left running then. */
int vmms_launch_run(struct vmms_launch *launch);

/* Paths, built from our own ids only. The caller frees them; NULL: out of memory. */
char *vmms_path_socket(const char *runtime_dir, const char *vm_id);
char *vmms_path_state(const char *state_dir, const char *vm_id, const char *name);
/* The saved state that a worker has finished: in its place, durably. Also when it is there already.
 * Returns 0 or a negative errno; -ENOENT: there is none. */
int vmms_saved_keep(const char *state_dir, const char *vm_id);
/* A file for one that is about to be written; empty. Returns a descriptor or a negative errno. */
int vmms_saved_create(const char *state_dir, const char *vm_id);
/* Out of the way at once; what is left of it is removed later, by the second. */
void vmms_saved_set_aside(const char *state_dir, const char *vm_id);
void vmms_saved_remove(const char *state_dir, const char *vm_id);
/* Remove a VM's directories. Returns 0 or a negative errno; what is not there is no error. */
int vmms_remove_files(const char *state_dir, const char *runtime_dir, const char *vm_id);
