/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A saved state: a file of chunks whose checksums are right and whose contents are not, and its
 * parts put back into what they are of.
 *
 * Input: a byte of enum how, then chunks: which part, version, flags, instance (a byte each), two
 * bytes of length and as many of payload; a RAM chunk's payload is its place, its map and a few
 * bytes that are compressed here, or taken as they are. With AS_IT_IS the rest is the file itself.
 */
#include "tests/fuzz/vmbus_host.h"

#include "hvcore/base/crc32c.h"
#include "vmwp/con/con.h"
#include "vmwp/state/parts.h"
#include "vmwp/state/vp.h"

#include <sys/mman.h>
#include <unistd.h>
#include <zstd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum how { AS_IT_IS = 1, WRONG_END = 2, RAW_RAM = 4 };
enum { N_DEVICES = 3, MAX_FILE = 1 << 20, MAX_CHUNKS = 64 };

static const uint32_t ids[] = { STATE_PARTITION,
                                STATE_VP,
                                STATE_PIC,
                                STATE_CONSOLE,
                                STATE_VMBUS,
                                STATE_INBOX,
                                STATE_SERVICES,
                                STATE_ID('R', 'A', 'M', ' '),
                                STATE_ID('H', 'E', 'A', 'D'),
                                STATE_ID('N', 'E', 'W', ' ') };

struct file {
    uint8_t bytes[MAX_FILE];
    size_t length;
    uint64_t n_chunks, n_pages;
};

static void put(struct file *file, const void *bytes, size_t n)
{
    if (n > MAX_FILE - file->length)
        return;
    memcpy(file->bytes + file->length, bytes, n);
    file->length += n;
}

static void put_chunk(struct file *file, uint32_t id, const uint8_t how[3], const void *payload,
                      uint32_t n)
{
    const uint32_t mark = STATE_ID('H', 'V', 's', 'c'), instance = how[2];
    const uint16_t version = how[0], flags = how[1];
    size_t at = file->length;
    uint32_t crc;

    if (n > MAX_FILE - 64 - file->length)
        return;
    put(file, &mark, 4);
    put(file, &id, 4);
    put(file, &version, 2);
    put(file, &flags, 2);
    put(file, &instance, 4);
    put(file, &n, 4);
    crc = hv_crc32c(hv_crc32c(0, file->bytes + at, 20), payload, n);
    put(file, &crc, 4);
    put(file, payload, n);
    file->n_chunks++;
}

/* Pages of a few bytes each, as many as the map says. */
static uint32_t pack_ram(struct file *file, const uint8_t *from, size_t n, uint8_t *ret,
                         size_t room)
{
    static uint8_t pages[256 * HV_PAGE_BYTES];
    size_t n_pages = 0, packed;

    if (n < 40)
        return 0;
    memcpy(ret, from, 40);
    for (unsigned i = 0; i < 256; i++)
        n_pages += from[8 + i / 8] >> i % 8 & 1;
    memset(pages, 0, n_pages * HV_PAGE_BYTES);
    for (size_t i = 0; i < n_pages && n > 40; i++)
        pages[i * HV_PAGE_BYTES] = from[40 + i % (n - 40)];
    packed = ZSTD_compress(ret + 40, room - 40, pages, n_pages * HV_PAGE_BYTES, 1);
    file->n_pages += n_pages;
    return ZSTD_isError(packed) ? 0 : (uint32_t)(40 + packed);
}

static void put_input_chunk(struct file *file, struct hv_cursor *in, enum how how)
{
    static uint8_t payload[65536], packed[65536];
    uint32_t id = ids[hv_cursor_u8(in) % HV_ARRAY_SIZE(ids)], n;
    uint8_t head[3];

    hv_cursor_bytes(in, head, sizeof(head));
    n = hv_cursor_u16(in);
    n = n < hv_cursor_left(in) ? n : (uint32_t)hv_cursor_left(in);
    hv_cursor_bytes(in, payload, n);
    if (id != STATE_ID('R', 'A', 'M', ' ') || how & RAW_RAM) {
        put_chunk(file, id, head, payload, n);
        return;
    }
    n = pack_ram(file, payload, n, packed, sizeof(packed));
    put_chunk(file, id, head, packed, n);
}

static void make_file(struct file *file, struct hv_cursor *in, enum how how)
{
    static const uint8_t plain[3] = { 1, 1, 0 };
    struct state_head head = { .n_vps = FUZZ_VPS, .ram_bytes = 64 * HV_PAGE_BYTES, .tsc_hz = 1 };
    struct hv_fields fields = hv_fields_writer();
    uint64_t totals[3];

    put(file, "HVSAVE01\1\0\0\0\0\0\0\0", 16);
    hv_field_bytes(&fields, head.vm.bytes, 16);
    hv_field_u8(&fields, &head.backend);
    hv_field_u32(&fields, &head.n_vps);
    hv_field_u64(&fields, &head.ram_bytes);
    hv_field_u64(&fields, &head.devices);
    hv_field_u64(&fields, &head.saved_ns);
    hv_field_u64(&fields, &head.tsc_hz);
    hv_field_bytes(&fields, head.cpuid, sizeof(head.cpuid));
    put_chunk(file, STATE_ID('H', 'E', 'A', 'D'), plain, fields.bytes, (uint32_t)fields.length);
    hv_fields_fini(&fields);
    for (unsigned i = 0; i < MAX_CHUNKS && hv_cursor_left(in) > 6; i++)
        put_input_chunk(file, in, how);
    totals[0] = file->n_chunks + (how & WRONG_END ? 1 : 0);
    totals[1] = file->length;
    totals[2] = file->n_pages;
    put_chunk(file, STATE_ID('E', 'N', 'D', ' '), plain, totals, sizeof(totals));
}

