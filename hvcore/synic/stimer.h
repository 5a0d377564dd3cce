/* SPDX-License-Identifier: Apache-2.0 */
/* A VP's four synthetic timers: part of its controller, through which their messages go. */
#pragma once

#include "hvcore/time/timer.h"
#include "hvcore/time/tsc.h"

enum { HV_SYNIC_N_TIMERS = 4 };

struct hv_synic;

struct hv_stimer {
    /* private; lock: the controller's */
    struct hv_synic *synic;
    uint64_t config;
    uint64_t count;
    uint64_t due; /* reference time of the next expiry; 0: stopped */
    bool has_message;
    uint64_t message_due; /* when what the waiting message tells was due */
    struct hv_timer timer;
};
