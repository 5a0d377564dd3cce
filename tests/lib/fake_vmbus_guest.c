/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/fake_vmbus_guest.h"

#include "hvcore/base/clock.h"
#include "tests/lib/cmocka.h"

#include <string.h>
#include <sys/eventfd.h>

/* The host around the server */

static int on_post_message(void *opaque, unsigned vp, unsigned sint, const void *message,
                           size_t bytes)
{
    struct fake_vmbus_guest *guest = opaque;
    struct fake_vmbus_message *into;

    assert_int_equal(sint, VMBUS_SINT);
    assert_true(bytes >= sizeof(struct vmbus_wire_header) && bytes <= VMBUS_WIRE_MAX_MESSAGE);
    if (guest->is_busy)
        return -ENOBUFS;
    assert_true(guest->n_messages < FAKE_VMBUS_MAX_MESSAGES);
    into = &guest->messages[(guest->first + guest->n_messages++) % FAKE_VMBUS_MAX_MESSAGES];
    into->bytes = bytes;
    memcpy(into->message, message, bytes);
    guest->last_message_vp = vp;
    return 0;
}

static void on_signal_event(void *opaque, unsigned vp, unsigned sint, unsigned flag)
{
    struct fake_vmbus_guest *guest = opaque;

    hv_assert(sint == VMBUS_SINT && flag > 0 && flag <= VMBUS_WIRE_MAX_RELID);
    guest->last_signal_vp = vp;
    atomic_fetch_add(&guest->signals[flag], 1);
}

