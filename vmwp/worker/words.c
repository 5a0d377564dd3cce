/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/worker/words.h"

#include "hvcore/base/crc32c.h"
#include "hvcore/base/cursor.h"

#include <assert.h>
#include <endian.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

enum { WORDS_VERSION = 1 };

struct words_header_wire {
    uint32_t magic;
    uint32_t version;
    uint64_t sequence;
    uint32_t length;
    uint32_t crc;
};
static_assert(sizeof(struct words_header_wire) == WP_WORDS_HEADER_BYTES,
              "schemas/worker/README.md: the status file");

static int read_slot(int fd, unsigned index, char *ret_text, uint64_t *ret_sequence)
{
    uint8_t slot[WP_WORDS_SLOT_BYTES];
    struct hv_cursor in;
    uint32_t magic, version, length, crc;
    uint64_t sequence;
    ssize_t n;

    n = pread(fd, slot, sizeof(slot), (off_t)index * WP_WORDS_SLOT_BYTES);
    if (n < 0)
        return -errno;
    in = hv_cursor(slot, (size_t)n);
    magic = hv_cursor_u32(&in);
    version = hv_cursor_u32(&in);
    sequence = hv_cursor_u64(&in);
    length = hv_cursor_u32(&in);
    crc = hv_cursor_u32(&in);
    if (!hv_cursor_ok(&in) || magic != WP_WORDS_MAGIC || version != WORDS_VERSION ||
        length > hv_cursor_left(&in) || hv_crc32c(0, slot + WP_WORDS_HEADER_BYTES, length) != crc)
        return -ENODATA;
    memcpy(ret_text, slot + WP_WORDS_HEADER_BYTES, length);
    ret_text[length] = 0;
    *ret_sequence = sequence;
    return 0;
}

int wp_words_read(int fd, char ret_text[static WP_WORDS_MAX_TEXT + 1], uint64_t *ret_sequence)
{
    char text[WP_WORDS_MAX_TEXT + 1];
    bool is_found = false;
    uint64_t best = 0;

    for (unsigned i = 0; i < WP_WORDS_N_SLOTS; i++) {
        uint64_t sequence = 0;
        int r;

        r = read_slot(fd, i, text, &sequence);
        if (r < 0 && r != -ENODATA)
            return r;
        if (r < 0 || (is_found && sequence <= best))
            continue;
        memcpy(ret_text, text, sizeof(text));
        best = sequence;
        is_found = true;
    }
    if (!is_found)
        return -ENODATA;
    *ret_sequence = best;
    return 0;
}

void wp_words_open(struct wp_words_file *file, int fd)
{
    char text[WP_WORDS_MAX_TEXT + 1];

    *file = (struct wp_words_file){ .fd = fd };
    if (fd >= 0)
        (void)wp_words_read(fd, text, &file->sequence);
}

/* The first `max` bytes of UTF-8 text, without a character cut in two. */
static size_t cut_length(const char *text, size_t max)
{
    size_t length = strnlen(text, max + 1);

    if (length <= max)
        return length;
    length = max;
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
        length--;
    return length;
}

static void add_text(json_object *object, const char *name, const char *text, size_t max)
{
    text = text ? text : "";
    json_object_object_add(object, name,
                           json_object_new_string_len(text, (int)cut_length(text, max)));
}

/* At most WP_WORDS_MAX_TEXT: the message gives way, in the bytes that escaping makes of it. */
static json_object *words_to_json(const struct wp_words *words, size_t max_message)
{
    json_object *object = json_object_new_object();

    if (!object)
        return NULL;
    add_text(object, "incarnation", words->incarnation, 64);
    add_text(object, "state", words->state, 32);
    add_text(object, "cause", words->cause, 32);
    add_text(object, "message", words->message, max_message);
    add_text(object, "code", words->code, 64);
    add_text(object, "field", words->field, 64);
    json_object_object_add(object, "exit_status", json_object_new_int64(words->exit_status));
    json_object_object_add(object, "time_ns", json_object_new_uint64(words->time_ns));
    return object;
}

static int write_slot(struct wp_words_file *file, const char *text, size_t length)
{
    uint8_t slot[WP_WORDS_SLOT_BYTES] = { 0 };
    uint64_t sequence = file->sequence + 1;
    struct words_header_wire header = {
        .magic = htole32(WP_WORDS_MAGIC),
        .version = htole32(WORDS_VERSION),
        .sequence = htole64(sequence),
        .length = htole32((uint32_t)length),
        .crc = htole32(hv_crc32c(0, text, length)),
    };
    ssize_t n;

    memcpy(slot, &header, sizeof(header));
    memcpy(slot + sizeof(header), text, length);
    do
        n = pwrite(file->fd, slot, sizeof(slot),
                   (off_t)(sequence % WP_WORDS_N_SLOTS) * WP_WORDS_SLOT_BYTES);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if ((size_t)n != sizeof(slot))
        return -EIO;
    file->sequence = sequence;
    return 0;
}

int wp_words_write(struct wp_words_file *file, const struct wp_words *words)
{
    int r = -E2BIG;

    if (file->fd < 0)
        return 0;
    /* One byte becomes six ("\u001f") at worst: a message this short always fits. */
    for (size_t max_message = 1024; r == -E2BIG && max_message >= 16; max_message /= 4) {
        json_object *object = words_to_json(words, max_message);
        const char *text;
        size_t length = 0;

        text = object ? json_object_to_json_string_length(object, JSON_C_TO_STRING_PLAIN, &length)
                      : NULL;
        if (!text)
            r = -ENOMEM;
        else if (length <= WP_WORDS_MAX_TEXT)
            r = write_slot(file, text, length);
        json_object_put(object);
    }
    return r;
}
