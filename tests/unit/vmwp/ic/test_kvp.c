/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"
#include "tests/lib/ic_world.h"
#include "vmwp/ic/kvp.h"
#include "vmwp/ic/text.h"

#include <stdio.h>
#include <string.h>

static const struct hv_guid type = { { 0xe7, 0xf4, 0xa0, 0xa9, 0x45, 0x5a, 0x96, 0x4d, 0xb8, 0x27,
                                       0x8a, 0x84, 0x1e, 0x8c, 0x03, 0xe6 } };

enum { SET = 1, REMOVE = 2, ENUMERATE = 3, GET_IP = 4 };
#define NO_MORE 0x80070103u
#define FAIL    0x80004005u

/* A guest's daemon with its pools */
struct daemon {
    unsigned n[5];
    char keys[5][300][64];
    char values[5][300][64];
    unsigned n_enumerated;
};

struct fixture {
    struct ic_world world;
    struct ic_kvp *kvp;
    struct vmbus_channel *channel;
    struct ic_result result;
    struct daemon daemon;
    unsigned n_changes, n_ips, n_asked;
    int ip_result;
    char addresses[64], gateways[64];
    bool is_dhcp;
};

static void changed(void *opaque)
{
    ((struct fixture *)opaque)->n_changes++;
}

static int make(void **state)
{
    static const struct ic_kvp_pair host_pairs[] = { { (char *)"HostName", (char *)"h1" },
                                                     { (char *)"", (char *)"is left out" } };
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    ic_world_init(&f.world);
    if (ic_kvp_new(&(struct ic_kvp_config){ .clock = &f.world.clock,
                                            .server = f.world.bus,
                                            .changed = changed,
                                            .opaque = &f,
                                            .host_pairs = host_pairs,
                                            .n_host_pairs = 2 },
                   &f.kvp) < 0)
        return -1;
    f.channel = fake_bus_find(f.world.bus, &type);
    *state = &f;
    return f.channel ? 0 : -1;
}

static int drop(void **state)
{
    struct fixture *f = *state;

    ic_kvp_free(f->kvp, false);
    ic_world_fini(&f->world);
    return 0;
}

static void put(struct daemon *daemon, unsigned pool, const char *key, const char *value)
{
    unsigned at = daemon->n[pool];

    for (unsigned i = 0; i < daemon->n[pool]; i++) {
        if (strcmp(daemon->keys[pool][i], key) == 0)
            at = i;
    }
    snprintf(daemon->keys[pool][at], 64, "%s", key);
    snprintf(daemon->values[pool][at], 64, "%s", value);
    daemon->n[pool] += at == daemon->n[pool];
}

static uint32_t enumerate(struct daemon *daemon, uint8_t *body)
{
    unsigned pool = body[1], index = ic_get_u32(body + 4);
    int n;

    daemon->n_enumerated++;
    if (index >= daemon->n[pool])
        return NO_MORE;
    ic_set_u32(body + 8, 1);
    n = ic_text_put(daemon->keys[pool][index], body + 20, 512);
    ic_set_u32(body + 12, (uint32_t)(n + 1) * 2);
    n = ic_text_put(daemon->values[pool][index], body + 532, 2048);
    ic_set_u32(body + 16, (uint32_t)(n + 1) * 2);
    return 0;
}

static uint32_t set(struct daemon *daemon, const uint8_t *body)
{
    char *key = ic_text_take(body + 16, ic_get_u32(body + 8));
    char *value = ic_text_take(body + 528, ic_get_u32(body + 12));

    assert_int_equal(ic_get_u32(body + 4), 1);
    put(daemon, body[1], key, value);
    free(key);
    free(value);
    return 0;
}

static uint32_t take_out(struct daemon *daemon, const uint8_t *body)
{
    char *key = ic_text_take(body + 8, ic_get_u32(body + 4));
    uint32_t status = NO_MORE;

    for (unsigned i = 0; i < daemon->n[0]; i++) {
        if (strcmp(daemon->keys[0][i], key) == 0) {
            daemon->n[0]--;
            memcpy(daemon->keys[0][i], daemon->keys[0][daemon->n[0]], 64);
            memcpy(daemon->values[0][i], daemon->values[0][daemon->n[0]], 64);
            status = 0;
        }
    }
    free(key);
    return status;
}

