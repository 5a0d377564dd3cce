/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"
#include "tests/lib/fake_vmbus_guest.h"

#include "vmwp/worker/services.h"

#include <string.h>

struct fixture {
    struct wp_loop loop;
    struct hv_partition *partition;
    struct fake_vmbus_guest guest;
    struct fake_vmbus_channel channel;
    struct fake_vmbus_packet packet;
    struct wp_services *services;
    uv_timer_t patience;
    bool is_out_of_patience;
};

static void on_patience(uv_timer_t *timer)
{
    ((struct fixture *)timer->data)->is_out_of_patience = true;
}

static int make(void **state)
{
    static struct fixture f;
    struct hv_partition_config partition = {
        .backend = HV_BACKEND_SOFT, .kvm_fd = -1, .n_vps = 1, .ram_bytes = 1 << 20
    };
    struct wp_services_config config = { .loop = &f.loop,
                                         .enabled = IC_SERVICE_BIT(IC_SERVICE_TIMESYNC),
                                         .has_time_samples = true };

    memset(&f, 0, sizeof(f));
    fake_vmbus_start(&f.guest, 1);
    config.server = f.guest.server;
    if (wp_loop_init(&f.loop) < 0 || hv_partition_new(&partition, &f.partition, NULL) < 0)
        return -1;
    config.partition = f.partition;
    (void)uv_timer_init(&f.loop.uv, &f.patience);
    f.patience.data = &f;
    *state = &f;
    return wp_services_new(&config, &f.services, NULL);
}

static int drop(void **state)
{
    struct fixture *f = *state;

    f->services = wp_services_free(f->services);
    wp_loop_fini(&f->loop);
    hv_partition_free(f->partition);
    fake_vmbus_stop(&f->guest);
    return 0;
}

static bool answer(struct fixture *f)
{
    if (!fake_vmbus_read(&f->channel, &f->packet))
        return false;
    f->packet.payload[25] = 5;
    if (f->packet.payload[12] == 0) {
        const uint16_t choice[] = { 1, 1, 0, 0, 3, 0, 4, 0 };

        memcpy(f->packet.payload + 28, choice, sizeof(choice));
        f->packet.payload[18] = 16;
    }
    fake_vmbus_send(&f->channel, f->packet.transaction, false, f->packet.payload, f->packet.bytes);
    return true;
}

/* Run the loop until a message came, for ten seconds at most. It mustn't sleep there: the guest is
 * on this thread, too. */
static void wait_and_answer(struct fixture *f)
{
    f->is_out_of_patience = false;
    (void)uv_timer_start(&f->patience, on_patience, 10000, 0);
    while (!answer(f)) {
        assert_false(f->is_out_of_patience);
        (void)uv_run(&f->loop.uv, UV_RUN_NOWAIT);
        (void)usleep(1000);
    }
    (void)uv_timer_stop(&f->patience);
}

static void connect_guest(struct fixture *f)
{
    fake_vmbus_connect(&f->guest, VMBUS_WIRE_VERSION_5_3);
    fake_vmbus_request_offers(&f->guest);
    fake_vmbus_open(&f->guest, f->guest.offers[0].relid, 4, 4, &f->channel);
}

static void an_offer_that_fails_is_told_with_its_code(void **state)
{
    struct fixture *f = *state;
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct wp_services *again = NULL;
    struct wp_services_config config = { .loop = &f->loop,
                                         .partition = f->partition,
                                         .server = f->guest.server,
                                         .enabled = IC_SERVICES_ALL };

    assert_int_equal(wp_services_new(&config, &again, &error), -EEXIST);
    assert_null(again);
    assert_string_equal(error->code, "vm.services");
    assert_null(wp_services_free(NULL));
}

static void services_rest_until_they_are_resumed(void **state)
{
    struct fixture *f = *state;

    connect_guest(f);
    assert_false(answer(f));
    wp_services_resume(f->services);
    assert_true(answer(f));  /* versions */
    assert_true(answer(f));  /* the time */
    assert_false(answer(f)); /* no more for now */
}

static void the_alarm_rings_on_the_loop(void **state)
{
    struct fixture *f = *state;

    wp_services_resume(f->services);
    connect_guest(f);
    while (answer(f))
        continue;
    wp_services_pause(f->services);
    wp_services_resume(f->services);
    wait_and_answer(f);
    assert_int_equal(f->packet.payload[28 + 16], 1); /* sets the clock */
    wait_and_answer(f);
    assert_int_equal(f->packet.payload[28 + 16], 2); /* a sample */
}

static void a_reset_forgets_the_guest(void **state)
{
    struct fixture *f = *state;
    struct ic_service_status status;

    wp_services_resume(f->services);
    connect_guest(f);
    while (answer(f))
        continue;
    ic_services_get_status(wp_services_ic(f->services), IC_SERVICE_TIMESYNC, &status);
    assert_int_equal(status.state, IC_READY);
    wp_services_pause(f->services);
    vmbus_server_reset(f->guest.server);
    wp_services_reset(f->services);
    ic_services_get_status(wp_services_ic(f->services), IC_SERVICE_TIMESYNC, &status);
    assert_int_equal(status.state, IC_CLOSED);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_offer_that_fails_is_told_with_its_code),
        CASE(services_rest_until_they_are_resumed),
        CASE(the_alarm_rings_on_the_loop),
        CASE(a_reset_forgets_the_guest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
