/* SPDX-License-Identifier: Apache-2.0 */
/*
 * May the caller do that? Root and the service's own user may; anybody else where polkit says so.
 * All questions are asked without waiting, by the caller's unique name. Where no polkit answers,
 * the answer is no.
 *
 * Obeys the reliability rules 10.2 to 10.5.
 */
#include "vmmsd/bus/bus_priv.h"

#include "hvcore/base/clock.h"

#include <stdio.h>
#include <string.h>

enum {
    MAX_PEERS = 256,
    MAX_IN_FLIGHT = 32,
    ASK_US = 30 * 1000 * 1000,
    ASK_PERSON_US = 120 * 1000 * 1000,
    KEEP_MS = 1000, /* how long a yes counts for more of the same */
    MAX_RIGHTS = 16,
    POLKIT_MAY_ASK_PERSON = 1,
};

/* A yes that polkit gave. */
struct right {
    struct hv_list node;
    const char *name;
    char key[VMMS_DBUS_KEY_BYTES];
    uint64_t until_ns;
};

static void peer_free(struct peer *peer)
{
    HV_LIST_FOREACH (node, &peer->rights)
        free(HV_LIST_ENTRY(node, struct right, node));
    hv_list_remove(&peer->node);
    peer->dbus->n_peers--;
    sd_bus_slot_unref(peer->slot);
    free(peer->name);
    free(peer);
}

void vmms_dbus_peer_done(struct vmms_dbus_call *call)
{
    if (call->peer)
        call->peer->in_flight--;
    call->peer = NULL;
}

/* Peers come in the order in which they were first heard: the oldest idle one makes room. */
static bool make_room(struct vmms_dbus *dbus)
{
    HV_LIST_FOREACH (node, &dbus->peers) {
        struct peer *peer = HV_LIST_ENTRY(node, struct peer, node);

        if (peer->in_flight == 0 && !peer->slot) {
            peer_free(peer);
            return true;
        }
    }
    return false;
}

static struct peer *find_peer(struct vmms_dbus *dbus, const char *name)
{
    HV_LIST_FOREACH (node, &dbus->peers) {
        struct peer *peer = HV_LIST_ENTRY(node, struct peer, node);

        if (strcmp(peer->name, name) == 0)
            return peer;
    }
    return NULL;
}

static struct peer *get_peer(struct vmms_dbus *dbus, const char *name)
{
    struct peer *peer = find_peer(dbus, name);

    if (peer || (dbus->n_peers >= MAX_PEERS && !make_room(dbus)))
        return peer;
    peer = calloc(1, sizeof(*peer));
    if (!peer)
        return NULL;
    peer->dbus = dbus;
    peer->name = strdup(name);
    hv_list_init(&peer->rights);
    hv_list_append(&dbus->peers, &peer->node);
    dbus->n_peers++;
    return peer;
}

static void deny(struct vmms_dbus_call *call, enum api_error_code code, const char *why)
{
    const char *right = api_methods[call->request.method].right;
    struct api_error *error = NULL;

    api_error_set(&error, code, "api.rights", NULL, "The right %s is not yours: %s.", right, why);
    vmms_dbus_call_fail(call, error);
}

/* Rights given a moment ago */

static bool is_known_right(struct vmms_dbus_call *call)
{
    const char *name = api_methods[call->request.method].right;
    uint64_t now = hv_clock_monotonic_ns();

    HV_LIST_FOREACH (node, &call->peer->rights) {
        const struct right *right = HV_LIST_ENTRY(node, struct right, node);

        if (right->until_ns > now && right->name == name &&
            strcmp(right->key, call->place.key) == 0)
            return true;
    }
    return false;
}

static void keep_right(struct vmms_dbus_call *call)
{
    struct peer *peer = call->peer;
    struct right *right = calloc(1, sizeof(*right));
    unsigned count = 0;

    if (!right)
        return;
    right->name = api_methods[call->request.method].right;
    memcpy(right->key, call->place.key, sizeof(right->key));
    right->until_ns = hv_clock_monotonic_ns() + KEEP_MS * HV_NS_PER_MS;
    HV_LIST_FOREACH (node, &peer->rights)
        count++;
    if (count >= MAX_RIGHTS) {
        struct right *oldest = HV_LIST_ENTRY(peer->rights.next, struct right, node);

        hv_list_remove(&oldest->node);
        free(oldest);
    }
    hv_list_append(&peer->rights, &right->node);
}