static uint32_t get_ip(uint8_t *body)
{
    char *adapter = ic_text_take(body + 2, 256);
    uint32_t status = strcmp(adapter, "00:15:5D:01:02:03") == 0 ? 0 : FAIL;

    free(adapter);
    body[258] = 3;
    body[259] = 1;
    ic_text_put("10.0.0.5;fe80::1", body + 260, 2048);
    ic_text_put("10.0.0.1;", body + 260 + 2 * 2048, 1024);
    return status;
}

/* One request answered as Linux' daemon would. False: there is none. */
static bool serve_one(struct fixture *f)
{
    struct ic_guest_message m;
    uint32_t status = FAIL;

    if (!ic_guest_take(f->channel, &m))
        return false;
    assert_int_equal(m.type, IC_MESSAGE_KVP);
    switch (m.body[0]) {
    case ENUMERATE: status = enumerate(&f->daemon, m.body); break;
    case SET: status = set(&f->daemon, m.body); break;
    case REMOVE: status = take_out(&f->daemon, m.body); break;
    case GET_IP: status = get_ip(m.body); break;
    }
    ic_guest_answer(f->channel, &m, status);
    return true;
}

static void serve(struct fixture *f)
{
    while (serve_one(f))
        continue;
}

static unsigned n_pairs(struct fixture *f, enum ic_kvp_pool pool)
{
    const struct ic_kvp_pair *pairs;
    unsigned n;

    ic_kvp_get(f->kvp, pool, &pairs, &n);
    return n;
}

static void a_guest_without_its_daemon_is_waited_for_without_end(void **state)
{
    struct fixture *f = *state;
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;

    fake_channel_open(f->channel);
    ic_world_pass(&f->world, 3600000);
    assert_int_equal(ic_kvp_refresh(f->kvp, ic_result_done, &f->result, &error), -ENOTCONN);
    assert_non_null(strstr(error->message, "hyperv-daemons"));
    assert_true(ic_kvp_age(f->kvp) == UINT64_MAX);
    assert_null(ic_kvp_find(f->kvp, IC_KVP_AUTO, "OSName"));
}

static void at_contact_the_host_tells_its_facts_and_reads_all_pools(void **state)
{
    struct fixture *f = *state;

    put(&f->daemon, 2, "FullyQualifiedDomainName", "g\xc3\xb6st.example");
    put(&f->daemon, 2, "NetworkAddressIPv4", "10.0.0.5;127.0.0.1");
    put(&f->daemon, 1, "app", "up");
    put(&f->daemon, 0, "told", "before");
    ic_guest_connect(f->channel, 4, 0);
    serve(f);
    assert_int_equal(f->daemon.n[3], 1);
    assert_string_equal(f->daemon.keys[3][0], "HostName");
    assert_int_equal(n_pairs(f, IC_KVP_AUTO), 2);
    assert_string_equal(ic_kvp_find(f->kvp, IC_KVP_AUTO, "FullyQualifiedDomainName"),
                        "g\xc3\xb6st.example");
    assert_string_equal(ic_kvp_find(f->kvp, IC_KVP_GUEST, "app"), "up");
    assert_string_equal(ic_kvp_find(f->kvp, IC_KVP_EXTERNAL, "told"), "before");
    assert_true(ic_kvp_age(f->kvp) == 0);
    assert_false(ic_kvp_is_truncated(f->kvp));
    assert_int_equal(f->n_changes, 1);
}

static void pools_are_read_anew_every_30_s_and_on_demand(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 4, 0);
    serve(f);
    put(&f->daemon, 1, "app", "up");
    ic_world_pass(&f->world, 29999);
    serve(f);
    assert_int_equal(n_pairs(f, IC_KVP_GUEST), 0);
    ic_world_pass(&f->world, 1);
    serve(f);
    assert_string_equal(ic_kvp_find(f->kvp, IC_KVP_GUEST, "app"), "up");
    assert_int_equal(f->n_changes, 2);
    put(&f->daemon, 1, "app", "down");
    assert_int_equal(ic_kvp_refresh(f->kvp, ic_result_done, &f->result, NULL), 0);
    assert_int_equal(ic_kvp_refresh(f->kvp, ic_result_done, &f->result, NULL), 0);
    f->daemon.n_enumerated = 0;
    serve(f);
    assert_int_equal(f->daemon.n_enumerated, 4);
    assert_int_equal(f->result.n_calls, 2);
    assert_int_equal(f->result.r, 0);
    assert_string_equal(ic_kvp_find(f->kvp, IC_KVP_GUEST, "app"), "down");
    ic_world_pass(&f->world, 30000);
    serve(f);
    assert_int_equal(f->n_changes, 3);
}

