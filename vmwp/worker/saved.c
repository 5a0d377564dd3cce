/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/worker/saved.h"

#include "vmwp/state/state.h"
#include "vmwp/worker/storage.h"

#include <inttypes.h>
#include <string.h>

/* Two measurements of one host differ by less; a guest that is told a wrong rate has a wrong clock
 * until it is set again. */
enum { TSC_TOLERANCE = 1000 };

static int check_vm(const struct wp_definition *definition, const struct state_head *head,
                    struct hv_error **reterr)
{
    struct hv_guid vm;

    if (hv_guid_parse(definition->vm_id, &vm) < 0 || !hv_guid_equal(&vm, &head->vm))
        return hv_error_set(reterr, -EINVAL, "vm.saved_state.other",
                            "The saved state is another VM's.");
    if (head->n_vps != definition->cpu_count)
        return hv_error_set_field(reterr, -EINVAL, "vm.saved_state.settings", "cpu.count",
                                  "The VM was saved with %" PRIu32 " processors and has %u now.",
                                  head->n_vps, definition->cpu_count);
    if (head->ram_bytes != definition->memory_bytes)
        return hv_error_set_field(reterr, -EINVAL, "vm.saved_state.settings", "memory.startup",
                                  "The VM was saved with %" PRIu64 " MiB of memory and has %" PRIu64
                                  " MiB now.",
                                  head->ram_bytes >> 20, definition->memory_bytes >> 20);
    if (head->devices != wp_definition_fingerprint(definition))
        return hv_error_set_field(reterr, -EINVAL, "vm.saved_state.settings", "devices",
                                  "The VM was saved with other controllers, disks or drives than "
                                  "it has now.");
    return 0;
}

/* A guest on the software processor goes on with it where KVM has become available, too: it has
 * found out once what it runs on. */
static int check_host(struct wp_definition *definition, const struct state_head *head,
                      struct hv_tsc_facts *tsc, struct hv_error **reterr)
{
    uint64_t difference = head->tsc_hz > tsc->hz ? head->tsc_hz - tsc->hz : tsc->hz - head->tsc_hz;
    enum hv_backend backend = (enum hv_backend)head->backend;

    if (backend != HV_BACKEND_KVM && backend != HV_BACKEND_SOFT)
        return hv_error_set(reterr, -EINVAL, "vm.saved_state.damaged",
                            "The saved state names no backend that there is.");
    if (definition->backend != HV_BACKEND_AUTO && definition->backend != backend)
        return hv_error_set_field(reterr, -ENOTSUP, "vm.saved_state.backend", "backend",
                                  "The VM was saved on backend %s; it can go on only there.",
                                  hv_backend_name(backend));
    if (difference > head->tsc_hz / TSC_TOLERANCE)
        return hv_error_set(reterr, -ENOTSUP, "vm.saved_state.clock",
                            "The saved state's clock runs at %" PRIu64
                            " kHz, this host's at %" PRIu64 " kHz.",
                            head->tsc_hz / 1000, tsc->hz / 1000);
    definition->backend = backend;
    tsc->hz = head->tsc_hz;
    return 0;
}

int wp_saved_open(struct wp_definition *definition, struct hv_tsc_facts *tsc,
                  struct state_image **ret, struct hv_error **reterr)
{
    HV_CLEANUP(state_image_freep) struct state_image *image = NULL;
    int r = state_image_open(definition->restore_fd, &image, reterr);

    r = r < 0 ? r : check_vm(definition, state_image_head(image), reterr);
    r = r < 0 ? r : check_host(definition, state_image_head(image), tsc, reterr);
    r = r < 0 ? r : wp_storage_check_images(definition, image, reterr);
    if (r < 0)
        return r;
    *ret = HV_TAKE_PTR(image);
    return 0;
}
