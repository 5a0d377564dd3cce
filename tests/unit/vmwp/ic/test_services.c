/* SPDX-License-Identifier: Apache-2.0 */
/* All components of a VM over real rings, against a guest that answers as Linux does. */
#include "tests/lib/alloc_faults.h"
#include "tests/lib/cmocka.h"
#include "tests/lib/fake_vmbus_guest.h"
#include "vmwp/ic/services.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* First bytes of the types, in memory order */
static const uint8_t types[IC_N_SERVICES][4] = {
    [IC_SERVICE_HEARTBEAT] = { 0x39, 0x4f, 0x16, 0x57 },
    [IC_SERVICE_SHUTDOWN] = { 0x31, 0x60, 0x0b, 0x0e },
    [IC_SERVICE_TIMESYNC] = { 0x30, 0xe6, 0x27, 0x95 },
    [IC_SERVICE_KVP] = { 0xe7, 0xf4, 0xa0, 0xa9 },
    [IC_SERVICE_VSS] = { 0x29, 0x2e, 0xfa, 0x35 },
    [IC_SERVICE_FILECOPY] = { 0xe3, 0x4b, 0xd1, 0x34 },
    [IC_SERVICE_KEYBOARD] = { 0x6d, 0xad, 0x12, 0xf9 },
};

/* What Linux 6.1 picks */
static const uint16_t versions[IC_N_SERVICES][2] = {
    [IC_SERVICE_HEARTBEAT] = { 3, 0 }, [IC_SERVICE_SHUTDOWN] = { 3, 2 },
    [IC_SERVICE_TIMESYNC] = { 4, 0 },  [IC_SERVICE_KVP] = { 4, 0 },
    [IC_SERVICE_VSS] = { 5, 0 },       [IC_SERVICE_FILECOPY] = { 1, 1 },
    [IC_SERVICE_KEYBOARD] = { 1, 0 },
};

struct fixture {
    struct fake_vmbus_guest guest;
    struct fake_vmbus_channel channels[IC_N_SERVICES];
    bool is_open[IC_N_SERVICES];
    struct ic_services *services;
    uint64_t now_ns, alarm_ns;
    unsigned n_changes[IC_N_SERVICES];
    unsigned n_done;
    int result;
    uint8_t ops_seen[64]; /* first body bytes of VSS requests */
    unsigned n_ops;
    unsigned last_sync_flags;
    uint8_t target[1 << 16];
    uint8_t keys[256];
    unsigned n_keys;
};

static uint64_t now_ns(void *opaque)
{
    return ((struct fixture *)opaque)->now_ns;
}

static void set_alarm(void *opaque, uint64_t deadline_ns)
{
    ((struct fixture *)opaque)->alarm_ns = deadline_ns;
}

static uint64_t realtime_ns(void *opaque)
{
    return UINT64_C(1700000000) * HV_NS_PER_SEC + ((struct fixture *)opaque)->now_ns;
}

static uint64_t reference_ticks(void *opaque)
{
    return ((struct fixture *)opaque)->now_ns / 100;
}

static const struct ic_time_ops time_ops = { now_ns, set_alarm, realtime_ns, reference_ticks };

static void changed(void *opaque, enum ic_service service)
{
    ((struct fixture *)opaque)->n_changes[service]++;
}

static void done(void *opaque, int r, const struct hv_error *error)
{
    struct fixture *f = opaque;

    f->n_done++;
    f->result = r;
}

static int make_with(void **state, unsigned enabled)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    f.now_ns = HV_NS_PER_SEC;
    fake_vmbus_start(&f.guest, 2);
    *state = &f;
    return ic_services_new(&(struct ic_services_config){ .server = f.guest.server,
                                                         .enabled = enabled,
                                                         .time = &time_ops,
                                                         .time_opaque = &f,
                                                         .has_time_samples = true,
                                                         .changed = changed,
                                                         .opaque = &f },
                           &f.services);
}