static void a_pool_without_end_is_cut(void **state)
{
    struct fixture *f = *state;
    char key[16];

    for (unsigned i = 0; i < 300; i++) {
        snprintf(key, sizeof(key), "k%u", i);
        put(&f->daemon, 1, key, "v");
    }
    put(&f->daemon, 0, "after", "it");
    ic_guest_connect(f->channel, 4, 0);
    serve(f);
    assert_int_equal(n_pairs(f, IC_KVP_GUEST), IC_KVP_MAX_PAIRS);
    assert_true(ic_kvp_is_truncated(f->kvp));
    assert_string_equal(ic_kvp_find(f->kvp, IC_KVP_EXTERNAL, "after"), "it");
}

/* Take the next request, which enumerates, past what was asked at contact. */
static void next_enumerate(struct fixture *f, struct ic_guest_message *m)
{
    while (ic_guest_take(f->channel, m)) {
        if (m->body[0] == ENUMERATE)
            return;
        ic_guest_answer(f->channel, m, 0);
    }
    fail();
}

static void pairs_that_are_malformed_are_passed_over(void **state)
{
    static const struct {
        uint32_t type, key_bytes, value_bytes;
    } rows[] = { { 1, 514, 2 },        { 1, 4, 2050 }, { 1, UINT32_MAX, 4 },
                 { 1, 4, UINT32_MAX }, { 0, 4, 4 },    { 7, 4, 4 },
                 { UINT32_MAX, 4, 4 }, { 4, 4, 3 },    { 11, 4, 7 } };
    struct fixture *f = *state;
    struct ic_guest_message m;

    ic_guest_connect(f->channel, 4, 0);
    for (size_t i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        next_enumerate(f, &m);
        assert_int_equal(ic_get_u32(m.body + 4), i);
        ic_set_u32(m.body + 8, rows[i].type);
        ic_set_u32(m.body + 12, rows[i].key_bytes);
        ic_set_u32(m.body + 16, rows[i].value_bytes);
        memcpy(m.body + 20, "k\0\0\0", 4);
        ic_guest_answer(f->channel, &m, 0);
    }
    serve(f);
    assert_int_equal(n_pairs(f, IC_KVP_AUTO), 0);
    assert_true(ic_kvp_age(f->kvp) == 0);
}

static void answer_typed(struct fixture *f, uint32_t type_number, uint64_t value, uint32_t bytes)
{
    struct ic_guest_message m;

    next_enumerate(f, &m);
    ic_set_u32(m.body + 8, type_number);
    ic_set_u32(m.body + 12, 4);
    ic_set_u32(m.body + 16, bytes);
    m.body[20] = (uint8_t)('a' + ic_get_u32(m.body + 4));
    memcpy(m.body + 532, &value, sizeof(value));
    ic_guest_answer(f->channel, &m, 0);
}

static void numbers_are_told_in_decimal(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 4, 0);
    answer_typed(f, 4, UINT64_MAX, 4);
    answer_typed(f, 8, UINT64_MAX, 8);
    answer_typed(f, 11, 77, 8);
    serve(f);
    assert_string_equal(ic_kvp_find(f->kvp, IC_KVP_AUTO, "a"), "4294967295");
    assert_string_equal(ic_kvp_find(f->kvp, IC_KVP_AUTO, "b"), "18446744073709551615");
    assert_string_equal(ic_kvp_find(f->kvp, IC_KVP_AUTO, "c"), "77");
}

static void text_without_a_zero_ends_with_its_field(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message m;

    ic_guest_connect(f->channel, 4, 0);
    next_enumerate(f, &m);
    ic_set_u32(m.body + 8, 1);
    ic_set_u32(m.body + 12, 512);
    ic_set_u32(m.body + 16, 2048);
    memset(m.body + 20, 'x', 512 + 2048);
    ic_guest_answer(f->channel, &m, 0);
    serve(f);
    assert_int_equal(n_pairs(f, IC_KVP_AUTO), 1);
}

