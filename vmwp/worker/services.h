/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A VM's integration components on the worker's loop: what vmwp/ic needs of time, and when it
 * rests.
 *
 * io thread. Made as if paused, and resumed with the first run; freed before the bus is.
 */
#pragma once

#include "hvcore/partition.h"
#include "vmwp/ic/services.h"
#include "vmwp/worker/loop.h"

struct state_image;
struct state_writer;
struct wp_services;

struct wp_services_config {
    /* public */
    struct wp_loop *loop;
    struct hv_partition *partition; /* whose reference counter the guest reads */
    struct vmbus_server *server;
    struct hv_log log;
    unsigned enabled; /* of IC_SERVICE_BIT() */
    bool has_time_samples;
    const struct ic_kvp_pair *host_pairs; /* outlive them */
    unsigned n_host_pairs;
    /* As in ic_services_config; may be NULL. */
    void (*changed)(void *opaque, enum ic_service service);
    void *opaque;
};

/* Offer what is enabled. Returns 0, or a negative errno with code vm.services. */
int wp_services_new(const struct wp_services_config *config, struct wp_services **ret,
                    struct hv_error **reterr);
/* Takes the offers back; who waits for a guest's answer hears nothing more. Takes NULL. */
struct wp_services *wp_services_free(struct wp_services *services);

/* What is asked, and what is known. Borrowed. */
struct ic_services *wp_services_ic(struct wp_services *services);

/* Around every pause, while VPs stand still. */
void wp_services_pause(struct wp_services *services);
void wp_services_resume(struct wp_services *services);
/* Paused, and the channels closed: a new guest begins. */
void wp_services_reset(struct wp_services *services);

/* Saved: out, while paused; which were enabled (false: that cannot be read); and in, into those,
 * before the bus. 0 or a negative errno. */
int wp_services_save(struct wp_services *services, struct state_writer *writer);
bool wp_services_saved(const struct state_image *image, unsigned *ret);
int wp_services_restore(struct wp_services *services, const struct state_image *image);
/* Have these offered and no others. 0 or an errno of ic_services_enable. */
int wp_services_enable(struct wp_services *services, unsigned wanted);
