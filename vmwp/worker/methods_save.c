/* SPDX-License-Identifier: Apache-2.0 */
/* Save and CancelSave of schemas/worker. */
#include "vmwp/worker/control_priv.h"

#include <fcntl.h>
#include <string.h>

/* A call of Save that waits for the end of it. */
struct saving {
    struct wp_control *control;
    sd_bus_message *m;
};

static const char *name_of(int r)
{
    switch (r) {
    case -ENOSPC:
    case -EDQUOT:
    case -EFBIG: return WP_ERROR "DiskFull";
    case -EBUSY: return WP_ERROR "InUse";
    case -ECANCELED: return WP_ERROR "Cancelled";
    default: return WP_ERROR "Failed";
    }
}

static void progress(void *opaque, uint64_t done_bytes, uint64_t total_bytes)
{
    struct saving *saving = opaque;

    wp_control_signal(saving->control, "SaveProgress", "tt", done_bytes, total_bytes);
}

static void done(void *opaque, int r, const struct hv_error *error)
{
    struct saving *saving = opaque;
    struct wp_control *control = saving->control;

    if (r < 0)
        (void)sd_bus_reply_method_errorf(saving->m, name_of(r), "%s", hv_error_message(error, r));
    else
        (void)sd_bus_reply_method_return(saving->m, NULL);
    sd_bus_message_unref(saving->m);
    free(saving);
    wp_control_sent(control);
}

static int refuse(struct wp_worker *worker, int r, const struct hv_error *error,
                  sd_bus_error *ret_error)
{
    if (r == WP_E_NOT_NOW)
        return sd_bus_error_setf(
            ret_error, WP_ERROR "InvalidState", "The VM is %s; this is possible in %s.",
            wp_phase_name(wp_worker_story(worker)->phase), wp_cause_legal_in(WP_CAUSE_SAVE));
    return sd_bus_error_setf(ret_error, name_of(r), "%s", hv_error_message(error, r));
}

int wp_on_save(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    static const struct wp_save_ops ops = { .progress = progress, .done = done };
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct connection *c = opaque;
    struct wp_worker *worker = c->control->config.worker;
    struct saving *saving = calloc(1, sizeof(*saving));
    int given, fd, r;

    if (!saving)
        return -ENOMEM;
    r = sd_bus_message_read(m, "h", &given);
    fd = r < 0 ? -1 : fcntl(given, F_DUPFD_CLOEXEC, 0);
    if (r >= 0 && fd < 0)
        r = -errno;
    if (r < 0) {
        free(saving);
        return r;
    }
    saving->control = c->control;
    saving->m = sd_bus_message_ref(m);
    r = wp_worker_save(worker, fd, &ops, saving, &error);
    if (r == 0)
        return 1; /* answered by done() */
    sd_bus_message_unref(saving->m);
    free(saving);
    return refuse(worker, r, error, ret_error);
}

int wp_on_cancel_save(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    struct connection *c = opaque;

    wp_worker_cancel_save(c->control->config.worker);
    return sd_bus_reply_method_return(m, NULL);
}