static void a_guest_that_answers_slowly_without_end_is_given_up(void **state)
{
    struct fixture *f = *state;
    unsigned n = 0;

    ic_guest_connect(f->channel, 4, 0);
    for (unsigned i = 0; i < 200; i++) {
        char key[16];

        snprintf(key, sizeof(key), "k%u", i);
        put(&f->daemon, 2, key, "v");
    }
    serve_one(f);
    assert_int_equal(ic_kvp_refresh(f->kvp, ic_result_done, &f->result, NULL), 0);
    while (f->result.n_calls == 0 && n++ < 100) {
        ic_world_pass(&f->world, 20000);
        serve_one(f);
    }
    assert_int_equal(f->result.r, -ETIMEDOUT);
    assert_in_range(n, 3, 5);
    assert_true(ic_kvp_age(f->kvp) == UINT64_MAX);
}

static void silence_and_failure_end_a_reading_and_the_next_is_made_in_time(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message m;

    ic_guest_connect(f->channel, 4, 0);
    serve(f);
    assert_int_equal(ic_kvp_refresh(f->kvp, ic_result_done, &f->result, NULL), 0);
    assert_true(ic_guest_take(f->channel, &m));
    ic_world_pass(&f->world, 35000);
    assert_int_equal(f->result.r, -ETIMEDOUT);
    ic_guest_answer(f->channel, &m, 0); /* late */
    assert_int_equal(ic_kvp_refresh(f->kvp, ic_result_done, &f->result, NULL), 0);
    assert_true(ic_guest_take(f->channel, &m));
    ic_guest_answer(f->channel, &m, FAIL);
    assert_int_equal(f->result.r, -EREMOTEIO);
    assert_int_not_equal(ic_kvp_age(f->kvp), 0);
    ic_world_pass(&f->world, 30000);
    serve(f);
    assert_int_equal(ic_kvp_age(f->kvp), 0);
}

static void pairs_that_do_not_fit_are_refused(void **state)
{
    struct fixture *f = *state;
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    char text[2100];

    ic_guest_connect(f->channel, 4, 0);
    serve(f);
    memset(text, 'x', sizeof(text));
    text[1024] = '\0';
    assert_int_equal(ic_kvp_set(f->kvp, "k", text, NULL, NULL, &error), -EINVAL);
    assert_string_equal(error->code, "guest.kvp.text");
    text[256] = '\0';
    assert_int_equal(ic_kvp_set(f->kvp, text, "v", NULL, NULL, NULL), -EINVAL);
    assert_int_equal(ic_kvp_remove(f->kvp, text, NULL, NULL, NULL), -EINVAL);
    assert_int_equal(ic_kvp_set(f->kvp, "", "v", NULL, NULL, NULL), -EINVAL);
    assert_int_equal(ic_kvp_set(f->kvp, "\xff", "v", NULL, NULL, NULL), -EINVAL);
    assert_int_equal(ic_kvp_set(f->kvp, "k", "\xff", NULL, NULL, NULL), -EINVAL);
    /* 255 units, but more bytes of UTF-8 than the guest's field holds */
    for (unsigned i = 0; i < 255; i++)
        memcpy(text + 3 * i, "\xe2\x82\xac", 3);
    text[3 * 255] = '\0';
    assert_int_equal(ic_kvp_set(f->kvp, text, "v", NULL, NULL, NULL), -EINVAL);
    serve(f);
    assert_int_equal(f->daemon.n[0], 0);
}

static void pairs_are_told_and_taken_back(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 4, 0);
    serve(f);
    assert_int_equal(ic_kvp_set(f->kvp, "k", "v1", ic_result_done, &f->result, NULL), 0);
    assert_int_equal(ic_kvp_set(f->kvp, "k", "v2", ic_result_done, &f->result, NULL), 0);
    assert_int_equal(ic_kvp_set(f->kvp, "l", "w", ic_result_done, &f->result, NULL), 0);
    serve(f);
    assert_int_equal(f->result.n_calls, 3);
    assert_int_equal(f->result.r, 0);
    assert_int_equal(f->daemon.n[0], 2);
    assert_string_equal(f->daemon.values[0][0], "v2");
    assert_string_equal(ic_kvp_find(f->kvp, IC_KVP_EXTERNAL, "k"), "v2");
    assert_int_equal(ic_kvp_remove(f->kvp, "k", ic_result_done, &f->result, NULL), 0);
    serve(f);
    assert_int_equal(f->result.r, 0);
    assert_null(ic_kvp_find(f->kvp, IC_KVP_EXTERNAL, "k"));
    assert_string_equal(ic_kvp_find(f->kvp, IC_KVP_EXTERNAL, "l"), "w");
    assert_int_equal(ic_kvp_remove(f->kvp, "k", ic_result_done, &f->result, NULL), 0);
    serve(f);
    assert_int_equal(f->result.r, -ENOENT);
}

