/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/worker/phase.h"

#include "hvcore/base/own.h"

enum {
    IN_STARTING = 1 << WP_PHASE_STARTING,
    IN_READY = 1 << WP_PHASE_READY,
    IN_RUNNING = 1 << WP_PHASE_RUNNING,
    IN_PAUSED = 1 << WP_PHASE_PAUSED,
    IN_SAVING = 1 << WP_PHASE_SAVING,
};

struct cause_row {
    const char *name;
    unsigned legal; /* IN_* */
    const char *legal_in;
    enum wp_phase next;
    bool may_restart; /* then next is running when the guest is to be restarted */
};

/* clang-format off */
static const struct cause_row causes[WP_N_CAUSES] = {
    [WP_CAUSE_NONE]            = { "", 0, "no state", WP_PHASE_STOPPED, false },
    [WP_CAUSE_LOADED]          = { "", IN_STARTING, "starting", WP_PHASE_READY, false },
    [WP_CAUSE_START]           = { "start", IN_READY, "ready", WP_PHASE_RUNNING, false },
    [WP_CAUSE_PAUSE]           = { "pause", IN_RUNNING, "running", WP_PHASE_PAUSED, false },
    [WP_CAUSE_RESUME]          = { "resume", IN_PAUSED, "paused", WP_PHASE_RUNNING, false },
    [WP_CAUSE_RESET]           = { "reset", IN_RUNNING | IN_PAUSED, "running or paused",
                                   WP_PHASE_RUNNING, false },
    [WP_CAUSE_TURN_OFF]        = { "turn_off", IN_READY | IN_RUNNING | IN_PAUSED | IN_SAVING,
                                   "ready, running, paused or saving", WP_PHASE_STOPPED, false },
    [WP_CAUSE_SAVE]            = { "save", IN_RUNNING | IN_PAUSED, "running or paused",
                                   WP_PHASE_SAVING, false },
    [WP_CAUSE_SAVED]           = { "save", IN_SAVING, "saving", WP_PHASE_STOPPED, false },
    [WP_CAUSE_SAVE_FAILED]     = { "save_failed", IN_SAVING, "saving", WP_PHASE_PAUSED, true },
    [WP_CAUSE_GUEST_POWER_OFF] = { "guest_power_off", IN_RUNNING, "running",
                                   WP_PHASE_STOPPED, false },
    [WP_CAUSE_GUEST_RESET]     = { "guest_reset", IN_RUNNING, "running", WP_PHASE_STOPPED, true },
    [WP_CAUSE_TRIPLE_FAULT]    = { "triple_fault", IN_RUNNING, "running", WP_PHASE_STOPPED, true },
    [WP_CAUSE_DEBUG_EXIT]      = { "debug_exit", IN_RUNNING, "running", WP_PHASE_STOPPED, false },
    [WP_CAUSE_INTERNAL_ERROR]  = { "internal_error",
                                   IN_STARTING | IN_READY | IN_RUNNING | IN_PAUSED | IN_SAVING,
                                   "every state but stopped", WP_PHASE_STOPPED, false },
    [WP_CAUSE_STORAGE_CRITICAL] = { "storage_critical", IN_RUNNING, "running",
                                    WP_PHASE_PAUSED, false },
    [WP_CAUSE_STORAGE_CURED]   = { "storage_cured", IN_PAUSED, "paused", WP_PHASE_RUNNING, false },
};
/* clang-format on */

const char *wp_phase_name(enum wp_phase phase)
{
    static const char *const names[WP_N_PHASES] = { "starting", "ready",  "running",
                                                    "paused",   "saving", "stopped" };

    hv_assert(phase < WP_N_PHASES);
    return names[phase];
}

const char *wp_cause_name(enum wp_cause cause)
{
    hv_assert(cause < WP_N_CAUSES);
    return causes[cause].name;
}

bool wp_phase_next(enum wp_phase phase, enum wp_cause cause, bool restarts, enum wp_phase *ret)
{
    const struct cause_row *row;

    hv_assert(phase < WP_N_PHASES && cause < WP_N_CAUSES);
    row = &causes[cause];
    if (!(row->legal & (1u << phase)))
        return false;
    *ret = row->may_restart && restarts ? WP_PHASE_RUNNING : row->next;
    return true;
}

const char *wp_cause_legal_in(enum wp_cause cause)
{
    hv_assert(cause < WP_N_CAUSES);
    return causes[cause].legal_in;
}
