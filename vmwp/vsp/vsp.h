/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every service provider and integration component is to the machine that holds it.
 *
 * A provider is made with its plug (disk, console, ...) and offers its channel to the server it is
 * given. All of it on the io thread, but for what it runs on threads of its own.
 */
#pragma once

#include "hvcore/base/log.h"
#include "vmwp/vmbus/channel.h"

struct vsp_ops {
    /* public */
    const char *name; /* "storvsp" */
    /* Stop: no thread of the provider touches guest memory or its plug when this returns; requests
     * that were under way are completed or kept. VPs stand still. */
    void (*pause)(void *vsp);
    void (*resume)(void *vsp);
    /* As when it was made, its channels are closed already: the guest is reset. */
    void (*reset)(void *vsp);
    /* Offers are revoked or the server is gone. Takes NULL. */
    void *(*free)(void *vsp);
};
