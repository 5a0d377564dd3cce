/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/vmwp/vsp/storvsp/rig.h"

#include "hvcore/base/clock.h"

#include <string.h>

static void wake(void *opaque)
{
    struct rig *rig = opaque;

    atomic_store(&rig->is_woken, true);
}

static void count_line(void *opaque, enum hv_log_level level, const char *fields, const char *text)
{
    struct rig *rig = opaque;

    atomic_fetch_add(&rig->n_logged, 1);
}

static int make(void **state, bool yields_to_vps)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    struct storvsp_lun_config lun = { .kind = STORVSP_DISK };
    struct storvsp_config config = { .n_queues = RIG_QUEUES,
                                     .n_io_threads = RIG_IO_THREADS,
                                     .yields_to_vps = yields_to_vps,
                                     .log = { count_line, rig, HV_LOG_WARNING },
                                     .wake = wake,
                                     .opaque = rig };
    uint64_t bytes;

    assert_non_null(rig);
    fake_vmbus_start(&rig->guest, 4);
    config.server = rig->guest.server;
    config.gpa = &rig->guest.gpa;
    config.instance.bytes[0] = 1;
    assert_int_equal(storvsp_controller_new(&config, &rig->controller, NULL), 0);
    rig->disk = lun.disk = fake_disk_new(RIG_DISK_BYTES, 512);
    assert_int_equal(storvsp_attach(rig->controller, 0, &lun, NULL), 0);
    rig->data = fake_vmbus_alloc(&rig->guest, 512);
    rig->bytes = hv_gpa_window(&rig->guest.gpa, rig->data, 512 * HV_PAGE_BYTES, &bytes);
    fake_vmbus_connect(&rig->guest, VMBUS_WIRE_VERSION_5_3);
    fake_vmbus_request_offers(&rig->guest);
    assert_int_equal(rig->guest.n_offers, 1);
    *state = rig;
    return 0;
}

static int make_negotiated(void **state, bool yields_to_vps)
{
    make(state, yields_to_vps);
    rig_open(*state, RIG_RING_PAGES);
    rig_negotiate(*state);
    return 0;
}

int rig_make(void **state)
{
    return make(state, false);
}

int rig_make_negotiated(void **state)
{
    return make_negotiated(state, false);
}

int rig_make_yielding(void **state)
{
    return make_negotiated(state, true);
}

int rig_drop(void **state)
{
    struct rig *rig = *state;

    fake_disk_release(rig->disk); /* of a test that failed */
    storvsp_controller_revoke(rig->controller);
    storvsp_controller_free(rig->controller);
    fake_vmbus_stop(&rig->guest);
    blk_disk_close(rig->disk);
    free(rig);
    return 0;
}

void rig_open(struct rig *rig, uint32_t ring_pages)
{
    fake_vmbus_open(&rig->guest, rig->guest.offers[0].relid, RIG_RING_PAGES, ring_pages,
                    &rig->channel);
}

void rig_turn(struct rig *rig)
{
    fake_vmbus_turn(&rig->guest);
    if (atomic_exchange(&rig->is_woken, false))
        storvsp_controller_sweep(rig->controller);
}

void rig_say(struct fake_vmbus_channel *channel, uint64_t transaction, uint32_t operation,
             uint16_t argument)
{
    struct storvsp_wire_packet packet = { .operation = operation, .flags = 1 };

    packet.version = argument;
    fake_vmbus_send(channel, transaction, true, &packet, sizeof(packet));
}

uint64_t rig_wait(struct rig *rig, struct fake_vmbus_channel *channel,
                  struct storvsp_wire_packet *ret)
{
    static struct fake_vmbus_packet packet;
    uint64_t end_ns = hv_clock_monotonic_ns() + 5 * HV_NS_PER_SEC;

    while (!fake_vmbus_read(channel, &packet)) {
        assert_true(hv_clock_monotonic_ns() < end_ns);
        rig_turn(rig);
        usleep(50);
    }
    assert_int_equal(packet.bytes, STORVSP_PACKET_BYTES);
    memcpy(ret, packet.payload, sizeof(*ret));
    assert_int_equal(packet.type, ret->operation == STORVSP_COMPLETE_IO ? VMBUS_PACKET_COMPLETION
                                                                        : VMBUS_PACKET_INBAND);
    return packet.transaction;
}

uint32_t rig_ask(struct rig *rig, uint32_t operation, uint16_t argument)
{
    struct storvsp_wire_packet packet;

    rig_say(&rig->channel, UINT64_MAX - 2, operation, argument);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), UINT64_MAX - 2);
    assert_int_equal(packet.operation, STORVSP_COMPLETE_IO);
    return packet.status;
}

void rig_negotiate(struct rig *rig)
{
    assert_int_equal(rig_ask(rig, STORVSP_BEGIN_INITIALIZATION, 0), STORVSP_OK);
    assert_int_equal(rig_ask(rig, STORVSP_QUERY_PROTOCOL_VERSION, STORVSP_VERSION_WIN10),
                     STORVSP_OK);
    assert_int_equal(rig_ask(rig, STORVSP_QUERY_PROPERTIES, 0), STORVSP_OK);
    assert_int_equal(rig_ask(rig, STORVSP_END_INITIALIZATION, 0), STORVSP_OK);
}

void rig_assert_silent(struct rig *rig, struct fake_vmbus_channel *channel)
{
    static struct fake_vmbus_packet packet;

    for (unsigned i = 0; i < 50; i++) {
        assert_false(fake_vmbus_read(channel, &packet));
        rig_turn(rig);
        usleep(1000);
    }
}

void rig_await(struct rig *rig, bool (*is_so)(struct rig *rig))
{
    uint64_t end_ns = hv_clock_monotonic_ns() + 5 * HV_NS_PER_SEC;

    while (!is_so(rig)) {
        assert_true(hv_clock_monotonic_ns() < end_ns);
        rig_turn(rig);
        usleep(100);
    }
}

void rig_send(struct rig *rig, struct fake_vmbus_channel *channel, const struct rig_srb *from)
{
    struct storvsp_wire_packet packet = { .operation = STORVSP_EXECUTE_SRB, .flags = 1 };

    packet.srb = (struct storvsp_wire_srb){ .length = STORVSP_BODY_BYTES,
                                            .lun = from->lun,
                                            .cdb_bytes = 16,
                                            .sense_bytes = STORVSP_SENSE_BYTES,
                                            .direction = from->direction,
                                            .data_bytes = from->bytes,
                                            .queue_action = from->queue_action };
    packet.srb.cdb[0] = from->opcode;
    packet.srb.cdb[1] = from->flags;
    scsi_put32(packet.srb.cdb + 2, from->lba);
    scsi_put16(packet.srb.cdb + 7, from->blocks);
    if (from->bytes)
        fake_vmbus_send_direct(channel, from->transaction, rig->data + from->at, from->bytes,
                               &packet, sizeof(packet));
    else
        fake_vmbus_send(channel, from->transaction, true, &packet, sizeof(packet));
}

uint8_t rig_test_unit(struct rig *rig, uint8_t lun)
{
    struct storvsp_wire_packet packet;

    RIG_SEND(rig, &rig->channel, .transaction = 77, .lun = lun);
    assert_int_equal(rig_wait(rig, &rig->channel, &packet), 77);
    return packet.srb.srb_status;
}