static int want(struct fixture *f, const char *key, const char *value)
{
    const struct ic_kvp_pair pairs[] = { { (char *)"colour", (char *)"blue" },
                                         { (char *)key, (char *)value } };

    f->n_asked = 0;
    return ic_kvp_want(f->kvp, pairs, key ? 2 : 1, ic_result_done, &f->result, &f->n_asked, NULL);
}

static void a_guest_is_told_at_contact_what_it_is_to_have_and_keeps_nothing_else(void **state)
{
    struct fixture *f = *state;

    put(&f->daemon, 0, "stale", "1");
    put(&f->daemon, 0, "size", "1");
    assert_int_equal(want(f, "", "v"), -EINVAL);
    assert_int_equal(want(f, "size", "9"), -ENOTCONN);
    ic_guest_connect(f->channel, 4, 0);
    serve(f);
    assert_int_equal(f->daemon.n[0], 2);
    assert_string_equal(ic_kvp_find(f->kvp, IC_KVP_EXTERNAL, "colour"), "blue");
    assert_string_equal(ic_kvp_find(f->kvp, IC_KVP_EXTERNAL, "size"), "9");
    /* It begins anew, and has lost all of it. */
    fake_channel_close(f->channel);
    f->daemon.n[0] = 0;
    ic_guest_connect(f->channel, 4, 0);
    serve(f);
    assert_int_equal(f->daemon.n[0], 2);
    assert_int_equal(f->result.n_calls, 0);
}

static void only_what_differs_is_asked_for(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 4, 0);
    serve(f);
    assert_int_equal(want(f, "size", "9"), 0);
    assert_int_equal(f->n_asked, 2);
    serve(f);
    assert_int_equal(want(f, "size", "10"), 0);
    assert_int_equal(f->n_asked, 1);
    assert_int_equal(want(f, NULL, NULL), 0); /* before that is answered */
    serve(f);
    assert_int_equal(f->daemon.n[0], 1);
    assert_string_equal(f->daemon.keys[0][0], "colour");
    assert_int_equal(want(f, NULL, NULL), 0);
    assert_int_equal(f->n_asked, 0);
}

static void a_pair_that_was_never_wanted_stays_while_nothing_is_known(void **state)
{
    struct fixture *f = *state;

    put(&f->daemon, 0, "told", "before");
    ic_guest_connect(f->channel, 4, 0);
    serve(f);
    assert_int_equal(f->daemon.n[0], 1);
    assert_int_equal(ic_kvp_want(f->kvp, NULL, 0, ic_result_done, &f->result, &f->n_asked, NULL),
                     0);
    serve(f);
    assert_int_equal(f->daemon.n[0], 0);
}

static void a_change_amid_a_reading_is_not_lost(void **state)
{
    struct fixture *f = *state;
    bool was_set = false;

    put(&f->daemon, 0, "a", "1");
    put(&f->daemon, 0, "b", "2");
    ic_guest_connect(f->channel, 4, 0);
    serve(f);
    assert_int_equal(ic_kvp_refresh(f->kvp, NULL, NULL, NULL), 0);
    for (unsigned i = 0; serve_one(f); i++) {
        if (i == 3 && !was_set) { /* "a" has been read */
            was_set = true;
            assert_int_equal(ic_kvp_remove(f->kvp, "a", ic_result_done, &f->result, NULL), 0);
        }
    }
    assert_int_equal(f->result.r, 0);
    assert_int_equal(n_pairs(f, IC_KVP_EXTERNAL), 1);
    assert_string_equal(ic_kvp_find(f->kvp, IC_KVP_EXTERNAL, "b"), "2");
}

static void requests_that_wait_are_bounded_and_told_when_the_channel_closes(void **state)
{
    struct fixture *f = *state;
    unsigned n = 0;

    ic_guest_connect(f->channel, 4, 0);
    serve(f);
    while (ic_kvp_set(f->kvp, "k", "v", ic_result_done, &f->result, NULL) == 0)
        n++;
    assert_int_equal(n, IC_KVP_MAX_REQUESTS + 1); /* one is under way */
    for (unsigned i = 0; i < IC_KVP_MAX_WAITERS; i++)
        assert_int_equal(ic_kvp_refresh(f->kvp, ic_result_done, &f->result, NULL), 0);
    assert_int_equal(ic_kvp_refresh(f->kvp, ic_result_done, &f->result, NULL), -ENOBUFS);
    fake_channel_close(f->channel);
    assert_int_equal(f->result.n_calls, n + IC_KVP_MAX_WAITERS);
    assert_int_equal(f->result.r, -ECONNRESET);
    assert_true(ic_kvp_age(f->kvp) == UINT64_MAX);
}