static int on_connect(void *opaque, struct vmbus_channel *channel)
{
    struct fake_vmbus_guest *guest = opaque;

    if (guest->connect_error)
        return guest->connect_error;
    if (vmbus_channel_is_polled_by_vsp(channel))
        vmbus_channel_set_doorbell(channel, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    assert_null(guest->channels[vmbus_channel_relid(channel)]);
    guest->channels[vmbus_channel_relid(channel)] = channel;
    guest->n_connected++;
    return 0;
}

static void on_disconnect(void *opaque, struct vmbus_channel *channel)
{
    struct fake_vmbus_guest *guest = opaque;

    assert_ptr_equal(guest->channels[vmbus_channel_relid(channel)], channel);
    guest->channels[vmbus_channel_relid(channel)] = NULL;
    vmbus_channel_set_doorbell(channel, hv_close(vmbus_channel_doorbell(channel)));
    guest->n_disconnected++;
}

static void on_wake(void *opaque)
{
    ((struct fake_vmbus_guest *)opaque)->wants_sweep = true;
}

static void on_log(void *opaque, enum hv_log_level level, const char *fields, const char *text)
{
    ((struct fake_vmbus_guest *)opaque)->n_logged++;
}

static const struct vmbus_host_ops host_ops = { .post_message = on_post_message,
                                                .signal_event = on_signal_event,
                                                .connect = on_connect,
                                                .disconnect = on_disconnect,
                                                .wake = on_wake };

static void make_server(struct fake_vmbus_guest *guest)
{
    struct vmbus_server_config config = {
        .gpa = &guest->gpa,
        .n_vps = guest->n_vps,
        .ops = &host_ops,
        .opaque = guest,
        .log = { .write = on_log, .opaque = guest, .max_level = HV_LOG_DEBUG }
    };

    assert_int_equal(vmbus_server_new(&config, &guest->server), 0);
}

void fake_vmbus_replace_server(struct fake_vmbus_guest *guest)
{
    guest->server = vmbus_server_free(guest->server);
    assert_int_equal(guest->n_connected, guest->n_disconnected);
    make_server(guest);
}

void fake_vmbus_start(struct fake_vmbus_guest *guest, unsigned n_vps)
{
    *guest = (struct fake_vmbus_guest){ .n_vps = n_vps, .next_gpadl = 0xE1E10 };
    guest->next_page = HV_PAGE_BYTES;
    guest->messages = calloc(FAKE_VMBUS_MAX_MESSAGES, sizeof(*guest->messages));
    assert_non_null(guest->messages);
    assert_int_equal(hv_gpa_space_init(&guest->gpa, 2 * FAKE_VMBUS_SLOT_BYTES, NULL), 0);
    assert_int_equal(hv_gpa_space_add_ram(&guest->gpa, 0, FAKE_VMBUS_SLOT_BYTES, 0), 0);
    assert_int_equal(hv_gpa_space_add_ram(&guest->gpa, FAKE_VMBUS_HIGH_RAM, FAKE_VMBUS_SLOT_BYTES,
                                          FAKE_VMBUS_SLOT_BYTES),
                     0);
    make_server(guest);
}

void fake_vmbus_stop(struct fake_vmbus_guest *guest)
{
    guest->server = vmbus_server_free(guest->server);
    assert_int_equal(guest->n_connected, guest->n_disconnected);
    hv_gpa_space_fini(&guest->gpa);
    free(guest->messages);
}

void fake_vmbus_turn(struct fake_vmbus_guest *guest)
{
    if (atomic_exchange(&guest->wants_sweep, false))
        vmbus_server_sweep(guest->server);
    if (vmbus_server_has_unsent(guest->server))
        vmbus_server_retry(guest->server);
}

/* Messages */

void fake_vmbus_post(struct fake_vmbus_guest *guest, const void *message, size_t bytes)
{
    vmbus_server_message(guest->server, message, bytes);
    fake_vmbus_turn(guest);
}

void fake_vmbus_post_bare(struct fake_vmbus_guest *guest, enum vmbus_wire_type type)
{
    struct vmbus_wire_header message = { .type = type };

    fake_vmbus_post(guest, &message, sizeof(message));
}

void fake_vmbus_post_relid(struct fake_vmbus_guest *guest, enum vmbus_wire_type type,
                           uint32_t relid)
{
    struct vmbus_wire_relid message = { .header.type = type, .relid = relid };

    fake_vmbus_post(guest, &message, sizeof(message));
}

uint32_t fake_vmbus_next_type(const struct fake_vmbus_guest *guest)
{
    struct vmbus_wire_header header;

    if (guest->n_messages == 0)
        return 0;
    memcpy(&header, guest->messages[guest->first].message, sizeof(header));
    return header.type;
}

void fake_vmbus_take(struct fake_vmbus_guest *guest, enum vmbus_wire_type type, void *ret,
                     size_t bytes)
{
    assert_int_equal(fake_vmbus_next_type(guest), type);
    assert_int_equal(guest->messages[guest->first].bytes, bytes);
    memcpy(ret, guest->messages[guest->first].message, bytes);
    guest->first = (guest->first + 1) % FAKE_VMBUS_MAX_MESSAGES;
    guest->n_messages--;
}

void fake_vmbus_ignore_messages(struct fake_vmbus_guest *guest)
{
    guest->n_messages = 0;
}

bool fake_vmbus_try_connect(struct fake_vmbus_guest *guest, uint32_t version)
{
    struct vmbus_wire_contact contact = { .header.type = VMBUS_WIRE_INITIATE_CONTACT,
                                          .version = version };
    struct vmbus_wire_version_response response;
    hv_gpa_t pages = fake_vmbus_alloc(guest, 3);
    bool is_v5 = version >= VMBUS_WIRE_VERSION_5_0;

    contact.interrupt_page = is_v5 ? VMBUS_SINT : pages;
    contact.monitor_page1 = pages + HV_PAGE_BYTES;
    contact.monitor_page2 = pages + 2 * HV_PAGE_BYTES;
    fake_vmbus_post(guest, &contact, sizeof(contact));
    fake_vmbus_take(guest, VMBUS_WIRE_VERSION_RESPONSE, &response, sizeof(response));
    if (response.is_supported)
        assert_int_equal(response.connection_id,
                         is_v5 ? VMBUS_CONNECTION_MESSAGES_V5 : VMBUS_CONNECTION_MESSAGES);
    assert_int_equal(response.connection_state, 0);
    guest->n_offers = 0;
    return response.is_supported;
}

void fake_vmbus_connect(struct fake_vmbus_guest *guest, uint32_t version)
{
    assert_true(fake_vmbus_try_connect(guest, version));
}

static void drop_offer(struct fake_vmbus_guest *guest, uint32_t relid)
{
    for (unsigned i = 0; i < guest->n_offers; i++) {
        if (guest->offers[i].relid == relid)
            guest->offers[i--] = guest->offers[--guest->n_offers];
    }
}

unsigned fake_vmbus_take_offers(struct fake_vmbus_guest *guest)
{
    unsigned n = 0;

    for (;;) {
        uint32_t type = fake_vmbus_next_type(guest);

        if (type == VMBUS_WIRE_OFFER) {
            assert_true(guest->n_offers < FAKE_VMBUS_MAX_OFFERS);
            fake_vmbus_take(guest, VMBUS_WIRE_OFFER, &guest->offers[guest->n_offers++],
                            sizeof(guest->offers[0]));
            n++;
        } else if (type == VMBUS_WIRE_RESCIND) {
            struct vmbus_wire_relid rescind;

            fake_vmbus_take(guest, VMBUS_WIRE_RESCIND, &rescind, sizeof(rescind));
            drop_offer(guest, rescind.relid);
        } else {
            return n;
        }
    }
}

void fake_vmbus_request_offers(struct fake_vmbus_guest *guest)
{
    struct vmbus_wire_header delivered;

    fake_vmbus_post_bare(guest, VMBUS_WIRE_REQUEST_OFFERS);
    (void)fake_vmbus_take_offers(guest);
    fake_vmbus_take(guest, VMBUS_WIRE_ALL_OFFERS_DELIVERED, &delivered, sizeof(delivered));
}

/* Memory */

hv_gpa_t fake_vmbus_alloc(struct fake_vmbus_guest *guest, unsigned n_pages)
{
    uint64_t bytes = (uint64_t)n_pages * HV_PAGE_BYTES;
    hv_gpa_t first = guest->next_page;

    if (first < FAKE_VMBUS_SLOT_BYTES && first + bytes > FAKE_VMBUS_SLOT_BYTES)
        first = FAKE_VMBUS_HIGH_RAM;
    guest->next_page = first + bytes;
    assert_int_equal(hv_gpa_fill(&guest->gpa, first, 0, bytes), 0);
    return first;
}

struct gpadl_message {
    union {
        struct vmbus_wire_gpadl_header header;
        struct vmbus_wire_gpadl_body body;
    };
    uint8_t room[VMBUS_WIRE_MAX_MESSAGE];
};

static uint32_t post_pages(struct fake_vmbus_guest *guest, struct gpadl_message *message,
                           size_t head_bytes, uint32_t max, const hv_gpa_t *pages, uint32_t n)
{
    uint32_t count = n < max ? n : max;
    uint8_t bytes[VMBUS_WIRE_MAX_MESSAGE];

    memcpy(bytes, message, head_bytes);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t page = pages[i] >> HV_PAGE_SHIFT;

        memcpy(bytes + head_bytes + i * sizeof(page), &page, sizeof(page));
    }
    fake_vmbus_post(guest, bytes, head_bytes + count * sizeof(uint64_t));
    return count;
}