static int make(void **state)
{
    return make_with(state, IC_SERVICES_ALL);
}

static int make_none(void **state)
{
    return make_with(state, 0);
}

static int drop(void **state)
{
    struct fixture *f = *state;

    ic_services_revoke(f->services);
    assert_null(ic_services_ops.free(f->services));
    fake_vmbus_stop(&f->guest);
    assert_true(f->alarm_ns == UINT64_MAX);
    return 0;
}

static uint32_t relid_of(struct fixture *f, int service)
{
    for (unsigned i = 0; i < f->guest.n_offers; i++) {
        if (memcmp(&f->guest.offers[i].type, types[service], 4) == 0)
            return f->guest.offers[i].relid;
    }
    return 0;
}

static void answer(struct fixture *f, int service, struct fake_vmbus_packet *packet,
                   uint32_t status)
{
    memcpy(packet->payload + 20, &status, sizeof(status));
    packet->payload[25] = 5;
    fake_vmbus_send(&f->channels[service], packet->transaction, false, packet->payload,
                    packet->bytes);
}

static void negotiate(struct fixture *f, int service, struct fake_vmbus_packet *packet)
{
    const uint16_t choice[] = { 1, 1, 0, 0, 3, 0, versions[service][0], versions[service][1] };

    memcpy(packet->payload + 28, choice, sizeof(choice));
    packet->payload[18] = 16;
    answer(f, service, packet, 0);
}

static uint32_t serve_kvp(uint8_t *body)
{
    static const uint32_t sizes[3] = { 1, 14, 14 };

    if (body[0] != 3)
        return 0;
    if (body[1] != 2 || body[4] > 0)
        return 0x80070103;
    memcpy(body + 8, sizes, sizeof(sizes));
    memcpy(body + 20, "O\0S\0N\0a\0m\0e\0\0", 14);
    memcpy(body + 532, "D\0e\0b\0i\0a\0n\0\0", 14);
    return 0;
}

static void serve_message(struct fixture *f, int service, struct fake_vmbus_packet *packet)
{
    uint8_t *body = packet->payload + 28;
    uint32_t status = 0, bytes;

    if (service == IC_SERVICE_KVP)
        status = serve_kvp(body);
    if (service == IC_SERVICE_VSS && f->n_ops < sizeof(f->ops_seen))
        f->ops_seen[f->n_ops++] = body[0];
    if (service == IC_SERVICE_TIMESYNC)
        f->last_sync_flags = body[16];
    if (service == IC_SERVICE_FILECOPY && body[0] == 1) {
        uint64_t at;

        memcpy(&at, body + 40, sizeof(at));
        memcpy(&bytes, body + 48, sizeof(bytes));
        assert_true(at + bytes <= sizeof(f->target));
        memcpy(f->target + at, body + 52, bytes);
    }
    answer(f, service, packet, status);
}

static void serve_keyboard(struct fixture *f, const struct fake_vmbus_packet *packet)
{
    if (packet->payload[0] == 3 && f->n_keys < sizeof(f->keys))
        f->keys[f->n_keys++] = packet->payload[4] | (uint8_t)(packet->payload[8] & 2 ? 0x80 : 0);
}

/* Answer all that has come. */
static void serve(struct fixture *f)
{
    static struct fake_vmbus_packet packet;
    bool is_quiet = false;

    while (!is_quiet) {
        is_quiet = true;
        for (int i = 0; i < IC_N_SERVICES; i++) {
            if (!f->is_open[i] || !fake_vmbus_read(&f->channels[i], &packet))
                continue;
            is_quiet = false;
            if (i == IC_SERVICE_KEYBOARD)
                serve_keyboard(f, &packet);
            else if (packet.payload[12] == 0)
                negotiate(f, i, &packet);
            else
                serve_message(f, i, &packet);
        }
    }
}

