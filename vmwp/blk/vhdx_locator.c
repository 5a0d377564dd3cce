/* SPDX-License-Identifier: Apache-2.0 */
/* The parent locator of a differencing VHDX: keys and values in UTF-16. spec: MS-VHDX 2.6.2.6 */
#include "hvcore/base/arith.h"
#include "hvcore/base/cursor.h"
#include "vmwp/blk/vhdx_priv.h"

#include <stdio.h>

enum { HEADER_BYTES = 20, PAIR_BYTES = 12, KEY_BYTES = 64, LOCATOR_READ_MAX = 64 * 1024 };

struct pair {
    uint32_t key_at, value_at;
    uint16_t key_bytes, value_bytes;
};

/* "{xxxxxxxx-...}" or without braces. */
static bool parse_linkage(const char *text, struct hv_guid *ret)
{
    char bare[HV_GUID_TEXT_BYTES];
    size_t length = strlen(text);

    if (length == HV_GUID_TEXT_BYTES + 1 && text[0] == '{' && text[length - 1] == '}') {
        memcpy(bare, text + 1, sizeof(bare) - 1);
        bare[sizeof(bare) - 1] = 0;
        text = bare;
    }
    return hv_guid_parse(text, ret) == 0;
}

static int use_pair(struct vhdx *v, const char *key, const char *value, struct blk_report *report)
{
    struct blk_probe *probe = &v->layer.probe;
    struct hv_guid *linkage = NULL;

    if (strcmp(key, "parent_linkage") == 0)
        linkage = &probe->parent_id;
    else if (strcmp(key, "parent_linkage2") == 0)
        linkage = &probe->parent_id2;
    else if (strcmp(key, "relative_path") == 0)
        (void)snprintf(probe->parent_relative, sizeof(probe->parent_relative), "%s",
                       strncmp(value, "./", 2) == 0 ? value + 2 : value);
    else if (strcmp(key, "absolute_win32_path") == 0)
        (void)snprintf(probe->parent_absolute, sizeof(probe->parent_absolute), "%s", value);
    if (linkage && !parse_linkage(value, linkage))
        return blk_report_bad(report, -EUCLEAN, "image.vhdx.parent",
                              "its parent's identifier is no GUID.");
    return 0;
}

static int read_pair(struct vhdx *v, const uint8_t *item, size_t bytes, struct hv_cursor *in,
                     struct blk_report *report)
{
    hv_autofree char *value = malloc(BLK_PATH_BYTES);
    char key[KEY_BYTES];
    struct pair pair;

    if (!value)
        return -ENOMEM;
    pair.key_at = hv_cursor_u32(in);
    pair.value_at = hv_cursor_u32(in);
    pair.key_bytes = hv_cursor_u16(in);
    pair.value_bytes = hv_cursor_u16(in);
    if (!hv_cursor_ok(in) || !hv_range_within(pair.key_at, pair.key_bytes, bytes) ||
        !hv_range_within(pair.value_at, pair.value_bytes, bytes))
        return blk_report_bad(report, -EUCLEAN, "image.vhdx.parent",
                              "an entry of its parent locator lies outside it.");
    if (blk_from_utf16(item + pair.key_at, pair.key_bytes, false, key, sizeof(key)) < 0)
        return 0; /* no key that is known */
    if (blk_from_utf16(item + pair.value_at, pair.value_bytes, false, value, BLK_PATH_BYTES) < 0)
        return blk_report_bad(report, -EUCLEAN, "image.vhdx.parent",
                              "the value of '%s' in its parent locator is no text.", key);
    return use_pair(v, key, value, report);
}

int vhdx_locator_read(struct vhdx *v, struct blk_report *report)
{
    static const struct hv_guid none;
    size_t bytes = v->locator_item.bytes;
    hv_autofree uint8_t *item = malloc(LOCATOR_READ_MAX);
    struct hv_cursor in;
    struct hv_guid type;
    uint16_t n;
    int r;

    if (!item)
        return -ENOMEM;
    v->layer.probe.has_parent = true;
    if (bytes < HEADER_BYTES || bytes > LOCATOR_READ_MAX)
        return blk_report_fatal(report, -EUCLEAN, "image.vhdx.parent",
                                "is differencing and has no usable parent locator.");
    r = blk_file_read(&v->layer.file, v->locator_item.offset, item, bytes);
    if (r < 0)
        return blk_report_read(report, r, "its parent locator");
    in = hv_cursor(item, bytes);
    hv_cursor_bytes(&in, &type, sizeof(type));
    hv_cursor_skip(&in, 2);
    n = hv_cursor_u16(&in);
    if (!hv_guid_equal(&type, &VHDX_LOCATOR_TYPE))
        return blk_report_fatal(report, -EOPNOTSUPP, "image.vhdx.parent",
                                "its parent locator has a type that isn't known here.");
    for (uint16_t i = 0; r == 0 && i < n && hv_cursor_ok(&in); i++)
        r = read_pair(v, item, bytes, &in, report);
    if (r == 0 && hv_guid_equal(&v->layer.probe.parent_id, &none))
        r = blk_report_bad(report, -EUCLEAN, "image.vhdx.parent",
                           "its parent locator has no 'parent_linkage'.");
    return r;
}

/* Text at the end of an item that grows. */
static int append(uint8_t *ret, size_t max, size_t *used, const char *text, bool is_windows,
                  uint8_t *entry, unsigned at_field, unsigned bytes_field)
{
    size_t n;
    int r = blk_to_utf16(text, false, is_windows, ret + *used, max - *used, &n);

    if (r < 0 || n > UINT16_MAX)
        return -EINVAL;
    vhdx_put32(entry + at_field, (uint32_t)*used);
    vhdx_put16(entry + bytes_field, (uint16_t)n);
    *used += n;
    return 0;
}

int vhdx_locator_build(const struct hv_guid *linkage, const char *relative, const char *absolute,
                       uint8_t *ret, size_t ret_max, uint32_t *ret_bytes)
{
    char guid[HV_GUID_TEXT_BYTES], braced[HV_GUID_TEXT_BYTES + 2], dotted[BLK_PATH_BYTES + 2];
    const char *pairs[3][2] = { { "parent_linkage", braced } };
    unsigned n = 1;
    size_t used;

    hv_guid_format(linkage, guid);
    (void)snprintf(braced, sizeof(braced), "{%s}", guid);
    if (relative && strlen(relative) < BLK_PATH_BYTES) {
        (void)snprintf(dotted, sizeof(dotted), "./%s", relative);
        pairs[n][0] = "relative_path";
        pairs[n++][1] = dotted;
    }
    if (absolute) {
        pairs[n][0] = "absolute_win32_path";
        pairs[n++][1] = absolute;
    }
    used = HEADER_BYTES + (size_t)n * PAIR_BYTES;
    memset(ret, 0, used);
    memcpy(ret, &VHDX_LOCATOR_TYPE, 16);
    vhdx_put16(ret + 18, (uint16_t)n);
    for (unsigned i = 0; i < n; i++) {
        uint8_t *entry = ret + HEADER_BYTES + (size_t)i * PAIR_BYTES;

        if (append(ret, ret_max, &used, pairs[i][0], false, entry, 0, 8) < 0 ||
            append(ret, ret_max, &used, pairs[i][1], i > 0, entry, 4, 10) < 0)
            return -EINVAL;
    }
    *ret_bytes = (uint32_t)used;
    return 0;
}