uint32_t fake_vmbus_try_gpadl(struct fake_vmbus_guest *guest, uint32_t relid, uint32_t gpadl,
                              const hv_gpa_t *pages, uint32_t n_pages)
{
    struct vmbus_wire_gpadl_created created;
    struct gpadl_message message = { .header = { .header.type = VMBUS_WIRE_GPADL_HEADER,
                                                 .relid = relid,
                                                 .gpadl = gpadl,
                                                 .range_bytes = (uint16_t)(8 + 8 * n_pages),
                                                 .n_ranges = 1,
                                                 .byte_count = n_pages * HV_PAGE_BYTES } };
    uint32_t done = post_pages(guest, &message, sizeof(message.header), VMBUS_WIRE_HEADER_PAGES,
                               pages, n_pages);

    while (done < n_pages) {
        message.body =
            (struct vmbus_wire_gpadl_body){ .header.type = VMBUS_WIRE_GPADL_BODY, .gpadl = gpadl };
        done += post_pages(guest, &message, sizeof(message.body), VMBUS_WIRE_BODY_PAGES,
                           pages + done, n_pages - done);
    }
    fake_vmbus_take(guest, VMBUS_WIRE_GPADL_CREATED, &created, sizeof(created));
    assert_int_equal(created.relid, relid);
    assert_int_equal(created.gpadl, gpadl);
    return created.status;
}

uint32_t fake_vmbus_make_gpadl(struct fake_vmbus_guest *guest, uint32_t relid, hv_gpa_t first,
                               uint32_t n_pages)
{
    hv_autofree hv_gpa_t *pages = calloc(n_pages, sizeof(*pages));
    uint32_t gpadl = guest->next_gpadl++;

    assert_non_null(pages);
    for (uint32_t i = 0; i < n_pages; i++)
        pages[i] = first + (uint64_t)i * HV_PAGE_BYTES;
    assert_int_equal(fake_vmbus_try_gpadl(guest, relid, gpadl, pages, n_pages), 0);
    return gpadl;
}

