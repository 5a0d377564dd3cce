/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The definition: what vmmsd wants this worker to run, one JSON object (schemas/worker/README.md).
 *
 * The text is treated as hostile: size, depth, every key, type and value are checked before use.
 */
#pragma once

#include "hvcore/base/error.h"
#include "hvcore/base/guid.h"
#include "hvcore/host.h"

enum {
    WP_DEFINITION_MAX_BYTES = 4 << 20, /* 256 disks with long paths, and parents */
    WP_NAME_MAX_BYTES = 256,
    WP_CMDLINE_MAX_BYTES = 2047, /* what a Linux kernel keeps: COMMAND_LINE_SIZE without its NUL */
    WP_SECRET_BYTES = 64,        /* hex digits */
    WP_FIRST_GIVEN_FD = 6,
    WP_MAX_CONTROLLERS = 4,
    WP_LUNS = 64,
    WP_MAX_DISKS = WP_MAX_CONTROLLERS * WP_LUNS,
    WP_MAX_CHAIN = 33, /* an image and 32 parents */
};

#define WP_MEMORY_MIN_BYTES (UINT64_C(64) << 20)
#define WP_MEMORY_MAX_BYTES (UINT64_C(64) << 30)

enum wp_on_end { WP_ON_END_STOP, WP_ON_END_RESET };

enum wp_disk_kind { WP_DISK_DISK, WP_DISK_DVD };
enum wp_image_format { WP_IMAGE_RAW, WP_IMAGE_VHD, WP_IMAGE_VHDX };

struct wp_controller {
    /* read only */
    unsigned number;
    char instance[HV_GUID_TEXT_BYTES]; /* what the guest sees */
};

struct wp_image_file {
    /* read only */
    int fd;     /* as inherited, opened and locked by vmmsd */
    char *path; /* for messages */
};

struct wp_disk {
    /* read only */
    unsigned controller;
    unsigned lun;
    char id[HV_GUID_TEXT_BYTES];
    enum wp_disk_kind kind;
    enum wp_image_format format;
    bool is_read_only;
    struct wp_image_file *chain; /* the image, then its parents; none: a drive without a medium */
    size_t n_chain;
};

struct wp_service_choice {
    /* read only */
    bool heartbeat, shutdown, time_sync, kvp, vss, guest_services;
};

struct wp_definition {
    /* read only */
    char vm_id[HV_GUID_TEXT_BYTES];
    char incarnation[HV_GUID_TEXT_BYTES];
    char name[WP_NAME_MAX_BYTES + 1];
    char secret[WP_SECRET_BYTES + 1]; /* lower case */
    uint64_t epoch;
    enum hv_backend backend;
    unsigned cpu_count;
    uint64_t memory_bytes;
    int kernel_fd; /* numbers as inherited, or -1; the definition owns none of them */
    int initrd_fd;
    int kvm_fd;
    int restore_fd; /* a saved state to go on from, or -1 */
    char cmdline[WP_CMDLINE_MAX_BYTES + 1];
    uint16_t debug_exit_port; /* 0: none */
    enum wp_on_end on_triple_fault;
    enum wp_on_end on_reset;
    struct wp_service_choice services;
    struct wp_controller controllers[WP_MAX_CONTROLLERS];
    size_t n_controllers;
    struct wp_disk *disks; /* their descriptors belong to nobody here either */
    size_t n_disks;
};

/*
 * Read the definition out of a descriptor, from its beginning.
 *
 * return: 0; -EINVAL with code vm.definition.* and the field at fault; -EFBIG; or an errno of pread
 */
int wp_definition_read(int fd, struct wp_definition *ret, struct hv_error **reterr);

/* Frees its lists; closes nothing. */
void wp_definition_fini(struct wp_definition *definition);

/* The same from text (need not end in NUL). Checks everything but whether descriptors are open. */
int wp_definition_parse(const char *text, size_t length, struct wp_definition *ret,
                        struct hv_error **reterr);
