/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The phases of a worker's VM, as a checked table: what may happen in which phase, and where it
 * leads. Pure; no I/O.
 */
#pragma once

#include <stdbool.h>

enum wp_phase {
    WP_PHASE_STARTING, /* memory and kernel are being loaded; never told to anybody */
    WP_PHASE_READY,
    WP_PHASE_RUNNING,
    WP_PHASE_PAUSED,
    WP_PHASE_SAVING, /* VPs stand still, and their state is being written */
    WP_PHASE_STOPPED,
    WP_N_PHASES
};

enum wp_cause {
    WP_CAUSE_NONE,
    WP_CAUSE_LOADED, /* starting is done */
    WP_CAUSE_START,
    WP_CAUSE_PAUSE,
    WP_CAUSE_RESUME,
    WP_CAUSE_RESET,
    WP_CAUSE_TURN_OFF,
    WP_CAUSE_SAVE,        /* asked for */
    WP_CAUSE_SAVED,       /* done; told as "save" */
    WP_CAUSE_SAVE_FAILED, /* or cancelled: as before, running or paused */
    WP_CAUSE_GUEST_POWER_OFF,
    WP_CAUSE_GUEST_RESET,
    WP_CAUSE_TRIPLE_FAULT,
    WP_CAUSE_DEBUG_EXIT,
    WP_CAUSE_INTERNAL_ERROR,
    WP_CAUSE_STORAGE_CRITICAL, /* the host's storage fails the guest */
    WP_CAUSE_STORAGE_CURED,
    WP_N_CAUSES
};

/* Names as in schemas/worker: "ready", "guest_reset"; "" for WP_CAUSE_NONE and WP_CAUSE_LOADED. */
const char *wp_phase_name(enum wp_phase phase);
const char *wp_cause_name(enum wp_cause cause);

/*
 * Where `cause` leads from `phase`.
 *
 * restarts: a reset or triple fault shall start the guest anew instead of ending it; a save that
 *           failed had been asked for while the guest ran
 * return:   true with *ret, or false when the cause isn't legal in this phase
 */
bool wp_phase_next(enum wp_phase phase, enum wp_cause cause, bool restarts, enum wp_phase *ret);

/* The phases in which `cause` is legal, for a person: "running or paused". */
const char *wp_cause_legal_in(enum wp_cause cause);
