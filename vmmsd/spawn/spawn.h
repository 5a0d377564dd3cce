/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Worker processes: started, found again, asked, watched until their end.
 *
 * All functions belong to the loop's thread and return at once; what happens is told as facts (see
 * core.h), from the loop or, where a question cannot even be sent, from inside the call. A worker
 * is treated as hostile: it can lie about its own VM and about nothing else.
 */
#pragma once

#include "hvcore/base/log.h"
#include "vmmsd/core/core.h"

struct uv_loop_s;
struct vmms_images;
struct vmms_spawner;

struct vmms_spawner_config {
    /* public: texts must outlive the spawner */
    struct uv_loop_s *loop;
    const char *worker_path;
    const char *state_dir;
    const char *runtime_dir;
    uint64_t epoch;
    const struct hv_log *log;
    bool wants_units; /* each worker a unit of systemd's, where we are one */
    void *opaque;
    void (*fact)(void *opaque, const char *vm_id, struct vmms_fact *fact);
    /* The worker's channel is open: consoles can be opened. */
    void (*greeted)(void *opaque, const struct vmms_row *row);
    void (*gone)(void *opaque, const char *vm_id);
};

/* Make a spawner without workers; config is copied. Returns 0 or a negative errno. */
int vmms_spawner_new(const struct vmms_spawner_config *config, struct vmms_spawner **ret);

/* From now on, for new workers. */
void vmms_spawner_use_units(struct vmms_spawner *spawner, bool wants_units);

/* Let go of all workers: they run on. Handles close in the loop. */
void vmms_spawner_close(struct vmms_spawner *spawner);
/* After the loop has run out. */
void vmms_spawner_free(struct vmms_spawner *spawner);

/* row: as in the effect, settings filled in; copied. Facts SPAWNED or SPAWN_FAILED, then on. */
void vmms_spawner_spawn(struct vmms_spawner *spawner, const struct vmms_row *row);
/* Facts GREETED (is_adoption), SILENT or GONE. */
void vmms_spawner_adopt(struct vmms_spawner *spawner, const struct vmms_row *row);
/* effect: ASK_WORKER. Fact ANSWER within the verb's deadline. */
void vmms_spawner_ask(struct vmms_spawner *spawner, const struct vmms_effect *effect);
/* Fact GONE soon. */
void vmms_spawner_kill(struct vmms_spawner *spawner, const struct vmms_row *row);

typedef void vmms_stats_fn(void *opaque, struct api_vm_stats *stats, struct api_error *error);
/* Calls back exactly once, also when the worker ends first. stats and error belong to the callee:
 * stats to be finished, error to be freed; one of them is NULL. */
void vmms_spawner_stats(struct vmms_spawner *spawner, const char *vm_id, vmms_stats_fn *done,
                        void *opaque);

typedef void vmms_guest_fn(void *opaque, struct api_guest *guest, struct api_error *error);
/* What is known of the guest, without id and name. As above. */
void vmms_spawner_guest(struct vmms_spawner *spawner, const char *vm_id, vmms_guest_fn *done,
                        void *opaque);

/* Something that the guest is to do or to be given. */
struct vmms_order {
    /* public: all borrowed */
    enum {
        VMMS_ORDER_SET_PAIRS, /* pairs: all that the guest is given */
        VMMS_ORDER_COPY_FILE, /* fd, bytes, text: the path there, flags */
        VMMS_ORDER_TYPE_TEXT, /* text */
        VMMS_ORDER_TYPE_KEYS  /* keys of a keyboard: scancodes */
    } kind;
    const struct api_kvp_pair *pairs;
    size_t n_pairs;
    int fd;
    uint64_t bytes;
    const char *text;
    uint32_t flags; /* 1: overwrite, 2: make directories */
    /* Of a copy: how far it is; or NULL. */
    void (*progress)(void *opaque, uint64_t done, uint64_t total);
    const uint8_t *scancodes;
    size_t n_scancodes;
};

typedef void vmms_order_fn(void *opaque, uint64_t number, struct api_error *error);
/* Calls back exactly once; error (NULL: done) belongs to the callee; number: of bytes copied, or of
 * pairs 1 when the guest has them, 0 when it is told later. */
void vmms_spawner_order(struct vmms_spawner *spawner, const char *vm_id,
                        const struct vmms_order *order, vmms_order_fn *done, void *opaque);

/* The copy that is under way ends soon, with Cancelled unless it was done. */
void vmms_spawner_cancel_copy(struct vmms_spawner *spawner, const char *vm_id);

typedef void vmms_console_fn(void *opaque, int fd, uint64_t start);
/* fd: a stream socket that the callee owns, or -1. Calls back exactly once. */
void vmms_spawner_open_console(struct vmms_spawner *spawner, const char *vm_id, uint32_t port,
                               uint64_t from, vmms_console_fn *done, void *opaque);

/* What a worker told last, and the time before. */
struct vmms_figures {
    /* read only: monotonic clock */
    uint64_t told_ns;
    struct api_vm_stats stats; /* without id and name */
    uint64_t before_ns;        /* 0: it has told once only */
    uint64_t before_vcpu_ns;
};
/* NULL: it has told nothing yet, or there is none. Valid until the loop turns. */
const struct vmms_figures *vmms_spawner_figures(struct vmms_spawner *spawner, const char *vm_id);

/* What holds for a VM's worker (vmms_security_read); the caller finishes ret. Returns 0 or -EINVAL
 * with an error. */
int vmms_spawner_security(struct vmms_spawner *spawner, const char *vm_id,
                          struct api_vm_security *ret, struct api_error **reterr);

/* Whoever opens disks with their parents; before the first start of a VM. */
void vmms_spawner_use_images(struct vmms_spawner *spawner, struct vmms_images *images);

/* "VM web" where the process is the worker of that VM. */
bool vmms_spawner_name_process(const struct vmms_spawner *spawner, int pid, char *ret, size_t room);

typedef void vmms_probe_fn(void *opaque, struct api_host *host, const char *why);
/* Run `vmwp --probe`: host (the callee finishes it), or NULL and a sentence. */
void vmms_spawner_probe(struct vmms_spawner *spawner, vmms_probe_fn *done, void *opaque);
