/* SPDX-License-Identifier: Apache-2.0 */
/* A saved state before a worker is made of it: read, checked, and compared with the definition. */
#pragma once

#include "hvcore/time/tsc.h"
#include "vmwp/worker/definition.h"

struct state_image;

/*
 * Open the definition's restore_fd. Where it leaves the backend open, it is the saved one's then;
 * tsc, the host's, gets the rate that the guest knows.
 *
 * return: 0; -EINVAL (damaged, or another VM's), -ENOTSUP (this host or program cannot), -ESTALE (a
 *         disk was changed since) or the host's errno; with *reterr
 */
int wp_saved_open(struct wp_definition *definition, struct hv_tsc_facts *tsc,
                  struct state_image **ret, struct hv_error **reterr);