/* polkit */

static int polkit_answered(sd_bus_message *m, void *opaque, sd_bus_error *error)
{
    struct vmms_dbus_call *call = opaque;
    int is_authorized = 0, is_challenge = 0, r;

    (void)error;
    call->slot = sd_bus_slot_unref(call->slot);
    if (sd_bus_message_is_method_error(m, NULL)) {
        const sd_bus_error *said = sd_bus_message_get_error(m);
        bool is_absent = sd_bus_error_has_name(said, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
                         sd_bus_error_has_name(said, SD_BUS_ERROR_NAME_HAS_NO_OWNER);

        deny(call, API_E_ACCESS_DENIED,
             is_absent ? "no polkit runs, so it is root's alone" : "polkit did not decide");
        return 1;
    }
    r = sd_bus_message_enter_container(m, 'r', "bba{ss}");
    if (r >= 0)
        r = sd_bus_message_read(m, "bb", &is_authorized, &is_challenge);
    if (r >= 0 && is_authorized) {
        keep_right(call);
        vmms_dbus_call_go(call);
    } else {
        deny(call, API_E_ACCESS_DENIED,
             is_challenge ? "polkit wants a password, and the call does not allow to ask for it"
                          : "polkit says no");
    }
    return 1;
}

/* "vm.console_log" as part of an action's name: dots and dashes only. */
static void name_action(const char *right, char *ret, size_t room)
{
    (void)snprintf(ret, room, "org.hvstack.vmms1.%s", right);
    for (; *ret; ret++)
        if (*ret == '_')
            *ret = '-';
}

static int put_question(sd_bus_message *m, struct vmms_dbus_call *call, bool may_ask)
{
    const struct api_method_info *info = &api_methods[call->request.method];
    const struct vmms_dbus_config *config = &call->dbus->config;
    bool is_vm = call->place.object == API_DBUS_VM;
    hv_autofree char *groups = NULL;
    const char *name = "";
    char action[96];
    int r;

    if (is_vm && config->vm_name)
        name = config->vm_name(config->opaque, call->place.key);
    if (is_vm && config->vm_groups)
        groups = config->vm_groups(config->opaque, call->place.key);
    name_action(info->right, action, sizeof(action));
    r = sd_bus_message_append(m, "(sa{sv})s", "system-bus-name", 1, "name", "s", call->peer->name,
                              action);
    if (r >= 0)
        r = sd_bus_message_append(m, "a{ss}us", 4, "operation", info->name, "vm_id",
                                  is_vm ? call->place.key : "", "vm_name", name ? name : "",
                                  "vm_groups", groups ? groups : "",
                                  may_ask ? POLKIT_MAY_ASK_PERSON : 0, "");
    return r;
}

static void ask_polkit(struct vmms_dbus_call *call)
{
    sd_bus *bus = vmms_bus_get(call->dbus->bus);
    bool may_ask = sd_bus_message_get_allow_interactive_authorization(call->message) > 0;
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    int r;

    r = sd_bus_message_new_method_call(
        bus, &m, "org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority",
        "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization");
    if (r >= 0)
        r = put_question(m, call, may_ask);
    if (r >= 0)
        r = sd_bus_call_async(bus, &call->slot, m, polkit_answered, call,
                              may_ask ? ASK_PERSON_US : ASK_US);
    if (r < 0)
        deny(call, API_E_ACCESS_DENIED, "polkit cannot be asked");
    else
        vmms_bus_update(call->dbus->bus);
}

static void decide(struct vmms_dbus_call *call)
{
    if (call->peer->uid == 0 || call->peer->uid == geteuid() || is_known_right(call))
        vmms_dbus_call_go(call);
    else
        ask_polkit(call);
}

/* Who it is */

/* Calls that wait for a peer to be known; each may end, and others with it, as it goes on. */
static struct vmms_dbus_call *next_waiting(struct peer *peer)
{
    HV_LIST_FOREACH (node, &peer->dbus->calls) {
        struct vmms_dbus_call *call = HV_LIST_ENTRY(node, struct vmms_dbus_call, node);

        if (call->peer == peer && call->is_waiting)
            return call;
    }
    return NULL;
}

static int user_told(sd_bus_message *m, void *opaque, sd_bus_error *error)
{
    struct peer *peer = opaque;
    struct vmms_dbus_call *call;

    (void)error;
    peer->slot = sd_bus_slot_unref(peer->slot);
    peer->is_known =
        !sd_bus_message_is_method_error(m, NULL) && sd_bus_message_read(m, "u", &peer->uid) >= 0;
    (void)snprintf(peer->actor, sizeof(peer->actor), "uid:%u", peer->uid);
    while ((call = next_waiting(peer))) {
        call->is_waiting = false;
        if (peer->is_known)
            decide(call);
        else
            deny(call, API_E_UNAUTHENTICATED, "the bus does not know you");
    }
    return 1;
}

static int ask_user(struct peer *peer)
{
    int r = sd_bus_call_method_async(
        vmms_bus_get(peer->dbus->bus), &peer->slot, "org.freedesktop.DBus", "/org/freedesktop/DBus",
        "org.freedesktop.DBus", "GetConnectionUnixUser", user_told, peer, "s", peer->name);

    vmms_bus_update(peer->dbus->bus);
    return r;
}

void vmms_dbus_authorize(struct vmms_dbus_call *call)
{
    const char *sender = sd_bus_message_get_sender(call->message);
    struct peer *peer = sender ? get_peer(call->dbus, sender) : NULL;

    if (!peer || peer->in_flight >= MAX_IN_FLIGHT) {
        struct api_error *error = NULL;

        api_error_set(&error, API_E_RATE_LIMITED, "api.in_flight", NULL,
                      "Too many calls are under way; try again when one is answered.");
        vmms_dbus_call_fail(call, error);
        return;
    }
    call->peer = peer;
    peer->in_flight++;
    if (peer->is_known) {
        decide(call);
        return;
    }
    call->is_waiting = true;
    if (!peer->slot && ask_user(peer) < 0) {
        call->is_waiting = false;
        deny(call, API_E_UNAUTHENTICATED, "the bus cannot be asked who you are");
    }
}

void vmms_dbus_authorize_again(struct vmms_dbus_call *call)
{
    decide(call);
}

/* Those who go */

/* What was asked and not begun is dropped; what was begun goes on, and nobody hears of it. */
static void peer_left(struct peer *peer)
{
    struct vmms_dbus *dbus = peer->dbus;

    HV_LIST_FOREACH (node, &dbus->calls) {
        struct vmms_dbus_call *call = HV_LIST_ENTRY(node, struct vmms_dbus_call, node);

        if (call->peer != peer)
            continue;
        vmms_dbus_peer_done(call);
        call->message = sd_bus_message_unref(call->message);
        if (call->number == 0)
            vmms_dbus_call_free(call);
    }
    peer_free(peer);
}

static int owner_changed(sd_bus_message *m, void *opaque, sd_bus_error *error)
{
    const char *name, *old, *new;
    struct peer *peer;

    (void)error;
    if (sd_bus_message_read(m, "sss", &name, &old, &new) < 0 || *new)
        return 0;
    peer = find_peer(opaque, name);
    if (peer)
        peer_left(peer);
    return 0;
}

int vmms_dbus_watch_peers(struct vmms_dbus *dbus)
{
    return sd_bus_match_signal_async(vmms_bus_get(dbus->bus), NULL, "org.freedesktop.DBus",
                                     "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                     "NameOwnerChanged", owner_changed, NULL, dbus);
}

void vmms_dbus_forget_peers(struct vmms_dbus *dbus)
{
    while (!hv_list_is_empty(&dbus->peers))
        peer_left(HV_LIST_ENTRY(dbus->peers.next, struct peer, node));
}
