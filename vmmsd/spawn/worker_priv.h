/* SPDX-License-Identifier: Apache-2.0 */
/* One worker as the spawner keeps it: its process, its channel, its questions. */
#pragma once

#include "hvcore/base/list.h"
#include "vmmsd/io/bus.h"
#include "vmmsd/spawn/image.h"
#include "vmmsd/spawn/launch.h"
#include "vmmsd/spawn/spawn.h"
#include "vmmsd/spawn/units.h"

/* Of the catalogue in packaging/systemd. */
#define MESSAGE_WORKER_STARTED "166bf806ee9a42b080453a027d17ccd3"
#define MESSAGE_WORKER_ADOPTED "d149a53dc9114eecb6083746bf96a19d"
#define MESSAGE_WORKER_ENDED   "c4b960d6871948e3b0d2c872d0c73446"
#define MESSAGE_WORKER_DIED    "31b57f90780148c8b6f8df96ee41a77c"
#define MESSAGE_WORKER_SILENT  "5e986f886bd3496e9c22dd5280b704a3"

#define WORKER_PATH      "/org/hvstack/Worker1"
#define WORKER_INTERFACE "org.hvstack.Worker1"
#define WORKER_ERROR     "org.hvstack.Worker1.Error."

enum {
    HELLO_START_MS = 20000, /* includes loading the kernel */
    HELLO_ADOPT_MS = 2000,
    HELLO_RESTORE_MS = 600000, /* includes checking and loading a saved state */
    VERB_MS = 10000,
    TURN_OFF_MS = 2000,
    STATS_MS = 2000,
    GUEST_MS = 5000,
    ORDER_MS = 40000,       /* a transaction with the guest takes up to 30 s */
    COPY_MS = 24 * 3600000, /* a file: as long as it takes */
    SAVE_MS = 24 * 3600000, /* likewise */
    STOPPED_MS = 5000,      /* between "stopped" and the end of the process */
    RECONNECT_MS = 1000,
    VMMS_WORKER_TEXT_MAX = 512,
    QUIET_MS = 15000,       /* without figures, which come every 2 s */
    LISTEN_MS = 1000,       /* then once more: perhaps it was we who slept */
    FIGURES_APART_MS = 500, /* told at least so far apart; the rest is not listened to */
    SIGNAL_WINDOW_MS = 10000,
    SIGNALS_PER_WINDOW =
        20 /* each may cost a commit: a guest that resets without end has a budget */
};

struct vmms_spawner {
    struct vmms_spawner_config config;
    struct vmms_images *images;
    struct vmms_units *units; /* NULL: no systemd above us */
    struct hv_list workers;
    bool is_closing;
};

struct budget {
    uint64_t window_ns; /* begin of the window in which signals are counted */
    unsigned signals;
};

/* One worker process, from the order to start or find it to its end. */
struct worker {
    struct hv_list node;
    struct vmms_spawner *spawner;
    struct vmms_row row;
    bool is_adoption;
    bool is_greeted;
    bool is_doomed; /* kill it as soon as there is a process */
    bool is_launching;
    bool is_silence_told;
    bool is_missed; /* nothing was heard for QUIET_MS */
    bool is_quiet;  /* that, or a question without an answer, was told */
    bool is_ended;
    int pid;
    int pidfd;
    int status_fd;
    uint64_t pid_start;
    struct vmms_placement *placement; /* on its way into its unit */
    struct api_error *unit_error;     /* why it could not get there */
    struct vmms_launch launch;
    uv_work_t work;         /* launching, or keeping a saved state */
    struct vmms_fact *last; /* its end, until its saved state is in place */
    int keep_r;
    uv_poll_t poll;
    uv_timer_t timer; /* reconnecting, or waiting for a stopped one to end */
    uv_timer_t quiet; /* since figures were heard */
    unsigned handles;
    struct vmms_bus *bus;
    struct hv_list asks; /* questions without an answer yet */
    unsigned connects;
    struct budget state_budget, guest_budget, noise_budget;
    struct vmms_figures figures;
};

/* A question on its way. */
struct ask {
    struct hv_list node;
    struct worker *worker;
    sd_bus_slot *slot;
    enum { ASK_VERB, ASK_STATS, ASK_CONSOLE, ASK_GUEST, ASK_ORDER } kind;
    enum vmms_worker_verb verb;
    vmms_stats_fn *stats;
    vmms_console_fn *console;
    vmms_guest_fn *guest;
    vmms_order_fn *done;
    void (*progress)(void *opaque, uint64_t done, uint64_t total);
    uint64_t progress_ns; /* when it was last told */
    void *opaque;
};

/* worker.c */
struct worker *vmms_worker_new(struct vmms_spawner *spawner, const struct vmms_row *row);
void vmms_worker_watch(struct worker *worker);
void vmms_worker_tell(struct worker *worker, struct vmms_fact *fact);
struct vmms_fact *vmms_worker_fact(const struct worker *worker, enum vmms_fact_kind kind);
void vmms_worker_kill(struct worker *worker);
/* It said that it has stopped: its process must end soon. */
void vmms_worker_expect_end(struct worker *worker);
/* There is no such process any more, or never was. */
void vmms_worker_vanished(struct worker *worker);

