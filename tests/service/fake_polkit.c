/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A polkit for tests: owns org.freedesktop.PolicyKit1 on the bus at argv[1] and answers by argv[2]:
 * "yes", "no", "challenge", "never" (no answer at all), or "only:ACTION" (yes to that action
 * alone). Each question is a line on standard output: action, details, flags.
 */
#include "hvcore/base/own.h"

#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>

static const char *rule;

static int read_details(sd_bus_message *m, char *ret, size_t room)
{
    const char *key, *value;
    size_t at = 0;
    int r = sd_bus_message_enter_container(m, 'a', "{ss}");

    ret[0] = '\0';
    while (r >= 0 && (r = sd_bus_message_read(m, "{ss}", &key, &value)) > 0)
        at += (size_t)snprintf(ret + at, at < room ? room - at : 0, "%s=%s ", key, value);
    /* A question stays a line. */
    for (; *ret; ret++)
        *ret = *ret == '\n' ? '|' : *ret;
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int check(sd_bus_message *m, void *opaque, sd_bus_error *error)
{
    const char *kind, *key, *name, *action;
    char details[512];
    uint32_t flags;
    bool is_yes;
    int r;

    (void)opaque;
    (void)error;
    r = sd_bus_message_read(m, "(sa{sv})s", &kind, 1, &key, "s", &name, &action);
    if (r >= 0)
        r = read_details(m, details, sizeof(details));
    if (r >= 0)
        r = sd_bus_message_read(m, "u", &flags);
    if (r < 0)
        return r;
    (void)printf("%s %s%s %sflags=%u\n", action, kind, name[0] == ':' ? "" : "?", details, flags);
    (void)fflush(stdout);
    if (strcmp(rule, "never") == 0)
        return 1;
    is_yes = strcmp(rule, "yes") == 0 ||
             (strncmp(rule, "only:", 5) == 0 && strcmp(rule + 5, action) == 0);
    return sd_bus_reply_method_return(m, "(bba{ss})", is_yes, strcmp(rule, "challenge") == 0, 0);
}

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("CheckAuthorization", "(sa{sv})sa{ss}us", "(bba{ss})", check,
                  SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END,
};

int main(int argc, char **argv)
{
    sd_bus *bus = NULL;
    int r = argc == 3 ? sd_bus_new(&bus) : -EINVAL;

    if (r >= 0) {
        rule = argv[2];
        r = sd_bus_set_address(bus, argv[1]);
    }
    if (r >= 0)
        r = sd_bus_set_bus_client(bus, true);
    if (r >= 0)
        r = sd_bus_start(bus);
    if (r >= 0)
        r = sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/PolicyKit1/Authority",
                                     "org.freedesktop.PolicyKit1.Authority", vtable, NULL);
    if (r >= 0)
        r = sd_bus_request_name(bus, "org.freedesktop.PolicyKit1", 0);
    if (r >= 0)
        (void)puts("ready");
    (void)fflush(stdout);
    while (r >= 0) {
        r = sd_bus_process(bus, NULL);
        if (r == 0)
            r = sd_bus_wait(bus, UINT64_MAX);
    }
    return 1;
}
