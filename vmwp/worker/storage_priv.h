/* SPDX-License-Identifier: Apache-2.0 */
/* The storage's insides, for what saves it. owner: the io thread */
#pragma once

#include "vmwp/blk/image.h"
#include "vmwp/vsp/storvsp/storvsp.h"
#include "vmwp/worker/storage.h"

struct unit {
    struct hv_list node;
    char id[HV_GUID_TEXT_BYTES];
    enum wp_disk_kind kind;
    unsigned controller;
    unsigned lun;
    struct blk_disk *disk; /* NULL: a drive without a medium */
    int fds[WP_MAX_CHAIN]; /* the disk's own, to tell its files by; the image first */
    size_t n_files;
    bool is_failure_told;
};

struct controller {
    struct wp_storage *storage;
    struct storvsp_controller *storvsp;
    struct wp_task sweep;
};

struct wp_storage {
    struct wp_storage_config config;
    struct controller controllers[WP_MAX_CONTROLLERS];
    struct hv_list units;
    uv_timer_t *look;  /* for failures, while the guest runs */
    uv_timer_t *retry; /* of requests that are held */
    uint64_t retry_ms;
    bool is_critical;
};
