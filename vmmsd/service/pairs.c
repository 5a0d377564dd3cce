/* SPDX-License-Identifier: Apache-2.0 */
/* Has a guest given a certain pair? Asked while another VM waits for that with its start. */
#include "vmmsd/service/service_priv.h"

#include <string.h>

struct look {
    struct vmms_service *service;
    char for_vm[HV_GUID_TEXT_BYTES];
    uint64_t token;
    char *key;
};

static bool has_pair(const struct api_guest *guest, const char *key)
{
    for (size_t i = 0; guest && i < guest->n_kvp; i++) {
        if (guest->kvp[i].source != API_KVP_SOURCE_HOST && strcmp(guest->kvp[i].key, key) == 0)
            return true;
    }
    return false;
}

static void looked(void *opaque, struct api_guest *guest, struct api_error *error)
{
    struct look *look = opaque;

    if (!look->service->is_closing && has_pair(guest, look->key)) {
        vmms_core_kvp_found(look->service->core, look->for_vm, look->token);
        vmms_service_drain(look->service);
    }
    if (guest)
        api_guest_fini(guest);
    api_error_free(error);
    free(look->key);
    free(look);
}

void vmms_look_for_kvp(struct vmms_service *service, const struct vmms_effect *effect)
{
    struct look *look = calloc(1, sizeof(*look));

    hv_assert(look);
    look->service = service;
    memcpy(look->for_vm, effect->for_vm, sizeof(look->for_vm));
    look->token = effect->token;
    look->key = strdup(effect->text);
    hv_assert(look->key);
    vmms_spawner_guest(service->spawner, effect->row.id, looked, look);
}
