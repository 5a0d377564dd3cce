/* SPDX-License-Identifier: Apache-2.0 */
/* Where the service goes away in the middle: it may be about to come back, newer than before. */
#include "cli/adm.h"

#include "hvcore/base/clock.h"

#include <stdio.h>
#include <string.h>

enum { TRY_MS = 200 };

bool adm_is_away(const struct api_error *error)
{
    return error && error->data.message_id &&
           (error->code == API_E_NOT_AVAILABLE || error->code == API_E_STATUS_UNKNOWN) &&
           strncmp(error->data.message_id, "client.", 7) == 0;
}

bool adm_await_service(struct adm *adm, struct adm_absence *absence, uint64_t deadline_ns,
                       struct api_error **error)
{
    uint64_t now = hv_clock_monotonic_ns(), since = absence->since_ns ? absence->since_ns : now;

    if (!adm_is_away(*error))
        return false;
    absence->was_there |= strcmp((*error)->data.message_id, "client.lost") == 0;
    if (!absence->was_there || now >= deadline_ns || now - since >= adm->patience_ms * HV_NS_PER_MS)
        return false;
    if (!absence->since_ns) {
        (void)fflush(stdout);
        (void)fprintf(stderr, "hvadm: The service has gone away; it is waited for.\n");
    }
    absence->since_ns = since;
    *error = api_error_free(*error);
    (void)usleep(TRY_MS * 1000);
    /* What it holds open is of the one that has gone. */
    adm->client = api_client_close(adm->client);
    return api_client_open(adm->address, &adm->client, error) == 0;
}

void adm_service_is_there(struct adm_absence *absence)
{
    if (absence->since_ns)
        (void)fprintf(stderr, "hvadm: The service is back.\n");
    *absence = (struct adm_absence){ .was_there = true };
}
