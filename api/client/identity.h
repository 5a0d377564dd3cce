/* SPDX-License-Identifier: Apache-2.0 */
/* As whom a client calls a service from afar: files below ~/.config/hvstack (or $XDG_CONFIG_HOME),
 * a folder HOST_PORT each (curl takes what follows a colon for a password), for nobody else to
 * read: ca.pem, the service's authority, and client.pem, key and certificate in one, so that one
 * rename replaces both. */
#pragma once

#include "api/rpc/error.h"

struct api_identity {
    /* read only */
    char *authority; /* PEM */
    char *identity;  /* PEM: key, then certificate */
};
void api_identity_fini(struct api_identity *identity);

/* address: HOST:PORT. Returns 0 or -EINVAL with *reterr. */
int api_identity_read(const char *address, struct api_identity *ret, struct api_error **reterr);
/* Make or replace; authority NULL: stays. ret_folder: where, freed by the caller, or NULL. */
int api_identity_write(const char *address, const char *authority, const char *key,
                       const char *certificate, char **ret_folder, struct api_error **reterr);