static void told_ip(void *opaque, int r, const struct hv_error *error, const struct ic_kvp_ip *ip)
{
    struct fixture *f = opaque;

    f->n_ips++;
    f->ip_result = r;
    if (!ip)
        return;
    snprintf(f->addresses, sizeof(f->addresses), "%s", ip->addresses);
    snprintf(f->gateways, sizeof(f->gateways), "%s", ip->gateways);
    f->is_dhcp = ip->is_dhcp && ip->has_ipv4 && ip->has_ipv6;
}

static void an_adapters_addresses_are_told(void **state)
{
    struct fixture *f = *state;

    ic_guest_connect(f->channel, 4, 0);
    serve(f);
    assert_int_equal(ic_kvp_ask_ip(f->kvp, "", told_ip, f, NULL), -EINVAL);
    assert_int_equal(ic_kvp_ask_ip(f->kvp, "00:15:5D:00:00:00", told_ip, f, NULL), 0);
    serve(f);
    assert_int_equal(f->ip_result, -EREMOTEIO);
    assert_int_equal(ic_kvp_ask_ip(f->kvp, "00:15:5D:01:02:03", told_ip, f, NULL), 0);
    serve(f);
    assert_int_equal(f->n_ips, 2);
    assert_int_equal(f->ip_result, 0);
    assert_string_equal(f->addresses, "10.0.0.5;fe80::1");
    assert_string_equal(f->gateways, "10.0.0.1;");
    assert_true(f->is_dhcp);
}

static void an_answer_about_addresses_that_is_cut_is_malformed(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_message m;

    ic_guest_connect(f->channel, 4, 0);
    serve(f);
    assert_int_equal(ic_kvp_ask_ip(f->kvp, "x", told_ip, f, NULL), 0);
    assert_true(ic_guest_take(f->channel, &m));
    assert_int_equal(m.body_bytes, 7428);
    m.packet.bytes = 4096;
    ic_set_u32(m.packet.payload + 4, 4000);
    ic_set_u16(m.packet.payload + 18, 3000);
    ic_guest_answer(f->channel, &m, 0);
    assert_int_equal(f->ip_result, -EPROTO);
}

static void reset_forgets_all(void **state)
{
    struct fixture *f = *state;

    put(&f->daemon, 1, "app", "up");
    ic_guest_connect(f->channel, 4, 0);
    serve(f);
    fake_channel_close(f->channel);
    ic_kvp_reset(f->kvp);
    assert_null(ic_kvp_find(f->kvp, IC_KVP_GUEST, "app"));
    assert_int_equal(f->n_changes, 2);
    ic_world_pass(&f->world, 60000);
    ic_guest_connect(f->channel, 4, 0);
    serve(f);
    assert_string_equal(ic_kvp_find(f->kvp, IC_KVP_GUEST, "app"), "up");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_guest_without_its_daemon_is_waited_for_without_end),
        CASE(at_contact_the_host_tells_its_facts_and_reads_all_pools),
        CASE(pools_are_read_anew_every_30_s_and_on_demand),
        CASE(a_pool_without_end_is_cut),
        CASE(pairs_that_are_malformed_are_passed_over),
        CASE(numbers_are_told_in_decimal),
        CASE(text_without_a_zero_ends_with_its_field),
        CASE(a_guest_that_answers_slowly_without_end_is_given_up),
        CASE(silence_and_failure_end_a_reading_and_the_next_is_made_in_time),
        CASE(pairs_that_do_not_fit_are_refused),
        CASE(pairs_are_told_and_taken_back),
        CASE(a_guest_is_told_at_contact_what_it_is_to_have_and_keeps_nothing_else),
        CASE(only_what_differs_is_asked_for),
        CASE(a_pair_that_was_never_wanted_stays_while_nothing_is_known),
        CASE(a_change_amid_a_reading_is_not_lost),
        CASE(requests_that_wait_are_bounded_and_told_when_the_channel_closes),
        CASE(an_adapters_addresses_are_told),
        CASE(an_answer_about_addresses_that_is_cut_is_malformed),
        CASE(reset_forgets_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
