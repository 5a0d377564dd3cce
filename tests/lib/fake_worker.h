/* SPDX-License-Identifier: Apache-2.0 */
/* The fake worker's halves: its life (fake_worker.c), its disks and its guest (fake_guest.c). */
#pragma once

#include "api/rpc/json.h"

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

/* fake_worker.c */
const struct json_value *fake_definition(void);
/* The rest of the word of the cmdline that begins so, or NULL. */
const char *fake_word(const char *prefix);
/* A line on COM1. */
void fake_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Is this call to go unanswered, or refused? Returns 1 when it has been dealt with. */
int fake_intercept(sd_bus_message *m);
void fake_change(const char *state, const char *cause, uint32_t exit_status);
void fake_stop(const char *cause, uint32_t exit_status);
sd_event *fake_event(void);
/* A signal to every peer; fill puts its arguments. */
void fake_signal(const char *name, int (*fill)(sd_bus_message *m, const char *text),
                 const char *text);

/* fake_guest.c: what is done at the start, lines that are obeyed, methods. */
void fake_guest_begin(void);
/* Somebody has said Hello. */
void fake_guest_greet(void);
void fake_guest_obey(const char *line);
int fake_add_disk(sd_bus_message *m, void *userdata, sd_bus_error *error);
int fake_remove_disk(sd_bus_message *m, void *userdata, sd_bus_error *error);
int fake_change_medium(sd_bus_message *m, void *userdata, sd_bus_error *error);
int fake_guest_shutdown(sd_bus_message *m, void *userdata, sd_bus_error *error);
int fake_get_guest(sd_bus_message *m, void *userdata, sd_bus_error *error);
int fake_set_storage_hold(sd_bus_message *m, void *userdata, sd_bus_error *error);
int fake_set_services(sd_bus_message *m, void *userdata, sd_bus_error *error);
int fake_set_pairs(sd_bus_message *m, void *userdata, sd_bus_error *error);
int fake_copy_file(sd_bus_message *m, void *userdata, sd_bus_error *error);
int fake_cancel_copy(sd_bus_message *m, void *userdata, sd_bus_error *error);
int fake_type_text(sd_bus_message *m, void *userdata, sd_bus_error *error);
int fake_type_keys(sd_bus_message *m, void *userdata, sd_bus_error *error);