/* say.c */
/* A line to the log about a VM; message_id: one of those above, or NULL. */
void vmms_worker_say(const struct worker *worker, enum hv_log_level level, const char *message_id,
                     const char *format, ...) HV_PRINTF(4, 5);
void vmms_worker_say_end(const struct worker *worker, const struct vmms_fact *fact);

/* place.c: workers and their units */
/* Begin to speak with it, once it is where it belongs. */
void vmms_worker_place(struct worker *worker);
/* One from an earlier life may have been started without a unit, or not have got there. */
void vmms_worker_place_adopted(struct worker *worker);

/* The worker of that incarnation, or NULL; incarnation NULL: whichever runs. */
struct worker *vmms_worker_find(struct vmms_spawner *spawner, const char *vm_id,
                                const char *incarnation);

/* figures.c: counters out of an a{sv}, with those of the process. Returns 0 or a negative errno. */
int vmms_figures_read(sd_bus_message *m, const struct worker *worker, struct api_vm_stats *ret);
int vmms_figures_heard(struct worker *worker, sd_bus_message *m);

/* dictionary.c */
struct vmms_slot {
    const char *key;
    char type; /* s, u or t */
    void *to;  /* char **, uint32_t *, uint64_t * */
    bool *is_there;
};
/* Read an a{sv} into the slots whose key and type match; the rest is skipped. */
int vmms_read_dictionary(sd_bus_message *m, const struct vmms_slot *slots, size_t n_slots);

/* opening.c */
/* disks: the callee's, in the order of the devices; or NULL and an error that is the callee's. */
typedef void vmms_opened_fn(void *opaque, struct vmms_disk *disks, size_t n_disks,
                            struct api_error *error);
/* Open and lock the images of devices, controllers left out. Calls back from the loop, exactly
 * once; devices are copied. except: never named as who holds an image, or NULL. */
void vmms_disks_open(struct vmms_spawner *spawner, const struct api_device *devices,
                     size_t n_devices, const struct worker *except, vmms_opened_fn *done,
                     void *opaque);
void vmms_disks_free(struct vmms_disk *disks, size_t n_disks);

/* disk_channel.c */
/* Open the image, where there is one, and hand it to the worker; fact ANSWER. */
void vmms_disk_ask(struct worker *worker, enum vmms_worker_verb verb,
                   const struct api_device *device);

/* save_channel.c: fact ANSWER. */
void vmms_save_ask(struct worker *worker);
/* The signal SaveProgress. */
int vmms_save_progressed(struct worker *worker, sd_bus_message *m);

/* guest_channel.c */
void vmms_guest_shut_down(struct worker *worker, const struct vmms_effect *effect);
void vmms_guest_hold_storage(struct worker *worker, const struct vmms_row *row);
void vmms_guest_set_services(struct worker *worker, const struct vmms_row *row);
void vmms_guest_set_pairs(struct worker *worker, const struct vmms_row *row);
/* How far a copy is, as often as is worth hearing. */
void vmms_guest_copy_progress(struct worker *worker, uint64_t done, uint64_t total);
/* guest_signals.c: signals about the guest and its disks. */
int vmms_guest_heard(struct worker *worker, sd_bus_message *m);
enum api_heartbeat vmms_heartbeat_read(const char *text);

/* channel.c */
struct api_error *vmms_channel_error(const struct worker *worker, const sd_bus_error *bus_error,
                                     int errnum);
struct ask *vmms_ask_new(struct worker *worker, int kind);
void vmms_ask_free(struct ask *ask);
/* No answer will come any more; error is taken. */
void vmms_ask_fail(struct ask *ask, struct api_error *error);
/* Send m, unless r says that it could not be made; `answered` gets the ask. */
void vmms_ask_send(struct ask *ask, sd_bus_message *m, sd_bus_message_handler_t answered,
                   uint64_t deadline_ms, int r);
int vmms_channel_new_call(const struct worker *worker, const char *method, sd_bus_message **ret);
int vmms_verb_answered(sd_bus_message *m, void *userdata, sd_bus_error *ret_error);
bool vmms_is_guest_signal_within(struct worker *worker);
/* Noted, at a limited rate: a worker that was taken over may send nothing else. */
void vmms_channel_say_malformed(struct worker *worker);
int vmms_channel_connect(struct worker *worker);
void vmms_channel_close(struct worker *worker);
void vmms_channel_ask(struct worker *worker, enum vmms_worker_verb verb);
void vmms_channel_stats(struct worker *worker, vmms_stats_fn *done, void *opaque);
void vmms_channel_console(struct worker *worker, uint32_t port, uint64_t from,
                          vmms_console_fn *done, void *opaque);
/* Hello was refused or not answered (is_answer), or the connection broke: try again later; a worker
 * that does not come round is told of once. */
void vmms_channel_retry(struct worker *worker, const char *why, bool is_answer);
