/* SPDX-License-Identifier: Apache-2.0 */
/* The host is out of memory, at each place: an error, nothing leaked, and the next try works. */
#include "tests/unit/vmwp/vsp/storvsp/rig.h"

#include "tests/lib/alloc_faults.h"

static void a_controller_that_cannot_be_made_is_none(void **state)
{
    struct rig *rig = *state;
    struct storvsp_config config = { .server = rig->guest.server,
                                     .gpa = &rig->guest.gpa,
                                     .instance.bytes = { 2 },
                                     .n_queues = 2,
                                     .n_io_threads = 2 };
    struct storvsp_controller *controller = NULL;
    bool has_failed;
    unsigned n = 1;

    do {
        int r;

        alloc_faults_arm(n++);
        r = storvsp_controller_new(&config, &controller, NULL);
        has_failed = alloc_faults_disarm();
        assert_int_equal(r, has_failed ? -ENOMEM : 0);
        if (r == 0)
            storvsp_controller_revoke(controller);
        controller = storvsp_controller_free(controller);
    } while (has_failed);
    assert_true(n > 8);
}

static void units_that_cannot_be_made_leave_all_as_it_was(void **state)
{
    struct rig *rig = *state;
    struct storvsp_lun_config config = { .kind = STORVSP_DVD };
    struct storvsp_lun_stats stats;

    alloc_faults_arm(1);
    assert_int_equal(storvsp_attach(rig->controller, 7, &config, NULL), -ENOMEM);
    assert_true(alloc_faults_disarm());
    assert_int_equal(storvsp_lun_stats(rig->controller, 7, &stats), -ENOENT);
    assert_int_equal(storvsp_attach(rig->controller, 7, &config, NULL), 0);
    alloc_faults_arm(1);
    assert_int_equal(storvsp_insert(rig->controller, 7, rig->disk, NULL), -ENOMEM);
    assert_true(alloc_faults_disarm());
    assert_int_equal(storvsp_lun_stats(rig->controller, 7, &stats), 0);
    assert_false(stats.has_medium);
}

/* 1 MiB in pages that lie apart: more pieces than a packet has room for at first */
static void a_packet_without_memory_waits_and_costs_nothing(void **state)
{
    struct rig *rig = *state;
    struct storvsp_wire_packet packet = { .operation = STORVSP_EXECUTE_SRB, .flags = 1 };
    uint64_t extension[2 + 257] = { UINT64_C(1) << 32, 1 << 20 };

    for (unsigned i = 0; i < 256; i++)
        extension[2 + i] = (rig->data >> HV_PAGE_SHIFT) + (i * 37) % 256;
    packet.srb = (struct storvsp_wire_srb){ .cdb = { 0x28, 0, 0, 0, 0, 0, 0, 8, 0 },
                                            .cdb_bytes = 10,
                                            .direction = STORVSP_DATA_IN,
                                            .data_bytes = 1 << 20 };
    alloc_faults_arm(1);
    assert_true(fake_vmbus_write(&rig->channel, VMBUS_PACKET_GPA_DIRECT, 5, 1, extension,
                                 (2 + 256) * 8, &packet, sizeof(packet)));
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 5);
    assert_true(alloc_faults_disarm());
    assert_int_equal(packet.srb.srb_status, STORVSP_SRB_SUCCESS);
    assert_int_equal(packet.srb.data_bytes, 1 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_controller_that_cannot_be_made_is_none, rig_make,
                                        rig_drop),
        cmocka_unit_test_setup_teardown(units_that_cannot_be_made_leave_all_as_it_was, rig_make,
                                        rig_drop),
        cmocka_unit_test_setup_teardown(a_packet_without_memory_waits_and_costs_nothing,
                                        rig_make_negotiated, rig_drop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