void fake_vmbus_end_gpadl(struct fake_vmbus_guest *guest, uint32_t relid, uint32_t gpadl)
{
    struct vmbus_wire_gpadl_teardown teardown = { .header.type = VMBUS_WIRE_GPADL_TEARDOWN,
                                                  .relid = relid,
                                                  .gpadl = gpadl };
    struct vmbus_wire_gpadl_torndown torndown;

    fake_vmbus_post(guest, &teardown, sizeof(teardown));
    (void)fake_vmbus_take_offers(guest); /* sub-channels are rescinded when a primary closes */
    fake_vmbus_take(guest, VMBUS_WIRE_GPADL_TORNDOWN, &torndown, sizeof(torndown));
    assert_int_equal(torndown.gpadl, gpadl);
}

/* Channels */

static void ring_alloc(struct fake_vmbus_guest *guest, struct fake_vmbus_ring *ring, uint32_t n)
{
    hv_gpa_t first = fake_vmbus_alloc(guest, guest->is_scattered ? 2 * n : n);

    assert_true(n <= FAKE_VMBUS_MAX_RING_PAGES);
    ring->n_pages = n;
    for (uint32_t i = 0; i < n; i++)
        ring->pages[i] =
            first + (uint64_t)HV_PAGE_BYTES * (guest->is_scattered ? 2 * (n - 1 - i) : i);
    fake_vmbus_ring_set(guest, ring, VMBUS_WIRE_RING_FEATURES, VMBUS_WIRE_RING_HAS_PENDING);
}

uint32_t fake_vmbus_try_open(struct fake_vmbus_guest *guest, uint32_t relid, uint32_t out_pages,
                             uint32_t in_pages, const uint8_t *user, struct fake_vmbus_channel *ret)
{
    hv_gpa_t pages[2 * FAKE_VMBUS_MAX_RING_PAGES];
    struct vmbus_wire_open_result result;
    struct vmbus_wire_open open = {
        .header.type = VMBUS_WIRE_OPEN, .relid = relid, .open_id = relid, .split_page = out_pages
    };

    *ret = (struct fake_vmbus_channel){ .guest = guest, .relid = relid };
    ring_alloc(guest, &ret->out, out_pages);
    ring_alloc(guest, &ret->in, in_pages);
    memcpy(pages, ret->out.pages, out_pages * sizeof(pages[0]));
    memcpy(pages + out_pages, ret->in.pages, in_pages * sizeof(pages[0]));
    ret->gpadl = guest->next_gpadl++;
    assert_int_equal(fake_vmbus_try_gpadl(guest, relid, ret->gpadl, pages, out_pages + in_pages),
                     0);
    open.gpadl = ret->gpadl;
    if (user)
        memcpy(open.user, user, sizeof(open.user));
    fake_vmbus_post(guest, &open, sizeof(open));
    (void)fake_vmbus_take_offers(guest);
    fake_vmbus_take(guest, VMBUS_WIRE_OPEN_RESULT, &result, sizeof(result));
    assert_int_equal(result.relid, relid);
    assert_int_equal(result.open_id, relid);
    return result.status;
}

void fake_vmbus_open(struct fake_vmbus_guest *guest, uint32_t relid, uint32_t out_pages,
                     uint32_t in_pages, struct fake_vmbus_channel *ret)
{
    assert_int_equal(fake_vmbus_try_open(guest, relid, out_pages, in_pages, NULL, ret), 0);
}

void fake_vmbus_close(struct fake_vmbus_channel *channel)
{
    fake_vmbus_post_relid(channel->guest, VMBUS_WIRE_CLOSE, channel->relid);
    fake_vmbus_end_gpadl(channel->guest, channel->relid, channel->gpadl);
}

/* Rings */

static uint32_t *field_of(struct fake_vmbus_guest *guest, const struct fake_vmbus_ring *ring,
                          enum vmbus_wire_ring field)
{
    uint64_t bytes;

    return hv_gpa_window(&guest->gpa, ring->pages[0] + field, sizeof(uint32_t), &bytes);
}

uint32_t fake_vmbus_ring_get(struct fake_vmbus_guest *guest, const struct fake_vmbus_ring *ring,
                             enum vmbus_wire_ring field)
{
    return __atomic_load_n(field_of(guest, ring, field), __ATOMIC_SEQ_CST);
}

void fake_vmbus_ring_set(struct fake_vmbus_guest *guest, const struct fake_vmbus_ring *ring,
                         enum vmbus_wire_ring field, uint32_t value)
{
    __atomic_store_n(field_of(guest, ring, field), value, __ATOMIC_SEQ_CST);
}

