/* SPDX-License-Identifier: Apache-2.0 */
/* Dictionaries with variants, as a worker sends them: every byte is hostile. */
#include "vmmsd/spawn/worker_priv.h"

#include "api/rpc/utf8.h"

#include <string.h>

/* The next entry's key, entered up to its variant. Returns 1, 0 at the end, negative errno. */
static int enter_entry(sd_bus_message *m, const char **ret_key, char *ret_type)
{
    const char *contents;
    int r = sd_bus_message_enter_container(m, 'e', "sv");

    if (r <= 0)
        return r;
    r = sd_bus_message_read(m, "s", ret_key);
    if (r < 0)
        return r;
    r = sd_bus_message_peek_type(m, NULL, &contents);
    if (r < 0)
        return r;
    *ret_type = contents && contents[0] && !contents[1] ? contents[0] : 0;
    return 1;
}

static int leave_entry(sd_bus_message *m, bool was_read)
{
    int r = was_read ? 0 : sd_bus_message_skip(m, "v");

    return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_slot(sd_bus_message *m, const struct vmms_slot *slot)
{
    const char *text;
    int r;

    if (slot->type != 's') {
        const char type[2] = { slot->type, '\0' };

        r = sd_bus_message_read(m, "v", type, slot->to);
    } else {
        r = sd_bus_message_read(m, "v", "s", &text);
        if (r >= 0) {
            free(*(char **)slot->to);
            *(char **)slot->to = utf8_copy(text, VMMS_WORKER_TEXT_MAX);
        }
    }
    if (r >= 0 && slot->is_there)
        *slot->is_there = true;
    return r;
}

/* Read an a{sv} into the slots whose key and type match; the rest is skipped. */
int vmms_read_dictionary(sd_bus_message *m, const struct vmms_slot *slots, size_t n_slots)
{
    int r = sd_bus_message_enter_container(m, 'a', "{sv}");
    const char *key;
    bool was_read;
    char type;

    while (r >= 0 && (r = enter_entry(m, &key, &type)) > 0) {
        was_read = false;
        for (size_t i = 0; i < n_slots && r >= 0 && !was_read; i++) {
            if (strcmp(slots[i].key, key) != 0 || slots[i].type != type)
                continue;
            r = read_slot(m, &slots[i]);
            was_read = true;
        }
        if (r >= 0)
            r = leave_entry(m, was_read);
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}
