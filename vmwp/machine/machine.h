/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine: one partition with its RAM, chips, tables and kernel, ready for its VPs to run.
 *
 * Made, reset and freed by one thread while no VP runs.
 */
#pragma once

#include "hvcore/partition.h"

struct con;
struct state_head;
struct state_image;
struct state_writer;
struct wp_machine;

enum { WP_MACHINE_N_COM = 2 };

enum wp_machine_event {
    WP_MACHINE_POWER_OFF,
    WP_MACHINE_RESET,
    WP_MACHINE_DEBUG_EXIT /* status: what the guest reported */
};

struct wp_machine_config {
    /* public */
    enum hv_backend backend; /* not HV_BACKEND_AUTO */
    int kvm_fd;              /* borrowed, or -1 */
    unsigned n_vps;
    uint64_t ram_bytes;
    struct hv_tsc_facts tsc;  /* as hv_partition_config has it */
    int kernel_fd;            /* borrowed for the machine's life: a reset reads it again */
    int initrd_fd;            /* likewise, or -1 */
    const char *cmdline;      /* copied */
    uint16_t debug_exit_port; /* 0: none */
    /* Instead of loading the kernel: as it was saved. The rest agrees with the image's head. */
    struct state_image *image; /* borrowed, or NULL */
    /* The guest asks for an end. Called on a VP's thread, which goes on until it is stopped; must
     * not block. */
    void (*event)(void *opaque, enum wp_machine_event event, uint32_t status);
    void *opaque;
    struct hv_log log;
};

/* Assemble and load. Returns 0, or a negative errno with the input at fault in *reterr. The
 * machine's time stands until wp_machine_resume_time. */
int wp_machine_new(const struct wp_machine_config *config, struct wp_machine **ret,
                   struct hv_error **reterr);
struct wp_machine *wp_machine_free(struct wp_machine *machine);

static inline void wp_machine_freep(struct wp_machine **machine)
{
    *machine = wp_machine_free(*machine);
}

/* As after power-on: RAM empty and given back to the host, chips and VPs reset, the kernel loaded
 * anew. After a failure the machine cannot run. */
int wp_machine_reset(struct wp_machine *machine, struct hv_error **reterr);

/* Guest time and the chips' timers stand still in between. Not twice in a row. */
void wp_machine_pause_time(struct wp_machine *machine);
void wp_machine_resume_time(struct wp_machine *machine);

/* Its facts for a saved state's head; and all of it but RAM, which follows as state_writer_ram
 * takes it. Time stands and no VP runs. 0 or a negative errno. */
void wp_machine_describe(struct wp_machine *machine, struct state_head *ret);
int wp_machine_save(struct wp_machine *machine, struct state_writer *writer);

/* The partition, owned by the machine. */
struct hv_partition *wp_machine_partition(struct wp_machine *machine);

/* The console on serial port 1 or 2. */
struct con *wp_machine_console(struct wp_machine *machine, unsigned port);
