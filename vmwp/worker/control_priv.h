/* SPDX-License-Identifier: Apache-2.0 */
/* Connections (control.c) and what they may call (methods.c). */
#pragma once

#include "vmwp/worker/control.h"

#include <systemd/sd-bus.h>

/* What the names of our errors begin with. */
#define WP_ERROR "org.hvstack.Worker1.Error."

struct wp_control {
    struct wp_control_config config;
    sd_id128_t server_id;
    uint64_t epoch; /* the highest seen */
    uv_poll_t listener;
    bool is_listening;
    unsigned n_connections;
    struct hv_list connections;
    struct hv_list pending; /* calls that wait for the guest */
};

struct connection {
    struct wp_control *control;
    struct hv_list node;
    sd_bus *bus;
    int fd; /* owned by bus */
    uv_poll_t poll;
    int watched;      /* what poll looks for while it is active */
    uv_timer_t timer; /* hello deadline, then sd-bus's own */
    uint64_t hello_by_ms;
    unsigned n_handles; /* of the loop, not yet closed */
    uint64_t epoch;
    bool has_said_hello;
    bool is_dropped;
};

/* Export the object on a connection's bus. Returns 0 or a negative errno. */
int wp_methods_add(struct connection *connection);

/* Put the signal into a connection's queue. Returns 0 or a negative errno. */
int wp_methods_tell(struct connection *connection, const struct wp_story *story);

/* methods_disk.c: handlers of sd-bus's form */
int wp_on_add_disk(sd_bus_message *m, void *opaque, sd_bus_error *ret_error);
int wp_on_remove_disk(sd_bus_message *m, void *opaque, sd_bus_error *ret_error);
int wp_on_change_medium(sd_bus_message *m, void *opaque, sd_bus_error *ret_error);

/* methods_save.c: likewise */
int wp_on_save(sd_bus_message *m, void *opaque, sd_bus_error *ret_error);
int wp_on_cancel_save(sd_bus_message *m, void *opaque, sd_bus_error *ret_error);

/* methods_guest.c: likewise */
int wp_on_guest_shutdown(sd_bus_message *m, void *opaque, sd_bus_error *ret_error);
int wp_on_get_guest(sd_bus_message *m, void *opaque, sd_bus_error *ret_error);
int wp_on_set_storage_hold(sd_bus_message *m, void *opaque, sd_bus_error *ret_error);
int wp_methods_tell_storage(struct connection *connection);
int wp_on_set_services(sd_bus_message *m, void *opaque, sd_bus_error *ret_error);
int wp_on_set_pairs(sd_bus_message *m, void *opaque, sd_bus_error *ret_error);
int wp_on_copy_file(sd_bus_message *m, void *opaque, sd_bus_error *ret_error);
int wp_on_cancel_copy(sd_bus_message *m, void *opaque, sd_bus_error *ret_error);
int wp_on_freeze_guest(sd_bus_message *m, void *opaque, sd_bus_error *ret_error);
int wp_on_thaw_guest(sd_bus_message *m, void *opaque, sd_bus_error *ret_error);
int wp_on_type_text(sd_bus_message *m, void *opaque, sd_bus_error *ret_error);
int wp_on_type_keys(sd_bus_message *m, void *opaque, sd_bus_error *ret_error);
int wp_methods_tell_guest(struct connection *connection);
int wp_methods_tell_figures(struct connection *connection, const struct wp_worker_stats *stats);
int wp_methods_tell_crash(struct connection *connection, const struct hv_crash *crash);
/* Calls that wait are not answered any more; when no answer of the guest can come. */
void wp_methods_forget(struct wp_control *control);
/* Nobody waits any more for what was asked for on that connection: a copy is given up. */
void wp_methods_dropped(struct connection *connection);

/* A signal of ours on a connection, to be filled in. Returns 0 or a negative errno. */
int wp_methods_new_signal(struct connection *connection, const char *member, sd_bus_message **ret);
/* Something was sent outside of a connection's turn. */
void wp_control_sent(struct wp_control *control);
/* Send a signal to all who have said Hello; types as for sd_bus_message_append. */
void wp_control_signal(struct wp_control *control, const char *member, const char *types, ...);
