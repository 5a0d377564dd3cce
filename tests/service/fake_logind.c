/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A logind for tests: owns org.freedesktop.login1 on the bus at argv[1] and hands out one
 * inhibitor. Lines on standard output: "ready", "inhibited WHAT MODE", "released". A line on
 * standard input: the host prepares to shut down.
 */
#include "hvcore/base/own.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <systemd/sd-bus.h>

#define PATH    "/org/freedesktop/login1"
#define MANAGER "org.freedesktop.login1.Manager"

static int inhibitor = -1; /* our end */

static void say(const char *text, const char *first, const char *second)
{
    (void)printf("%s%s%s%s%s\n", text, *first ? " " : "", first, *second ? " " : "", second);
    (void)fflush(stdout);
}

static int inhibit(sd_bus_message *m, void *opaque, sd_bus_error *error)
{
    const char *what, *who, *why, *mode;
    int ends[2], r = sd_bus_message_read(m, "ssss", &what, &who, &why, &mode);

    (void)opaque;
    (void)error;
    if (r < 0 || pipe2(ends, O_CLOEXEC) < 0)
        return r < 0 ? r : -errno;
    r = sd_bus_reply_method_return(m, "h", ends[1]);
    hv_close(ends[1]);
    hv_close(inhibitor);
    inhibitor = ends[0];
    say("inhibited", what, mode);
    return r;
}

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Inhibit", "ssss", "h", inhibit, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_SIGNAL("PrepareForShutdown", "b", 0),
    SD_BUS_VTABLE_END,
};

static int attach(const char *address, sd_bus **ret)
{
    int r = sd_bus_new(ret);

    if (r >= 0)
        r = sd_bus_set_address(*ret, address);
    if (r >= 0)
        r = sd_bus_set_bus_client(*ret, true);
    if (r >= 0)
        r = sd_bus_start(*ret);
    if (r >= 0)
        r = sd_bus_add_object_vtable(*ret, NULL, PATH, MANAGER, vtable, NULL);
    return r < 0 ? r : sd_bus_request_name(*ret, "org.freedesktop.login1", 0);
}

static int hear(sd_bus *bus, int fd)
{
    char line[80];

    return read(fd, line, sizeof(line)) > 0
               ? sd_bus_emit_signal(bus, PATH, MANAGER, "PrepareForShutdown", "b", 1)
               : -EPIPE;
}

static int turn(sd_bus *bus)
{
    struct pollfd fds[] = { { .fd = sd_bus_get_fd(bus), .events = POLLIN },
                            { .fd = STDIN_FILENO, .events = POLLIN },
                            { .fd = inhibitor } };
    int r;

    while ((r = sd_bus_process(bus, NULL)) > 0)
        ;
    fds[2].fd = inhibitor;
    if (r == 0 && poll(fds, HV_ARRAY_SIZE(fds), 1000) < 0)
        r = -errno;
    if (r == 0 && fds[1].revents)
        r = hear(bus, STDIN_FILENO);
    if (r >= 0 && inhibitor >= 0 && fds[2].revents) {
        inhibitor = hv_close(inhibitor);
        say("released", "", "");
    }
    return r;
}

int main(int argc, char **argv)
{
    sd_bus *bus = NULL;
    int r = argc == 2 ? attach(argv[1], &bus) : -EINVAL;

    if (r >= 0)
        say("ready", "", "");
    while (r >= 0)
        r = turn(bus);
    return 1;
}