static void open_all(struct fixture *f)
{
    static const uint32_t hello[2] = { 1, 0x00010000 };

    for (int i = 0; i < IC_N_SERVICES; i++) {
        uint32_t pages = i == IC_SERVICE_KEYBOARD ? 9 : 4;

        fake_vmbus_open(&f->guest, relid_of(f, i), pages, pages, &f->channels[i]);
        f->is_open[i] = true;
    }
    fake_vmbus_send(&f->channels[IC_SERVICE_KEYBOARD], 1, true, hello, sizeof(hello));
    serve(f);
}

static void connect_all(struct fixture *f)
{
    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_5_3);
    fake_vmbus_request_offers(&f->guest);
    open_all(f);
}

static void close_all(struct fixture *f)
{
    for (int i = 0; i < IC_N_SERVICES; i++) {
        if (f->is_open[i])
            fake_vmbus_close(&f->channels[i]);
        f->is_open[i] = false;
    }
}

static void pass(struct fixture *f, uint64_t ms)
{
    uint64_t end = f->now_ns + ms * HV_NS_PER_MS;

    while (f->alarm_ns <= end) {
        f->now_ns = f->alarm_ns > f->now_ns ? f->alarm_ns : f->now_ns;
        ic_services_due(f->services);
        serve(f);
    }
    f->now_ns = end;
}

static int want(struct fixture *f, const char *value, unsigned *ret_asked)
{
    const struct ic_kvp_pair pair = { (char *)"k", (char *)value };

    return ic_services_want_pairs(f->services, &pair, 1, done, f, ret_asked, NULL);
}

static void what_is_not_enabled_is_not_offered_and_says_so(void **state)
{
    struct fixture *f = *state;
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct ic_shutdown_request off = { .what = IC_POWER_OFF };
    struct ic_filecopy_request copy = { .fd = memfd_create("x", MFD_CLOEXEC), .path = "/x" };
    struct ic_service_status status;
    struct ic_guest_facts facts;
    const struct ic_kvp_pair *pairs;
    unsigned n;

    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_5_3);
    fake_vmbus_request_offers(&f->guest);
    assert_int_equal(f->guest.n_offers, 0);
    assert_int_equal(ic_services_shut_down(f->services, &off, done, f, &error), -EOPNOTSUPP);
    assert_string_equal(error->code, "guest.service.disabled");
    assert_int_equal(ic_services_refresh(f->services, done, f, NULL), -EOPNOTSUPP);
    assert_int_equal(want(f, "v", &n), -EOPNOTSUPP);
    assert_int_equal(ic_services_ask_ip(f->services, "k", NULL, f, NULL), -EOPNOTSUPP);
    assert_int_equal(ic_services_freeze(f->services, 1, done, f, NULL), -EOPNOTSUPP);
    assert_int_equal(ic_services_thaw(f->services, done, f, NULL), -EOPNOTSUPP);
    assert_int_equal(ic_services_copy_file(f->services, &copy, NULL), -EOPNOTSUPP);
    assert_int_equal(fcntl(copy.fd, F_GETFD), -1);
    ic_services_cancel_copy(f->services);
    assert_int_equal(ic_services_type_text(f->services, "x", NULL), -EOPNOTSUPP);
    assert_int_equal(ic_services_type_scancodes(f->services, NULL, 0, NULL), -EOPNOTSUPP);
    assert_int_equal(ic_services_ctrl_alt_del(f->services, NULL), -EOPNOTSUPP);
    assert_null(ic_services_keyboard(f->services));
    ic_services_get_facts(f->services, &facts);
    assert_int_equal(facts.heartbeat.contact, IC_CONTACT_NONE);
    assert_true(facts.pairs_age_ns == UINT64_MAX);
    ic_services_get_pairs(f->services, IC_KVP_AUTO, &pairs, &n);
    assert_int_equal(n, 0);
    ic_services_get_status(f->services, IC_SERVICE_KVP, &status);
    assert_false(status.is_enabled);
    ic_services_ops.pause(f->services);
    ic_services_ops.reset(f->services);
    ic_services_ops.resume(f->services);
}

