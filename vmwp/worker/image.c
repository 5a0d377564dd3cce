/* SPDX-License-Identifier: Apache-2.0 */
/* One thread: between orders it waits for the socket, inside one it looks there whenever the work
 * tells its progress. */
#include "vmwp/worker/image.h"

#include "hvcore/base/clock.h"
#include "vmwp/sandbox/sandbox.h"
#include "vmwp/worker/image_priv.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

enum { LOG_FD = 2, CONTROL_FD = 3, TELL_NS = 100000000, TURN_MESSAGES = 16 };

/* Probe and Run: taken up outside the handler, for sd-bus does not process inside one. */
static int on_order(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    struct wp_image *image = opaque;

    if (image->order)
        return sd_bus_error_set(ret_error, SD_BUS_ERROR_LIMITS_EXCEEDED,
                                "The worker does one thing at a time.");
    image->order = sd_bus_message_ref(m);
    image->is_cancelled = false;
    return 1;
}

static int on_cancel(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    struct wp_image *image = opaque;

    image->is_cancelled = true;
    return sd_bus_reply_method_return(m, NULL);
}

enum { UNPRIVILEGED = SD_BUS_VTABLE_UNPRIVILEGED }; /* the socket has one other end: vmmsd */

/* clang-format off */
static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_ARGS("Probe", SD_BUS_ARGS("(hss)", file), SD_BUS_RESULT("a{sv}", info),
                            on_order, UNPRIVILEGED),
    SD_BUS_METHOD_WITH_ARGS("Run",
                            SD_BUS_ARGS("s", operation, "a(hss)", chain, "a(hss)", target,
                                        "a{sv}", options),
                            SD_BUS_RESULT("a{sv}", result), on_order, UNPRIVILEGED),
    SD_BUS_METHOD("Cancel", "", "", on_cancel, UNPRIVILEGED),
    SD_BUS_SIGNAL_WITH_ARGS("Progress", SD_BUS_ARGS("t", done, "t", total), 0),
    SD_BUS_VTABLE_END,
};
/* clang-format on */

/* Take what has come, without waiting. */
static void listen_up(struct wp_image *image)
{
    int r = 1;

    for (int i = 0; i < TURN_MESSAGES && r > 0; i++)
        r = sd_bus_process(image->bus, NULL);
    if (r < 0)
        image->is_lost = true;
}

bool wp_image_progress(void *opaque, uint64_t done, uint64_t total)
{
    struct wp_image *image = opaque;
    uint64_t now = hv_clock_monotonic_ns();

    listen_up(image);
    if (image->is_lost || image->is_cancelled)
        return false;
    if (now - image->told_ns >= TELL_NS) {
        image->told_ns = now;
        if (sd_bus_emit_signal(image->bus, WP_IMAGE_PATH, WP_IMAGE_INTERFACE, "Progress", "tt",
                               done, total) < 0)
            image->is_lost = true;
    }
    return !image->is_lost;
}

static int open_bus(struct wp_image *image)
{
    sd_id128_t id;
    int r = sd_id128_randomize(&id);

    r = r < 0 ? r : sd_bus_new(&image->bus);
    r = r < 0 ? r : sd_bus_set_fd(image->bus, CONTROL_FD, CONTROL_FD);
    r = r < 0 ? r : sd_bus_set_server(image->bus, 1, id);
    r = r < 0 ? r : sd_bus_set_anonymous(image->bus, 1);
    r = r < 0 ? r : sd_bus_negotiate_fds(image->bus, 1);
    r = r < 0 ? r : sd_bus_start(image->bus);
    return r < 0 ? r
                 : sd_bus_add_object_vtable(image->bus, NULL, WP_IMAGE_PATH, WP_IMAGE_INTERFACE,
                                            vtable, image);
}

static void serve(struct wp_image *image)
{
    while (!image->is_lost) {
        listen_up(image);
        if (image->is_lost)
            break;
        if (image->order) {
            image->is_lost = wp_image_work(image) < 0;
            image->order = sd_bus_message_unref(image->order);
        } else if (sd_bus_wait(image->bus, UINT64_MAX) < 0) {
            image->is_lost = true;
        }
    }
}

/* The kernel ends the worker when vmmsd ends, whatever it is in the middle of: what it makes has a
 * temporary name, what it changes is whole at any instant. */
static int fall(struct hv_error **reterr)
{
    int r = wp_sandbox_close_unlisted((const int[]){ 0, 1, LOG_FD, CONTROL_FD }, 4);

    r = r < 0 ? r : wp_sandbox_fall(NULL, reterr);
    if (r == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        r = -errno;
    if (r < 0)
        return hv_error_set(reterr, r, "image.sandbox", "The worker cannot begin: %s.",
                            strerror(-r));
    return 0;
}

int wp_image_main(const char *version)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct wp_image image = { 0 };
    int r = fall(&error);

    r = r < 0 ? r : open_bus(&image);
    r = r < 0 ? r : wp_sandbox_lock_image(&error);
    if (r == 0)
        serve(&image);
    else if (r != -ECONNRESET) /* who started it has gone in the meantime */
        (void)fprintf(stderr, "vmwp %s --image: %s\n", version, hv_error_message(error, r));
    sd_bus_close(image.bus);
    sd_bus_unref(image.bus);
    return r < 0 ? 1 : 0;
}
