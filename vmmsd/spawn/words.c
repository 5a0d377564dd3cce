/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/spawn/words.h"

#include "api/rpc/json.h"
#include "api/rpc/utf8.h"
#include "hvcore/base/crc32c.h"
#include "hvcore/base/cursor.h"

enum { SLOT_BYTES = 2048, MAGIC = 0x4c575648, VERSION = 1, TEXT_MAX = 1024 };

struct slot {
    uint64_t sequence;
    const char *text;
    uint32_t length;
};

static bool read_slot(const uint8_t *bytes, struct slot *ret)
{
    struct hv_cursor in = hv_cursor(bytes, SLOT_BYTES);
    uint32_t magic = hv_cursor_u32(&in), version = hv_cursor_u32(&in);
    uint64_t sequence = hv_cursor_u64(&in);
    uint32_t length = hv_cursor_u32(&in), crc = hv_cursor_u32(&in);

    if (magic != MAGIC || version != VERSION || length > hv_cursor_left(&in))
        return false;
    *ret = (struct slot){ .sequence = sequence,
                          .text = (const char *)bytes + SLOT_BYTES - hv_cursor_left(&in),
                          .length = length };
    return hv_crc32c(0, ret->text, length) == crc;
}

static int take(const struct json_value *root, const char *key, char **ret)
{
    const struct json_value *value = json_get(root, key);

    if (!value || value->type != JSON_STRING || !value->length)
        return 0;
    *ret = utf8_copy(value->text, TEXT_MAX);
    return *ret ? 0 : -ENOMEM;
}

static int read_text(const struct slot *slot, const char *incarnation, struct vmms_words *ret)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    const struct json_value *root, *status;
    struct json_fault fault;
    uint64_t number;
    int r = json_parse(slot->text, slot->length, &json_limits_request, &doc, &fault);

    if (r < 0)
        return r == -ENOMEM ? r : -ENOENT;
    root = json_doc_root(doc);
    if (!json_is_text(json_get(root, "incarnation"), incarnation))
        return -ENOENT;
    status = json_get(root, "exit_status");
    if (status && json_u64(status, &number) == 0)
        ret->exit_status = (uint32_t)number;
    if (take(root, "state", &ret->state) < 0 || take(root, "cause", &ret->cause) < 0 ||
        take(root, "message", &ret->message) < 0 || take(root, "code", &ret->code) < 0 ||
        take(root, "field", &ret->field) < 0)
        r = -ENOMEM;
    if (r < 0)
        vmms_words_fini(ret);
    return r;
}

int vmms_words_read(const uint8_t file[static VMMS_WORDS_FILE_BYTES], const char *incarnation,
                    struct vmms_words *ret)
{
    struct slot a, b;
    bool has_a = read_slot(file, &a), has_b = read_slot(file + SLOT_BYTES, &b);

    *ret = (struct vmms_words){ 0 };
    if (!has_a && !has_b)
        return -ENOENT;
    return read_text(has_a && (!has_b || a.sequence > b.sequence) ? &a : &b, incarnation, ret);
}

void vmms_words_fini(struct vmms_words *words)
{
    free(words->state);
    free(words->cause);
    free(words->message);
    free(words->code);
    free(words->field);
    *words = (struct vmms_words){ 0 };
}

/* The worker speaks of its definition's fields, clients know settings. */
static const char *setting_of(const char *field)
{
    static const struct {
        const char *prefix, *setting;
    } names[] = {
        { "kernel", "boot.kernel" },    { "initrd", "boot.initrd" }, { "cmdline", "boot.cmdline" },
        { "memory", "memory.startup" }, { "cpu", "cpu.count" },      { "debug_exit", "debug_exit" },
        { "kvm", "backend" },
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(names); i++) {
        if (strncmp(field, names[i].prefix, strlen(names[i].prefix)) == 0)
            return names[i].setting;
    }
    return field;
}

struct api_error *vmms_words_error(const struct vmms_words *words, const char *vm_name)
{
    struct api_error *error = NULL;
    enum api_error_code code = API_E_FAILED;

    if (!words->code)
        return NULL;
    if (strncmp(words->code, "vm.saved_state", 14) == 0)
        code = API_E_INCOMPATIBLE;
    else if (words->field)
        code = API_E_INVALID_PARAMETER;
    else if (strstr(words->code, "memory"))
        code = API_E_OUT_OF_MEMORY;
    else if (strstr(words->code, "backend") || strstr(words->code, "kvm"))
        code = API_E_NOT_SUPPORTED;
    api_error_set(&error, code, words->code, words->field ? setting_of(words->field) : NULL,
                  "VM %s cannot be started: %s", vm_name,
                  words->message ? words->message : words->code);
    if (code == API_E_INCOMPATIBLE)
        api_error_hint(error, "Discard the saved state to start the VM anew.");
    return error;
}
