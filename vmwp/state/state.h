/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file that a VM is saved to: written chunk by chunk, checked as a whole before it is used.
 *
 * The file is hostile: every number in it is bounded here, and what a chunk says is judged by who
 * reads it. One thread at a time.
 */
#pragma once

#include "hvcore/base/error.h"
#include "hvcore/base/fields.h"
#include "hvcore/base/guid.h"
#include "hvcore/gpa.h"

/* Four letters as a number, as they stand in the file. */
#define STATE_ID(a, b, c, d)                                                                       \
    ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

enum {
    STATE_MAX_CHUNK_BYTES = 4 << 20,
    STATE_MAX_PARTS = 4096,
    STATE_MAX_PARTS_BYTES = 64 << 20, /* all that isn't RAM */
    STATE_CPUID_WORDS = 16
};

/* What a file is of. */
struct state_head {
    /* public */
    struct hv_guid vm;
    uint8_t backend; /* enum hv_backend */
    uint32_t n_vps;
    uint64_t ram_bytes;
    uint64_t devices;                  /* a hash of what is plugged and how */
    uint64_t saved_ns;                 /* CLOCK_REALTIME */
    uint64_t tsc_hz;                   /* of the guest */
    uint32_t cpuid[STATE_CPUID_WORDS]; /* features that the guest may have found */
};

/* A chunk that was read; lives as long as its image. */
struct state_part {
    /* read only */
    uint32_t id;
    uint32_t instance;
    uint16_t version;
    uint32_t bytes;
    uint8_t *payload;
};

/* ---- writing ---- */

struct state_writer;

/* Begin a file; fd is borrowed, empty, at its beginning. Returns 0, -ENOMEM or the host's errno. */
int state_writer_new(int fd, const struct state_head *head, struct state_writer **ret);
struct state_writer *state_writer_free(struct state_writer *writer);

static inline void state_writer_freep(struct state_writer **writer)
{
    *writer = state_writer_free(*writer);
}

/* Append a part (parts.h) out of a fields writer, which is finished in any case. Returns 0, -ENOMEM
 * (the fields had none) or the host's errno. */
int state_writer_part(struct state_writer *writer, uint32_t id, uint32_t instance,
                      struct hv_fields *fields);
/* Append the next pieces of guest RAM, of about max_bytes of it. No VP runs. Returns 1: there is
 * more; 0: that was all; or an errno. */
int state_writer_ram(struct state_writer *writer, struct hv_gpa_space *space, uint64_t max_bytes);
/* How far state_writer_ram has come. */
uint64_t state_writer_ram_done(const struct state_writer *writer);
/* Write the end, cut what was reserved behind it, and sync. Only then is it a saved state. */
int state_writer_finish(struct state_writer *writer);

/*
 * Reserve the room that a VM of this RAM needs at most, before it stands still.
 *
 * return: 0; -ENOSPC with *ret_short, the bytes that are missing; or the host's errno
 */
int state_reserve(int fd, const struct hv_gpa_space *space, uint64_t *ret_short);

/* ---- reading ---- */

struct state_image;

/*
 * Read and check a whole file; fd is borrowed for the image's life.
 *
 * return: 0; -EINVAL (damaged or none), -ENOTSUP (a newer version's), -ENOMEM or the host's errno;
 *         with *reterr
 */
int state_image_open(int fd, struct state_image **ret, struct hv_error **reterr);
struct state_image *state_image_free(struct state_image *image);

static inline void state_image_freep(struct state_image **image)
{
    *image = state_image_free(*image);
}

/* What it is of; lives as long as the image. */
const struct state_head *state_image_head(const struct state_image *image);
/* A chunk, or NULL. */
const struct state_part *state_image_part(const struct state_image *image, uint32_t id,
                                          uint32_t instance);
/* A reader over a chunk: one that has failed when the chunk isn't there. */
struct hv_fields state_image_fields(const struct state_image *image, uint32_t id,
                                    uint32_t instance);
/* Put the guest's RAM, which is zero, as it was. Returns 0 or an errno with *reterr. */
int state_image_load_ram(struct state_image *image, struct hv_gpa_space *space,
                         struct hv_error **reterr);
