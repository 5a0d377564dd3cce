/* SPDX-License-Identifier: Apache-2.0 */
/* Connection (image.c) and work (image_work.c). */
#pragma once

#include "vmwp/blk/image.h"

#include <systemd/sd-bus.h>

#define WP_IMAGE_PATH      "/org/hvstack/Image1"
#define WP_IMAGE_INTERFACE "org.hvstack.Image1"

enum { WP_IMAGE_MAX_PROBLEMS = 200 };

struct wp_image {
    sd_bus *bus;
    sd_bus_message *order; /* a call of Probe or Run that is not answered yet */
    bool is_cancelled;
    bool is_lost; /* nobody listens any more */
    uint64_t told_ns;
};

/* Do what the order says and answer it. Returns a negative errno when that cannot be sent. */
int wp_image_work(struct wp_image *image);

/* Told by the work, now and then: false stops it. */
bool wp_image_progress(void *opaque, uint64_t done, uint64_t total);
