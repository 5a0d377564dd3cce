/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets of the storage protocol and the CDBs in them, run against a disk in memory.
 *
 * Input: a byte that chooses the unit, then commands of one byte with operands.
 */
#include "hvcore/base/cursor.h"
#include "tests/lib/fake_blk.h"
#include "vmwp/vsp/storvsp/protocol_priv.h"
#include "vmwp/vsp/storvsp/request_priv.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { MAX_COMMANDS = 128, RAM_BYTES = 256 << 10, DISK_BYTES = 1 << 20, MAX_RANGES = 8 };

struct world {
    struct hv_gpa_space gpa;
    struct blk_disk *disk;
    struct vmbus_packet *packet;
    struct vmbus_range ranges[STORVSP_MAX_PIECES + 1];
    struct storvsp_request request;
    struct vmbus_range pieces[STORVSP_MAX_PIECES];
    struct storvsp_protocol protocol;
    struct scsi_unit unit;
};

static struct world *make_world(void)
{
    struct world *world = calloc(1, sizeof(*world));

    hv_assert(world);
    world->packet = calloc(1, sizeof(*world->packet));
    hv_assert(world->packet);
    hv_assert(hv_gpa_space_init(&world->gpa, RAM_BYTES, NULL) == 0);
    hv_assert(hv_gpa_space_add_ram(&world->gpa, 0, RAM_BYTES / 2, 0) == 0);
    hv_assert(hv_gpa_space_add_ram(&world->gpa, RAM_BYTES / 2, RAM_BYTES / 2, RAM_BYTES / 2) == 0);
    world->disk = fake_disk_new(DISK_BYTES, 512);
    world->request.ranges = world->pieces;
    return world;
}

/* A disk or a drive, with large sectors, without a medium, read-only, or one that fails */
static void choose_unit(struct world *world, uint8_t choice)
{
    struct storvsp_lun_config config = { .kind = choice & 1 ? STORVSP_DVD : STORVSP_DISK,
                                         .disk = world->disk };

    world->disk->info.logical_bytes = choice & 2 && !(choice & 1) ? 4096 : 512;
    world->disk->info.can_discard = choice & 4;
    world->disk->info.is_read_only = choice & 8;
    world->disk->fail_r = (choice & 0xe0) == 0xe0 ? -EIO : 0;
    if ((choice & 1) && (choice & 0x10))
        config.disk = NULL;
    memset(&world->unit, 0, sizeof(world->unit));
    hv_assert(scsi_unit_init(&world->unit, &config) == 0);
}

/* What must hold of every answer */
static void check(const struct world *world)
{
    const struct storvsp_wire_packet *packet = &world->request.packet;
    const struct storvsp_wire_srb *srb = &packet->srb;
    const struct storvsp_data *data = &world->request.task.data;
    bool is_good = srb->srb_status == STORVSP_SRB_SUCCESS;

    hv_assert(packet->operation == STORVSP_COMPLETE_IO && packet->status == STORVSP_OK);
    hv_assert(srb->data_bytes <= data->to_guest || srb->data_bytes <= data->from_guest);
    hv_assert(srb->sense_bytes <= SCSI_SENSE_BYTES);
    hv_assert(is_good == (srb->scsi_status == SCSI_GOOD));
    hv_assert(is_good || srb->data_bytes == 0);
    if (srb->srb_status & STORVSP_SRB_AUTOSENSE_VALID)
        hv_assert(srb->sense_bytes && (srb->sense[0] & 0x7f) == 0x70);
    /* the disk was asked for nothing that it hasn't */
    hv_assert(srb->sense_bytes < 3 || (srb->sense[2] & 0xf) != SCSI_HARDWARE_ERROR);
}

static void take_ranges(struct world *world, struct hv_cursor *in, unsigned n)
{
    struct vmbus_packet *packet = world->packet;

    packet->ranges = world->ranges;
    packet->n_ranges = n;
    packet->data_bytes = 0;
    for (unsigned i = 0; i < n; i++) {
        hv_gpa_t gpa = hv_cursor_u16(in) * 4u % RAM_BYTES;
        uint32_t bytes = hv_cursor_u16(in) * 2u;

        if (bytes > RAM_BYTES - gpa)
            bytes = (uint32_t)(RAM_BYTES - gpa);
        world->ranges[i] = (struct vmbus_range){ gpa, bytes };
        packet->data_bytes += bytes;
    }
}

/* A packet of bytes as they come; as a guest does, or with an opcode that there is */
static void cmd_packet(struct world *world, struct hv_cursor *in, uint8_t how)
{
    struct vmbus_packet *packet = world->packet;
    struct storvsp_wire_packet *wire = &world->request.packet;
    size_t n =
        hv_cursor_left(in) < STORVSP_PACKET_BYTES ? hv_cursor_left(in) : STORVSP_PACKET_BYTES;

    packet->type = how & 1 ? VMBUS_PACKET_GPA_DIRECT : VMBUS_PACKET_INBAND;
    take_ranges(world, in, how & 1 ? how >> 5 : 0);
    n = n < hv_cursor_left(in) ? n : hv_cursor_left(in);
    packet->bytes = how & 2 ? STORVSP_PACKET_BYTES : (uint32_t)n & ~7u;
    memset(packet->payload, 0, STORVSP_PACKET_BYTES);
    hv_cursor_bytes(in, packet->payload, n);
    if (!storvsp_request_take(&world->request, packet))
        return;
    if (how & 4) {
        wire->operation = STORVSP_EXECUTE_SRB;
        wire->srb.cdb_bytes %= 17;
        wire->srb.cdb[0] = scsi_commands[wire->srb.cdb[0] % scsi_n_commands].opcode;
    }
    if (storvsp_protocol_step(&world->protocol, wire) != STORVSP_RUN)
        return;
    storvsp_request_run(&world->request, &world->gpa, how & 8 ? NULL : &world->unit, how);
    check(world);
}

/* Guest memory for parameter lists */
static void cmd_memory(struct world *world, struct hv_cursor *in, uint8_t how)
{
    hv_gpa_t gpa = hv_cursor_u16(in) * 4u % (RAM_BYTES - 256);
    uint8_t bytes[256];
    size_t n = how < hv_cursor_left(in) ? how : hv_cursor_left(in);

    hv_cursor_bytes(in, bytes, n);
    hv_assert(hv_gpa_write(&world->gpa, gpa, bytes, n) == 0);
}

static void cmd_state(struct world *world, struct hv_cursor *in, uint8_t how)
{
    atomic_store(&world->unit.attention, how & 1 ? SCSI_ASC_RESET : 0);
    atomic_store(&world->unit.is_tray_open, (how & 2) && world->unit.kind == STORVSP_DVD);
    if (how & 4)
        storvsp_protocol_start(&world->protocol, 3);
}

static void (*const commands[])(struct world *world, struct hv_cursor *in,
                                uint8_t how) = { cmd_packet, cmd_memory, cmd_state, cmd_packet };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static struct world *world;
    struct hv_cursor in = hv_cursor(bytes, n);

    if (!world)
        world = make_world();
    hv_assert(hv_gpa_fill(&world->gpa, 0, 0, RAM_BYTES) == 0);
    choose_unit(world, hv_cursor_u8(&in));
    storvsp_protocol_start(&world->protocol, 3);
    world->protocol.phase = STORVSP_PHASE_READY;
    for (unsigned i = 0; i < MAX_COMMANDS && hv_cursor_left(&in) > 0; i++) {
        uint8_t which = hv_cursor_u8(&in);

        commands[which % HV_ARRAY_SIZE(commands)](world, &in, hv_cursor_u8(&in));
    }
    return 0;
}
