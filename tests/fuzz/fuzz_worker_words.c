/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The status file of a worker that was taken over: what is read of it is text that can be shown.
 *
 * Input: a byte, then the file. An odd byte: the two halves are texts, and get the heads that they
 * need to be believed.
 */
#include "api/rpc/utf8.h"
#include "hvcore/base/crc32c.h"
#include "vmmsd/spawn/words.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { SLOT = VMMS_WORDS_FILE_BYTES / 2, HEAD = 24 };

static void put_head(uint8_t *slot, uint64_t sequence)
{
    size_t length = strnlen((char *)slot + HEAD, SLOT - HEAD);
    uint32_t head[6] = { 0x4c575648, 1, (uint32_t)sequence, 0, (uint32_t)length };

    head[5] = hv_crc32c(0, slot + HEAD, length);
    memcpy(slot, head, sizeof(head));
}

static void check_text(const char *text)
{
    hv_assert(!text || (utf8_is_valid(text, strlen(text)) && strlen(text) <= 1024));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    uint8_t file[VMMS_WORDS_FILE_BYTES] = { 0 };
    struct vmms_words words;

    if (!n)
        return 0;
    memcpy(file, bytes + 1, n - 1 < sizeof(file) ? n - 1 : sizeof(file));
    if (bytes[0] & 1) {
        memmove(file + SLOT + HEAD, file + SLOT, SLOT - HEAD);
        memmove(file + HEAD, file, SLOT - HEAD);
        put_head(file, bytes[0] >> 1);
        put_head(file + SLOT, 64);
    }
    if (vmms_words_read(file, "i", &words) < 0)
        return 0;
    check_text(words.state);
    check_text(words.cause);
    check_text(words.message);
    check_text(words.code);
    check_text(words.field);
    api_error_free(vmms_words_error(&words, "web"));
    vmms_words_fini(&words);
    return 0;
}