/* ---- what the parts are of ---- */

static struct device {
    bool is_open;
} devices[N_DEVICES];

static int on_opened(void *opaque, struct vmbus_channel *channel, const uint8_t *user)
{
    return -EBUSY;
}

static int on_restored(void *opaque, struct vmbus_channel *channel)
{
    hv_assert(vmbus_channel_is_open(channel));
    if (vmbus_channel_relid(channel) % 7 == 0)
        return -EINVAL;
    return 0;
}

static void on_signalled(void *opaque, struct vmbus_channel *channel)
{
    struct vmbus_packet *packet = vmbus_packet_new();

    for (unsigned i = 0; packet && i < 50 && vmbus_channel_receive(channel, packet) == 0; i++)
        (void)vmbus_channel_send(channel, VMBUS_PACKET_COMPLETION, packet->transaction, false,
                                 packet->payload, packet->bytes);
    (void)vmbus_packet_free(packet);
}

static void on_closed(void *opaque, struct vmbus_channel *channel)
{
    hv_assert(!vmbus_channel_is_open(channel));
}

static const struct vmbus_channel_ops ops = {
    .opened = on_opened, .restored = on_restored, .signalled = on_signalled, .closed = on_closed
};

static void use_channels(struct vmbus_server *server, struct vmbus_channel *const channels[])
{
    for (unsigned i = 0; i < N_DEVICES; i++)
        vmbus_channel_signalled(channels[i]);
    vmbus_server_sweep(server);
    vmbus_server_retry(server);
    vmbus_server_announce(server);
    for (uint32_t relid = 1; relid < 12; relid++) {
        struct vmbus_wire_relid close = { .header.type = VMBUS_WIRE_CLOSE, .relid = relid };

        vmbus_server_message(server, &close, sizeof(close));
        close.header.type = VMBUS_WIRE_RELID_RELEASED;
        vmbus_server_message(server, &close, sizeof(close));
    }
}

static void restore_bus(struct fuzz_host *host, struct state_image *image)
{
    struct vmbus_server *server = fuzz_host_start(host);
    struct vmbus_channel *channels[N_DEVICES];
    struct hv_fields fields = state_image_fields(image, STATE_VMBUS, 0), out = hv_fields_writer();

    for (unsigned i = 0; i < N_DEVICES; i++) {
        struct vmbus_offer offer = { .type = { { 1 } },
                                     .instance = { { (uint8_t)(i + 1) } },
                                     .ops = &ops,
                                     .opaque = &devices[i] };

        hv_assert(vmbus_offer_channel(server, &offer, &channels[i]) == 0);
    }
    (void)state_image_load_ram(image, &host->gpa, NULL);
    if (vmbus_server_restore(server, &fields) == 0) {
        vmbus_server_sweep(server);
        vmbus_server_save(server, &out);
        hv_assert(hv_fields_ok(&out));
        use_channels(server, channels);
    }
    hv_fields_fini(&out);
    fuzz_host_stop(host, server);
}

static void restore_others(const struct state_image *image)
{
    struct hv_vp_state *state = calloc(1, sizeof(*state));
    struct hv_fields fields = state_image_fields(image, STATE_VP, 0);
    struct hv_partition_state shared;
    struct con *con = NULL;
    uint8_t last[16];
    size_t length;
    uint64_t next;

    hv_assert(state && con_new(CON_RING_MIN_BYTES, &con) == 0);
    state_visit_vp(&fields, state);
    hv_assert(!hv_fields_is_done(&fields) || state->synic.n_messages <= HV_STATE_MESSAGES);
    fields = state_image_fields(image, STATE_PARTITION, 0);
    state_visit_partition(&fields, &shared);
    fields = state_image_fields(image, STATE_CONSOLE, 0);
    con_visit(con, &fields);
    con_write(con, "on", 2);
    (void)con_type(con, "in", 2);
    (void)con_read(con, 0, last, sizeof(last), &length, &next);
    (void)con_take_input(con, last, sizeof(last));
    (void)con_free(con);
    free(state);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static struct fuzz_host host;
    static struct file file;
    struct hv_cursor in = hv_cursor(bytes, n);
    enum how how = (enum how)hv_cursor_u8(&in);
    struct state_image *image = NULL;
    int fd = memfd_create("saved", MFD_CLOEXEC);

    file.length = 0;
    file.n_chunks = file.n_pages = 0;
    if (how & AS_IT_IS)
        put(&file, n > 0 ? bytes + 1 : bytes, n > 0 ? n - 1 : 0);
    else
        make_file(&file, &in, how);
    hv_assert(fd >= 0 && write(fd, file.bytes, file.length) == (ssize_t)file.length);
    if (state_image_open(fd, &image, NULL) == 0) {
        restore_bus(&host, image);
        restore_others(image);
        (void)state_image_free(image);
    }
    (void)close(fd);
    return 0;
}