static uint32_t data_bytes(const struct fake_vmbus_ring *ring)
{
    return (ring->n_pages - 1) * HV_PAGE_BYTES;
}

/* The address of a data index, and how much of `bytes` lies in its page */
static hv_gpa_t data_gpa(const struct fake_vmbus_ring *ring, uint32_t at, uint32_t bytes,
                         uint32_t *ret_part)
{
    uint32_t in_page = at % HV_PAGE_BYTES, left = HV_PAGE_BYTES - in_page;

    *ret_part = left < bytes ? left : bytes;
    return ring->pages[1 + at % data_bytes(ring) / HV_PAGE_BYTES] + in_page;
}

void fake_vmbus_ring_write(struct fake_vmbus_guest *guest, const struct fake_vmbus_ring *ring,
                           uint32_t at, const void *from, uint32_t bytes)
{
    const uint8_t *next = from;

    while (bytes > 0) {
        uint32_t part;
        hv_gpa_t gpa = data_gpa(ring, at, bytes, &part);

        assert_int_equal(hv_gpa_write(&guest->gpa, gpa, next, part), 0);
        next += part;
        at += part;
        bytes -= part;
    }
}

static void ring_read(struct fake_vmbus_guest *guest, const struct fake_vmbus_ring *ring,
                      uint32_t at, void *ret, uint32_t bytes)
{
    uint8_t *to = ret;

    while (bytes > 0) {
        uint32_t part;
        hv_gpa_t gpa = data_gpa(ring, at, bytes, &part);

        assert_int_equal(hv_gpa_read(&guest->gpa, gpa, to, part), 0);
        to += part;
        at += part;
        bytes -= part;
    }
}

void fake_vmbus_signal(struct fake_vmbus_channel *channel)
{
    struct vmbus_channel *host = channel->guest->channels[channel->relid];
    uint64_t one = 1;

    channel->n_signals++;
    if (!host)
        return;
    if (vmbus_channel_is_polled_by_vsp(host))
        assert_int_equal(write(vmbus_channel_doorbell(host), &one, sizeof(one)), sizeof(one));
    else
        vmbus_channel_signalled(host);
}

static uint32_t used(const struct fake_vmbus_ring *ring, uint32_t read, uint32_t write)
{
    return (write + data_bytes(ring) - read) % data_bytes(ring);
}

bool fake_vmbus_write(struct fake_vmbus_channel *channel, uint16_t type, uint64_t transaction,
                      uint16_t flags, const void *extension, uint32_t extension_bytes,
                      const void *payload, uint32_t bytes)
{
    struct fake_vmbus_guest *guest = channel->guest;
    struct fake_vmbus_ring *ring = &channel->out;
    uint32_t write = fake_vmbus_ring_get(guest, ring, VMBUS_WIRE_RING_WRITE);
    uint32_t read = fake_vmbus_ring_get(guest, ring, VMBUS_WIRE_RING_READ);
    uint32_t padded = (bytes + 7) & ~7U, at = write;
    uint32_t total = (uint32_t)sizeof(struct vmbus_wire_packet) + extension_bytes + padded;
    uint64_t zero = 0, trailer = (uint64_t)write << 32;
    struct vmbus_wire_packet head = { .type = type,
                                      .payload_at8 = (uint16_t)((16 + extension_bytes) / 8),
                                      .bytes8 = (uint16_t)(total / 8),
                                      .flags = flags,
                                      .transaction = transaction };

    if (data_bytes(ring) - used(ring, read, write) <= total + sizeof(trailer))
        return false;
    fake_vmbus_ring_write(guest, ring, at, &head, sizeof(head));
    at += sizeof(head);
    fake_vmbus_ring_write(guest, ring, at, extension, extension_bytes);
    at += extension_bytes;
    fake_vmbus_ring_write(guest, ring, at, payload, bytes);
    fake_vmbus_ring_write(guest, ring, at + bytes, &zero, padded - bytes);
    fake_vmbus_ring_write(guest, ring, at + padded, &trailer, sizeof(trailer));
    fake_vmbus_ring_set(guest, ring, VMBUS_WIRE_RING_WRITE,
                        (at + padded + (uint32_t)sizeof(trailer)) % data_bytes(ring));
    if (fake_vmbus_ring_get(guest, ring, VMBUS_WIRE_RING_MASK) == 0 &&
        fake_vmbus_ring_get(guest, ring, VMBUS_WIRE_RING_READ) == write)
        fake_vmbus_signal(channel);
    return true;
}