/* The bus offers a type and instance once: what is taken already fails those that want it. */
static void an_offer_that_fails_takes_the_others_back(void **state)
{
    struct fixture *f = *state;
    struct ic_services *first = NULL, *second = NULL;
    struct ic_services_config config = { .server = f->guest.server,
                                         .enabled = IC_SERVICE_BIT(IC_SERVICE_KVP),
                                         .time = &time_ops,
                                         .time_opaque = f };

    assert_int_equal(ic_services_new(&config, &first), 0);
    config.enabled = IC_SERVICES_ALL;
    assert_int_equal(ic_services_new(&config, &second), -EEXIST);
    assert_null(second);
    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_5_3);
    fake_vmbus_request_offers(&f->guest);
    assert_int_equal(f->guest.n_offers, 1);
    ic_services_revoke(first);
    ic_services_free(first);
}

static void each_service_agrees_with_linux_on_its_best_version(void **state)
{
    struct fixture *f = *state;

    connect_all(f);
    for (int i = 0; i < IC_N_SERVICES; i++) {
        struct ic_service_status status;

        ic_services_get_status(f->services, (enum ic_service)i, &status);
        assert_true(status.is_enabled);
        assert_int_equal(status.state, IC_READY);
        assert_int_equal(status.version.major, versions[i][0]);
        assert_int_equal(status.version.minor, versions[i][1]);
        assert_non_null(status.name);
    }
}

static void the_facts_of_a_guest_are_known(void **state)
{
    struct fixture *f = *state;
    const struct ic_kvp_pair *pairs;
    struct ic_guest_facts facts;
    unsigned n;

    connect_all(f);
    pass(f, 60000);
    ic_services_get_facts(f->services, &facts);
    assert_int_equal(facts.heartbeat.contact, IC_CONTACT_OK);
    assert_int_equal(facts.heartbeat.n_beats, 31);
    assert_true(facts.pairs_age_ns <= 30 * HV_NS_PER_SEC);
    ic_services_get_pairs(f->services, IC_KVP_AUTO, &pairs, &n);
    assert_int_equal(n, 1);
    assert_string_equal(pairs[0].key, "OSName");
    assert_string_equal(pairs[0].value, "Debian");
    assert_int_equal(f->n_changes[IC_SERVICE_KVP], 1);
    assert_int_equal(f->n_changes[IC_SERVICE_HEARTBEAT], 1);
    assert_int_equal(f->last_sync_flags, 2);
}

