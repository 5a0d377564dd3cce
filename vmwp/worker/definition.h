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
    WP_DEFINITION_MAX_BYTES = 64 * 1024,
    WP_NAME_MAX_BYTES = 256,
    WP_CMDLINE_MAX_BYTES = 2047, /* what a Linux kernel keeps: COMMAND_LINE_SIZE without its NUL */
    WP_SECRET_BYTES = 64,        /* hex digits */
    WP_FIRST_GIVEN_FD = 6,
};

#define WP_MEMORY_MIN_BYTES (UINT64_C(64) << 20)
#define WP_MEMORY_MAX_BYTES (UINT64_C(64) << 30)

enum wp_on_end { WP_ON_END_STOP, WP_ON_END_RESET };

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
    char cmdline[WP_CMDLINE_MAX_BYTES + 1];
    uint16_t debug_exit_port; /* 0: none */
    enum wp_on_end on_triple_fault;
    enum wp_on_end on_reset;
};

/*
 * Read the definition out of a descriptor, from its beginning.
 *
 * return: 0; -EINVAL with code vm.definition.* and the field at fault; -EFBIG; or an errno of pread
 */
int wp_definition_read(int fd, struct wp_definition *ret, struct hv_error **reterr);

/* The same from text (need not end in NUL). Checks everything but whether descriptors are open. */
int wp_definition_parse(const char *text, size_t length, struct wp_definition *ret,
                        struct hv_error **reterr);