void fake_vmbus_send(struct fake_vmbus_channel *channel, uint64_t transaction,
                     bool wants_completion, const void *payload, uint32_t bytes)
{
    assert_true(fake_vmbus_write(channel, VMBUS_PACKET_INBAND, transaction, wants_completion, NULL,
                                 0, payload, bytes));
}

void fake_vmbus_send_direct(struct fake_vmbus_channel *channel, uint64_t transaction, hv_gpa_t gpa,
                            uint32_t data_bytes, const void *payload, uint32_t bytes)
{
    uint32_t in_page = gpa % HV_PAGE_BYTES;
    uint32_t n_pages = (in_page + data_bytes + HV_PAGE_BYTES - 1) / HV_PAGE_BYTES;
    uint32_t extension_bytes = 16 + 8 * n_pages;
    hv_autofree uint64_t *extension = calloc(1, extension_bytes);

    assert_non_null(extension);
    extension[0] = UINT64_C(1) << 32; /* reserved, one range */
    extension[1] = data_bytes | (uint64_t)in_page << 32;
    for (uint32_t i = 0; i < n_pages; i++)
        extension[2 + i] = (gpa >> HV_PAGE_SHIFT) + i;
    assert_true(fake_vmbus_write(channel, VMBUS_PACKET_GPA_DIRECT, transaction,
                                 VMBUS_WIRE_WANTS_COMPLETION, extension, extension_bytes, payload,
                                 bytes));
}

void fake_vmbus_make_room(struct fake_vmbus_channel *channel)
{
    struct fake_vmbus_guest *guest = channel->guest;
    struct fake_vmbus_ring *ring = &channel->in;
    uint32_t before = fake_vmbus_ring_get(guest, ring, VMBUS_WIRE_RING_READ);
    uint32_t freed = used(ring, before, channel->read), pending, room;

    fake_vmbus_ring_set(guest, ring, VMBUS_WIRE_RING_READ, channel->read);
    pending = fake_vmbus_ring_get(guest, ring, VMBUS_WIRE_RING_PENDING);
    room = data_bytes(ring) -
           used(ring, channel->read, fake_vmbus_ring_get(guest, ring, VMBUS_WIRE_RING_WRITE));
    if (pending != 0 && room > pending && room - freed <= pending)
        fake_vmbus_signal(channel);
}

bool fake_vmbus_read(struct fake_vmbus_channel *channel, struct fake_vmbus_packet *ret)
{
    struct fake_vmbus_guest *guest = channel->guest;
    struct fake_vmbus_ring *ring = &channel->in;
    struct vmbus_wire_packet head;
    uint32_t available;
    uint64_t trailer;

    fake_vmbus_turn(guest);
    available = used(ring, channel->read, fake_vmbus_ring_get(guest, ring, VMBUS_WIRE_RING_WRITE));
    if (available == 0)
        return false;
    ring_read(guest, ring, channel->read, &head, sizeof(head));
    assert_true(head.payload_at8 >= 2 && head.payload_at8 <= head.bytes8);
    assert_true(head.bytes8 * 8U + sizeof(trailer) <= available);
    ret->type = head.type;
    ret->flags = head.flags;
    ret->transaction = head.transaction;
    ret->extension_bytes = head.payload_at8 * 8U - 16;
    ret->bytes = (head.bytes8 - head.payload_at8) * 8U;
    assert_true(ret->extension_bytes <= sizeof(ret->extension));
    assert_true(ret->bytes <= sizeof(ret->payload));
    ring_read(guest, ring, channel->read + 16, ret->extension, ret->extension_bytes);
    ring_read(guest, ring, channel->read + head.payload_at8 * 8U, ret->payload, ret->bytes);
    ring_read(guest, ring, channel->read + head.bytes8 * 8U, &trailer, sizeof(trailer));
    assert_int_equal(trailer >> 32, channel->read);
    channel->read = (channel->read + head.bytes8 * 8U + 8) % data_bytes(ring);
    if (!channel->is_lazy)
        fake_vmbus_make_room(channel);
    return true;
}

void fake_vmbus_wait(struct fake_vmbus_channel *channel, struct fake_vmbus_packet *ret)
{
    uint64_t until = hv_clock_monotonic_ns() + 5 * HV_NS_PER_SEC;

    while (!fake_vmbus_read(channel, ret)) {
        assert_true(hv_clock_monotonic_ns() < until);
        (void)usleep(100);
    }
}
