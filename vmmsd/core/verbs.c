/* SPDX-License-Identifier: Apache-2.0 */
/* What may be asked in which state: management model, section 3. */
#include "api/gen/tables.h"
#include "vmmsd/core/core_priv.h"

#define OFF      (1u << API_VM_STATE_OFF)
#define STARTING (1u << API_VM_STATE_STARTING)
#define RUNNING  (1u << API_VM_STATE_RUNNING)
#define STOPPING (1u << API_VM_STATE_STOPPING)
#define PAUSED   (1u << API_VM_STATE_PAUSED)
#define SAVING   (1u << API_VM_STATE_SAVING)
#define SAVED    (1u << API_VM_STATE_SAVED)
#define ANY      (OFF | STARTING | RUNNING | STOPPING | PAUSED | SAVING | SAVED)

/* clang-format off */
const struct vmms_verb vmms_verbs[] = {
    { API_METHOD_VM_START,     "start",     OFF | SAVED },
    { API_METHOD_VM_TURN_OFF,  "turn_off",  STARTING | RUNNING | STOPPING | PAUSED | SAVING },
    { API_METHOD_VM_PAUSE,     "pause",     RUNNING },
    { API_METHOD_VM_RESUME,    "resume",    PAUSED },
    { API_METHOD_VM_RESET,     "reset",     RUNNING | PAUSED },
    { API_METHOD_VM_SAVE,      "save",      RUNNING | PAUSED },
    { API_METHOD_VM_DISCARD_SAVED_STATE, "discard_saved_state", SAVED },
    { API_METHOD_VM_CONFIGURE, "configure", ANY },
    { API_METHOD_VM_DELETE,    "delete",    OFF | SAVED },
    { API_METHOD_VM_STATS,     "stats",     RUNNING | PAUSED | SAVING },
    { API_METHOD_VM_SECURITY,  "security",  RUNNING | PAUSED | SAVING },
    { API_METHOD_GUEST_SHUTDOWN, "shutdown", RUNNING },
    { API_METHOD_GUEST_REBOOT,   "reboot",   RUNNING },
    { API_METHOD_VM_ADD_DEVICE,    "add_device",    OFF | RUNNING | PAUSED, true },
    { API_METHOD_VM_MODIFY_DEVICE, "modify_device", OFF | RUNNING | PAUSED | SAVED, true },
    { API_METHOD_VM_REMOVE_DEVICE, "remove_device", OFF | RUNNING | PAUSED, true },
    { API_METHOD_GUEST_GET,        "guest.get",     RUNNING | PAUSED, true },
    { API_METHOD_GUEST_COPY_FILES, "guest.copy_files", RUNNING, true },
    { API_METHOD_CONSOLE_TYPE_TEXT, "console.type_text", RUNNING, true },
    { API_METHOD_CONSOLE_CTRL_ALT_DEL, "console.ctrl_alt_del", RUNNING, true },
};
/* clang-format on */
const size_t vmms_verb_count = HV_ARRAY_SIZE(vmms_verbs);

const struct vmms_verb *vmms_verb(enum api_method method)
{
    for (size_t i = 0; i < vmms_verb_count; i++) {
        if (vmms_verbs[i].method == method)
            return &vmms_verbs[i];
    }
    return NULL;
}

bool vmms_verb_is_allowed(enum api_method method, enum api_vm_state state)
{
    const struct vmms_verb *verb = vmms_verb(method);

    return verb && verb->states & 1u << state;
}

void vmms_say_states(enum api_method method, enum api_vm_state state, struct api_error *error)
{
    const struct vmms_verb *verb = vmms_verb(method);

    if (!error)
        return;
    api_error_set_text(&error->data.state, api_enum_vm_state.values[state]);
    for (size_t i = 0; verb && i < api_enum_vm_state.n_values; i++) {
        if (verb->states & 1u << i)
            api_error_add(error, &error->data.allowed_states, &error->data.n_allowed_states,
                          api_enum_vm_state.values[i]);
    }
    for (size_t i = 0; i < vmms_verb_count; i++) {
        if (!vmms_verbs[i].is_quiet && vmms_verbs[i].states & 1u << state)
            api_error_add(error, &error->data.allowed_verbs, &error->data.n_allowed_verbs,
                          vmms_verbs[i].name);
    }
}
