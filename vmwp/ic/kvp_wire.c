/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/base/cursor.h"
#include "vmwp/ic/kvp_priv.h"
#include "vmwp/ic/text.h"
#include "vmwp/ic/wire_priv.h"

#include <inttypes.h>
#include <stdio.h>

enum { OP_SET = 1, OP_REMOVE = 2, OP_ENUMERATE = 3, OP_GET_IP = 4 };

/* Types of values; Windows' own number for 64 bits, and the one in Linux' header */
enum { TYPE_TEXT = 1, TYPE_U32 = 4, TYPE_U64_LINUX = 8, TYPE_U64 = 11 };

enum { FAMILY_IPV4 = 1, FAMILY_IPV6 = 2 };

/* The guest makes UTF-8 of it again, in a field of half the units' bytes: it must fit there too. */
static int put_text(uint8_t *field, size_t field_bytes, const char *text)
{
    int units = strlen(text) < field_bytes ? ic_text_put(text, field, field_bytes) : -E2BIG;

    return units < 0 ? -EINVAL : units;
}

static void put_operation(struct ic_writer *out, uint8_t operation, enum ic_kvp_pool pool)
{
    ic_put_u8(out, operation);
    ic_put_u8(out, (uint8_t)pool);
    ic_put_u16(out, 0);
}

/* Sizes are in bytes with the terminating zero. */
int kvp_wire_set(uint8_t body[static KVP_SET_BYTES], enum ic_kvp_pool pool, const char *key,
                 const char *value)
{
    struct ic_writer out = ic_writer(body, KVP_SET_BYTES);
    int key_units = put_text(body + 16, KVP_KEY_BYTES, key);
    int value_units = put_text(body + 16 + KVP_KEY_BYTES, KVP_VALUE_BYTES, value);

    if (key_units <= 0 || value_units < 0)
        return -EINVAL;
    put_operation(&out, OP_SET, pool);
    ic_put_u32(&out, TYPE_TEXT);
    ic_put_u32(&out, (uint32_t)(key_units + 1) * 2);
    ic_put_u32(&out, (uint32_t)(value_units + 1) * 2);
    return 0;
}

int kvp_wire_remove(uint8_t body[static KVP_REMOVE_BYTES], const char *key)
{
    struct ic_writer out = ic_writer(body, KVP_REMOVE_BYTES);
    int units = put_text(body + 8, KVP_KEY_BYTES, key);

    if (units <= 0)
        return -EINVAL;
    put_operation(&out, OP_REMOVE, IC_KVP_EXTERNAL);
    ic_put_u32(&out, (uint32_t)(units + 1) * 2);
    return 0;
}

int kvp_wire_get_ip(uint8_t body[static KVP_IP_BYTES], const char *adapter)
{
    memset(body, 0, KVP_IP_BYTES);
    body[0] = OP_GET_IP;
    body[1] = IC_KVP_EXTERNAL;
    return put_text(body + 2, KVP_ADAPTER_BYTES, adapter) > 0 ? 0 : -EINVAL;
}

void kvp_wire_enumerate(uint8_t body[static KVP_ENUMERATE_BYTES], enum ic_kvp_pool pool,
                        uint32_t index)
{
    struct ic_writer out = ic_writer(body, KVP_ENUMERATE_BYTES);

    put_operation(&out, OP_ENUMERATE, pool);
    ic_put_u32(&out, index);
    ic_put_zeroes(&out, KVP_PAIR_BYTES);
}

static char *take_value(const uint8_t *field, uint32_t bytes, uint32_t type)
{
    struct hv_cursor in = hv_cursor(field, bytes);
    char text[24];

    if (type == TYPE_TEXT)
        return ic_text_take(field, bytes);
    snprintf(text, sizeof(text), "%" PRIu64,
             type == TYPE_U32 ? hv_cursor_u32(&in) : hv_cursor_u64(&in));
    return strdup(text);
}

static bool is_sound(uint32_t type, uint32_t key_bytes, uint32_t value_bytes)
{
    if (key_bytes > KVP_KEY_BYTES || value_bytes > KVP_VALUE_BYTES)
        return false;
    switch (type) {
    case TYPE_TEXT: return true;
    case TYPE_U32: return value_bytes >= 4;
    case TYPE_U64:
    case TYPE_U64_LINUX: return value_bytes >= 8;
    default: return false;
    }
}

int kvp_wire_take_pair(const uint8_t *body, size_t bytes, struct ic_kvp_pair *ret)
{
    struct hv_cursor in = hv_cursor(body, bytes);
    uint8_t key[KVP_KEY_BYTES], value[KVP_VALUE_BYTES];
    uint32_t type, key_bytes, value_bytes;
    struct ic_kvp_pair pair;

    hv_cursor_skip(&in, 8);
    type = hv_cursor_u32(&in);
    key_bytes = hv_cursor_u32(&in);
    value_bytes = hv_cursor_u32(&in);
    hv_cursor_bytes(&in, key, sizeof(key));
    hv_cursor_bytes(&in, value, sizeof(value));
    if (!hv_cursor_ok(&in) || !is_sound(type, key_bytes, value_bytes))
        return KVP_E_MALFORMED;
    if (key_bytes < 2 || (key[0] == 0 && key[1] == 0))
        return KVP_E_END;
    pair.key = ic_text_take(key, key_bytes);
    pair.value = take_value(value, value_bytes, type);
    if (!pair.key || !pair.value) {
        free(pair.key);
        free(pair.value);
        return -ENOMEM;
    }
    *ret = pair;
    return KVP_OK;
}

int kvp_wire_take_ip(const uint8_t *body, size_t bytes, struct kvp_ip_texts *ret)
{
    static const uint16_t sizes[] = { KVP_ADDRESSES_BYTES, KVP_ADDRESSES_BYTES, KVP_GATEWAYS_BYTES,
                                      KVP_ADDRESSES_BYTES };
    struct hv_cursor in = hv_cursor(body, bytes);
    uint8_t family, field[KVP_ADDRESSES_BYTES];

    *ret = (struct kvp_ip_texts){ 0 };
    hv_cursor_skip(&in, 2 + KVP_ADAPTER_BYTES);
    family = hv_cursor_u8(&in);
    ret->ip.has_ipv4 = family & FAMILY_IPV4;
    ret->ip.has_ipv6 = family & FAMILY_IPV6;
    ret->ip.is_dhcp = hv_cursor_u8(&in) != 0;
    for (size_t i = 0; i < HV_ARRAY_SIZE(sizes); i++) {
        hv_cursor_bytes(&in, field, sizes[i]);
        ret->texts[i] = ic_text_take(field, sizes[i]);
        if (!ret->texts[i])
            return -ENOMEM;
    }
    ret->ip.addresses = ret->texts[0];
    ret->ip.subnets = ret->texts[1];
    ret->ip.gateways = ret->texts[2];
    ret->ip.dns_servers = ret->texts[3];
    return hv_cursor_ok(&in) ? KVP_OK : KVP_E_MALFORMED;
}

void kvp_ip_texts_fini(struct kvp_ip_texts *ip)
{
    for (size_t i = 0; i < HV_ARRAY_SIZE(ip->texts); i++)
        free(ip->texts[i]);
    *ip = (struct kvp_ip_texts){ 0 };
}