static void what_is_asked_is_done(void **state)
{
    struct fixture *f = *state;
    struct ic_shutdown_request off = { .what = IC_POWER_OFF, .reason = "maintenance" };
    unsigned n = 0;

    connect_all(f);
    assert_int_equal(want(f, "v", &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(ic_services_refresh(f->services, done, f, NULL), 0);
    serve(f);
    assert_int_equal(f->n_done, 2);
    assert_int_equal(ic_services_freeze(f->services, 5000, done, f, NULL), 0);
    serve(f);
    assert_int_equal(f->n_done, 3);
    assert_int_equal(f->result, 0);
    assert_int_equal(ic_services_thaw(f->services, done, f, NULL), 0);
    serve(f);
    assert_int_equal(f->n_done, 4);
    assert_memory_equal(f->ops_seen, "\2\5\6", 3);
    assert_int_equal(f->n_changes[IC_SERVICE_VSS], 4);
    assert_int_equal(ic_services_shut_down(f->services, &off, done, f, NULL), 0);
    serve(f);
    assert_int_equal(f->n_done, 5);
    assert_int_equal(f->result, 0);
}

static void a_freeze_is_thawed_though_nobody_asks(void **state)
{
    struct fixture *f = *state;

    connect_all(f);
    assert_int_equal(ic_services_freeze(f->services, 5000, done, f, NULL), 0);
    serve(f);
    pass(f, 4999);
    assert_int_equal(f->n_ops, 2);
    pass(f, 1);
    assert_int_equal(f->n_ops, 3);
    assert_int_equal(f->ops_seen[2], 6);
}

/* More than the ring holds, so that packets wrap around its end */
static void a_file_goes_through_the_rings(void **state)
{
    static uint8_t source[50000];
    struct fixture *f = *state;
    struct ic_filecopy_request copy = {
        .path = "/tmp/x", .may_overwrite = true, .done = done, .opaque = f
    };

    for (size_t i = 0; i < sizeof(source); i++)
        source[i] = (uint8_t)(i * 13 + i / 257);
    connect_all(f);
    for (unsigned i = 1; i <= 3; i++) {
        memset(f->target, 0, sizeof(f->target));
        copy.fd = memfd_create("source", MFD_CLOEXEC);
        assert_int_equal(pwrite(copy.fd, source, sizeof(source), 0), sizeof(source));
        assert_int_equal(ic_services_copy_file(f->services, &copy, NULL), 0);
        serve(f);
        assert_int_equal(f->n_done, i);
        assert_int_equal(f->result, 0);
        assert_memory_equal(f->target, source, sizeof(source));
    }
}

static void text_is_typed_through_the_ring(void **state)
{
    struct fixture *f = *state;

    connect_all(f);
    assert_int_equal(ic_services_type_text(f->services, "root\n", NULL), 0);
    serve(f);
    assert_int_equal(f->n_keys, 10);
    assert_memory_equal(f->keys, "\x13\x93\x18\x98\x18\x98\x14\x94\x1c\x9c", 10);
    assert_int_equal(ic_services_ctrl_alt_del(f->services, NULL), 0);
    assert_non_null(ic_services_keyboard(f->services));
}

static void a_ring_that_nobody_reads_fills_and_empties(void **state)
{
    struct fixture *f = *state;
    char text[2049];

    connect_all(f);
    memset(text, 'a', 2048);
    text[2048] = '\0';
    f->is_open[IC_SERVICE_KEYBOARD] = false; /* it stops reading */
    assert_int_equal(ic_services_type_text(f->services, text, NULL), 0);
    assert_int_not_equal(vsp_keyboard_n_queued(ic_services_keyboard(f->services)), 0);
    f->is_open[IC_SERVICE_KEYBOARD] = true;
    serve(f);
    assert_int_equal(vsp_keyboard_n_queued(ic_services_keyboard(f->services)), 0);
}

static void a_pause_stops_all_and_the_guests_clock_is_set_after_it(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_facts facts;

    connect_all(f);
    pass(f, 10000);
    assert_int_equal(f->last_sync_flags, 2);
    ic_services_ops.pause(f->services);
    assert_true(f->alarm_ns == UINT64_MAX);
    pass(f, 3600000);
    ic_services_ops.resume(f->services);
    pass(f, 200);
    assert_int_equal(f->last_sync_flags, 1);
    pass(f, 10000);
    assert_int_equal(f->last_sync_flags, 2);
    ic_services_get_facts(f->services, &facts);
    assert_int_equal(facts.heartbeat.contact, IC_CONTACT_OK);
    assert_int_equal(f->n_changes[IC_SERVICE_HEARTBEAT], 1);
}

static void a_guest_that_is_reset_begins_anew(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_facts facts;

    connect_all(f);
    assert_int_equal(ic_services_freeze(f->services, 5000, done, f, NULL), 0);
    ic_services_ops.pause(f->services);
    vmbus_server_reset(f->guest.server);
    ic_services_ops.reset(f->services);
    ic_services_ops.resume(f->services);
    assert_int_equal(f->n_done, 1);
    assert_int_equal(f->result, -ECONNRESET);
    ic_services_get_facts(f->services, &facts);
    assert_int_equal(facts.heartbeat.contact, IC_CONTACT_NONE);
    memset(f->is_open, 0, sizeof(f->is_open));
    f->guest.n_offers = 0;
    fake_vmbus_ignore_messages(&f->guest);
    connect_all(f);
    ic_services_get_facts(f->services, &facts);
    assert_int_equal(facts.heartbeat.contact, IC_CONTACT_OK);
    assert_int_equal(f->n_ops, 0);
}

static void drivers_may_go_and_come_back(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_facts facts;

    connect_all(f);
    for (unsigned i = 0; i < 3; i++) {
        close_all(f);
        ic_services_get_facts(f->services, &facts);
        assert_int_equal(facts.heartbeat.contact, IC_CONTACT_NONE);
        pass(f, 5000);
        open_all(f);
        ic_services_get_facts(f->services, &facts);
        assert_int_equal(facts.heartbeat.contact, IC_CONTACT_OK);
    }
}

static void memory_that_runs_out_at_first_leaves_no_offer(void **state)
{
    struct fixture *f = *state;
    struct ic_services_config config = {
        .server = f->guest.server, .enabled = IC_SERVICES_ALL, .time = &time_ops, .time_opaque = f
    };
    bool has_failed = true;

    for (unsigned n = 1; has_failed; n++) {
        struct ic_services *services = NULL;
        int r;

        alloc_faults_arm(n);
        r = ic_services_new(&config, &services);
        has_failed = alloc_faults_disarm();
        assert_int_equal(r, has_failed ? -ENOMEM : 0);
        assert_int_equal(services == NULL, has_failed);
        if (services)
            ic_services_revoke(services);
        ic_services_free(services);
    }
    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_5_3);
    fake_vmbus_request_offers(&f->guest);
    assert_int_equal(f->guest.n_offers, 0);
}

static void told_ip(void *opaque, int r, const struct hv_error *error, const struct ic_kvp_ip *ip)
{
    done(opaque, r, error);
}

static void memory_that_runs_out_costs_an_answer_and_not_the_service(void **state)
{
    struct fixture *f = *state;
    struct ic_guest_facts facts;
    bool has_failed = true;

    connect_all(f);
    for (unsigned n = 1; has_failed; n++) {
        unsigned n_asked = 0, n_pairs = 0;
        char value[16];

        (void)snprintf(value, sizeof(value), "%u", n);
        f->n_done = 0;
        alloc_faults_arm(n);
        n_asked += ic_services_refresh(f->services, done, f, NULL) == 0;
        n_asked += want(f, value, &n_pairs) == 0 ? n_pairs : 0;
        n_asked += ic_services_ask_ip(f->services, "x", told_ip, f, NULL) == 0;
        n_asked += ic_services_freeze(f->services, 1000, done, f, NULL) == 0;
        serve(f);
        n_asked += ic_services_thaw(f->services, done, f, NULL) == 0;
        serve(f);
        has_failed = alloc_faults_disarm();
        assert_int_equal(f->n_done, n_asked);
        assert_true(has_failed || n_asked == 5);
    }
    ic_services_get_facts(f->services, &facts);
    assert_int_equal(facts.heartbeat.contact, IC_CONTACT_OK);
    assert_int_equal(facts.pairs_age_ns, 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_not_enabled_is_not_offered_and_says_so, make_none,
                                        drop),
        cmocka_unit_test_setup_teardown(an_offer_that_fails_takes_the_others_back, make_none, drop),
        CASE(each_service_agrees_with_linux_on_its_best_version),
        CASE(the_facts_of_a_guest_are_known),
        CASE(what_is_asked_is_done),
        CASE(a_freeze_is_thawed_though_nobody_asks),
        CASE(a_file_goes_through_the_rings),
        CASE(text_is_typed_through_the_ring),
        CASE(a_ring_that_nobody_reads_fills_and_empties),
        CASE(a_pause_stops_all_and_the_guests_clock_is_set_after_it),
        CASE(a_guest_that_is_reset_begins_anew),
        CASE(drivers_may_go_and_come_back),
        cmocka_unit_test_setup_teardown(memory_that_runs_out_at_first_leaves_no_offer, make_none,
                                        drop),
        CASE(memory_that_runs_out_costs_an_answer_and_not_the_service),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
