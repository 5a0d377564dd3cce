/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers of the guest's key-value service, and text both ways.
 *
 * Input: a byte that chooses, then the body of an answer, or text.
 */
#include "vmwp/ic/kvp_priv.h"
#include "vmwp/ic/text.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

/* What was taken from a guest can be put into a field again, and is then the same. */
static void check_text(const char *text)
{
    static uint8_t field[(1 << 17) + 2];
    char *again;
    int units = ic_text_put(text, field, sizeof(field));

    hv_assert(units >= 0);
    again = ic_text_take(field, (size_t)units * 2 + 2);
    hv_assert(again && strcmp(again, text) == 0);
    free(again);
}

static void try_pair(const uint8_t *body, size_t n)
{
    struct ic_kvp_pair pair;

    if (kvp_wire_take_pair(body, n, &pair) != KVP_OK)
        return;
    hv_assert(strlen(pair.key) > 0);
    check_text(pair.key);
    check_text(pair.value);
    free(pair.key);
    free(pair.value);
}

static void try_ip(const uint8_t *body, size_t n)
{
    struct kvp_ip_texts ip;

    if (kvp_wire_take_ip(body, n, &ip) == KVP_OK)
        check_text(ip.ip.dns_servers);
    kvp_ip_texts_fini(&ip);
}

/* A caller's text: what the request holds, the guest reads the same. */
static void try_set(const uint8_t *bytes, size_t n)
{
    char text[3000];
    uint8_t body[KVP_SET_BYTES];

    n = n < sizeof(text) - 1 ? n : sizeof(text) - 1;
    memcpy(text, bytes, n);
    text[n] = '\0';
    if (kvp_wire_set(body, IC_KVP_EXTERNAL, "key", text) == 0) {
        char *again = ic_text_take(body + 16 + KVP_KEY_BYTES, KVP_VALUE_BYTES);

        hv_assert(again && strcmp(again, text) == 0);
        free(again);
    }
    (void)kvp_wire_set(body, IC_KVP_EXTERNAL, text, "");
    (void)kvp_wire_remove(body, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    char *text;

    if (n < 1)
        return 0;
    switch (bytes[0] % 4) {
    case 0: try_pair(bytes + 1, n - 1); break;
    case 1: try_ip(bytes + 1, n - 1); break;
    case 2: try_set(bytes + 1, n - 1); break;
    default:
        text = ic_text_take(bytes + 1, n - 1 < 1 << 16 ? n - 1 : 1 << 16);
        hv_assert(text);
        check_text(text);
        free(text);
        break;
    }
    return 0;
}
