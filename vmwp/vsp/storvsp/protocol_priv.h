/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conversation beside I/O: which message may come when, and what it is answered. Pure.
 *
 * spec: Linux 6.1 drivers/scsi/storvsc_drv.c storvsc_channel_init
 */
#pragma once

#include "vmwp/vsp/storvsp/wire_priv.h"

#include <stdbool.h>

enum storvsp_phase {
    STORVSP_PHASE_OPEN,
    STORVSP_PHASE_BEGUN,
    STORVSP_PHASE_VERSION,    /* agreed */
    STORVSP_PHASE_PROPERTIES, /* told */
    STORVSP_PHASE_READY,
    STORVSP_PHASE_SPREAD /* ready, and sub-channels were asked for */
};

struct storvsp_protocol {
    /* read only */
    enum storvsp_phase phase;
    uint16_t version;
    uint16_t max_sub_channels; /* 0: none are offered */
};

/* What is to be done with a message */
enum storvsp_verdict {
    STORVSP_REPLY,       /* send the packet back, it holds the answer */
    STORVSP_RUN,         /* an SRB */
    STORVSP_RESET,       /* wait for all that runs, then send the packet back */
    STORVSP_SUB_CHANNELS /* offer as many, then send back */
};

/* The channel was opened. */
void storvsp_protocol_start(struct storvsp_protocol *protocol, uint16_t max_sub_channels);
bool storvsp_protocol_is_ready(const struct storvsp_protocol *protocol);
/* Judge a message of the primary channel; but for SRBs that are to run, it becomes its answer. */
enum storvsp_verdict storvsp_protocol_step(struct storvsp_protocol *protocol,
                                           struct storvsp_wire_packet *packet);
/* The same for a sub-channel, on which there is nothing but I/O. */
enum storvsp_verdict storvsp_protocol_step_sub(struct storvsp_wire_packet *packet);
