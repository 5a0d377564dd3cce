/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/vmbus/wire.h"

#include "vmwp/vmbus/ring_priv.h"

#include "hvcore/base/own.h"

#include <string.h>

/* Tell the guest of read bytes when they are this part of the ring, or when it is empty. */
enum { PUBLISH_PART = 8 };

static uint32_t *control(const struct vmbus_ring_memory *memory, enum vmbus_wire_ring offset)
{
    return (uint32_t *)(void *)(memory->pages[0].host + offset);
}

static uint32_t control_load(const struct vmbus_ring_memory *memory, enum vmbus_wire_ring offset)
{
    return __atomic_load_n(control(memory, offset), __ATOMIC_ACQUIRE);
}

static void control_store(const struct vmbus_ring_memory *memory, enum vmbus_wire_ring offset,
                          uint32_t value)
{
    __atomic_store_n(control(memory, offset), value, __ATOMIC_RELEASE);
    hv_gpa_note_written(memory->gpa, memory->pages[0].gpa + offset, sizeof(value));
}

static void full_barrier(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}

static bool is_index(const struct vmbus_ring_memory *memory, uint32_t index)
{
    return index < memory->data_bytes && index % 8 == 0;
}

static uint32_t wrap(const struct vmbus_ring_memory *memory, uint32_t offset)
{
    return offset >= memory->data_bytes ? offset - memory->data_bytes : offset;
}

/* Bytes from `from` on to `to`, both valid indices */
static uint32_t distance(const struct vmbus_ring_memory *memory, uint32_t from, uint32_t to)
{
    return to >= from ? to - from : memory->data_bytes - from + to;
}

/* The memory behind a data index, and how much of `bytes` lies there in one piece */
static struct vmbus_ring_page piece(const struct vmbus_ring_memory *memory, uint32_t at,
                                    uint32_t bytes, uint32_t *ret_bytes)
{
    uint32_t in_page = at % HV_PAGE_BYTES;
    const struct vmbus_ring_page *page = &memory->pages[1 + at / HV_PAGE_BYTES];
    uint32_t left = memory->is_linear ? memory->data_bytes - at : HV_PAGE_BYTES - in_page;

    *ret_bytes = left < bytes ? left : bytes;
    return (struct vmbus_ring_page){ .host = page->host + in_page, .gpa = page->gpa + in_page };
}

static void memory_read(const struct vmbus_ring_memory *memory, uint32_t at, void *ret,
                        uint32_t bytes)
{
    uint8_t *to = ret;

    while (bytes > 0) {
        uint32_t part;
        struct vmbus_ring_page from = piece(memory, at, bytes, &part);

        memcpy(to, from.host, part);
        to += part;
        bytes -= part;
        at = wrap(memory, at + part);
    }
}

/* Write bytes, or zeroes when from is NULL; noted by the caller. Returns the index after them. */
static uint32_t memory_write(const struct vmbus_ring_memory *memory, uint32_t at, const void *from,
                             uint32_t bytes)
{
    const uint8_t *next = from;

    while (bytes > 0) {
        uint32_t part;
        struct vmbus_ring_page to = piece(memory, at, bytes, &part);

        if (next)
            memcpy(to.host, next, part);
        else
            memset(to.host, 0, part);
        next = next ? next + part : NULL;
        bytes -= part;
        at = wrap(memory, at + part);
    }
    return at;
}

/* Guest memory has been written to from a data index on. */
static void memory_note(const struct vmbus_ring_memory *memory, uint32_t at, uint32_t bytes)
{
    while (bytes > 0) {
        uint32_t part;
        struct vmbus_ring_page to = piece(memory, at, bytes, &part);

        hv_gpa_note_written(memory->gpa, to.gpa, part);
        bytes -= part;
        at = wrap(memory, at + part);
    }
}

/* Put the pages [first, first + n) of the ranges into pages[]. */
static int collect_pages(struct vmbus_ring_memory *memory, const struct vmbus_range *ranges,
                         unsigned n_ranges, uint32_t first, uint32_t n)
{
    uint32_t at = 0, n_found = 0;

    for (unsigned i = 0; i < n_ranges && n_found < n; i++) {
        for (uint32_t byte = 0; byte < ranges[i].bytes && n_found < n; byte += HV_PAGE_BYTES) {
            struct vmbus_ring_page *page = &memory->pages[n_found];
            uint64_t bytes;

            if (at++ < first)
                continue;
            page->gpa = ranges[i].gpa + byte;
            page->host = hv_gpa_window(memory->gpa, page->gpa, HV_PAGE_BYTES, &bytes);
            if (!page->host || bytes != HV_PAGE_BYTES)
                return -EFAULT;
            n_found++;
        }
    }
    return n_found == n ? 0 : -EINVAL;
}

static bool are_linear(const struct vmbus_ring_page *pages, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++) {
        if (pages[i].gpa != pages[0].gpa + (uint64_t)i * HV_PAGE_BYTES ||
            pages[i].host != pages[0].host + (size_t)i * HV_PAGE_BYTES)
            return false;
    }
    return true;
}

static void memory_fini(struct vmbus_ring_memory *memory)
{
    free(memory->pages);
    *memory = (struct vmbus_ring_memory){ 0 };
}

static int memory_init(struct vmbus_ring_memory *memory, struct hv_gpa_space *gpa,
                       const struct vmbus_range *ranges, unsigned n_ranges, uint32_t first,
                       uint32_t n_pages)
{
    int r;

    *memory = (struct vmbus_ring_memory){ .gpa = gpa };
    if (n_pages < 2 || n_pages > UINT32_MAX / HV_PAGE_BYTES)
        return -EINVAL;
    memory->pages = calloc(n_pages, sizeof(*memory->pages));
    if (!memory->pages)
        return -ENOMEM;
    memory->data_bytes = (n_pages - 1) * HV_PAGE_BYTES;
    r = collect_pages(memory, ranges, n_ranges, first, n_pages);
    if (r < 0) {
        memory_fini(memory);
        return r;
    }
    memory->is_linear = are_linear(memory->pages + 1, n_pages - 1);
    return 0;
}

int vmbus_ring_in_init(struct vmbus_ring_in *ring, struct hv_gpa_space *gpa,
                       const struct vmbus_range *ranges, unsigned n_ranges, uint32_t first,
                       uint32_t n_pages)
{
    int r;

    *ring = (struct vmbus_ring_in){ 0 };
    r = memory_init(&ring->memory, gpa, ranges, n_ranges, first, n_pages);
    if (r < 0)
        return r;
    ring->read = control_load(&ring->memory, VMBUS_WIRE_RING_READ);
    ring->published = ring->read;
    ring->write = ring->read;
    if (!is_index(&ring->memory, ring->read)) {
        memory_fini(&ring->memory);
        return -EINVAL;
    }
    control_store(&ring->memory, VMBUS_WIRE_RING_MASK, 0);
    return 0;
}

int vmbus_ring_out_init(struct vmbus_ring_out *ring, struct hv_gpa_space *gpa,
                        const struct vmbus_range *ranges, unsigned n_ranges, uint32_t first,
                        uint32_t n_pages)
{
    int r;

    *ring = (struct vmbus_ring_out){ 0 };
    r = memory_init(&ring->memory, gpa, ranges, n_ranges, first, n_pages);
    if (r < 0)
        return r;
    ring->write = control_load(&ring->memory, VMBUS_WIRE_RING_WRITE);
    ring->published = ring->write;
    if (!is_index(&ring->memory, ring->write)) {
        memory_fini(&ring->memory);
        return -EINVAL;
    }
    return 0;
}

void vmbus_ring_in_fini(struct vmbus_ring_in *ring)
{
    memory_fini(&ring->memory);
}

void vmbus_ring_out_fini(struct vmbus_ring_out *ring)
{
    memory_fini(&ring->memory);
}

static void visit_index(const struct vmbus_ring_memory *memory, struct hv_fields *fields,
                        uint32_t *index)
{
    hv_field_u32(fields, index);
    if (!is_index(memory, *index))
        hv_fields_refuse(fields);
}

/* The mask stands in guest memory, which taking the ring has written to. */
void vmbus_ring_in_visit(struct vmbus_ring_in *ring, struct hv_fields *fields)
{
    visit_index(&ring->memory, fields, &ring->read);
    visit_index(&ring->memory, fields, &ring->published);
    visit_index(&ring->memory, fields, &ring->write);
    hv_field_bool(fields, &ring->is_masked);
    if (fields->is_reading && hv_fields_ok(fields))
        control_store(&ring->memory, VMBUS_WIRE_RING_MASK, ring->is_masked);
}

void vmbus_ring_out_visit(struct vmbus_ring_out *ring, struct hv_fields *fields)
{
    visit_index(&ring->memory, fields, &ring->write);
    visit_index(&ring->memory, fields, &ring->published);
    hv_field_u32(fields, &ring->pending);
}

/*
 * Tell the guest what was read. It wants a signal when it waits for room and has enough only now.
 *
 * spec: hv_pkt_iter_close() in Linux 6.1 drivers/hv/ring_buffer.c, with the roles exchanged
 */
static bool in_publish(struct vmbus_ring_in *ring)
{
    const struct vmbus_ring_memory *memory = &ring->memory;
    uint32_t freed = distance(memory, ring->published, ring->read);
    uint32_t pending, write, room;

    if (freed == 0)
        return false;
    control_store(memory, VMBUS_WIRE_RING_READ, ring->read);
    ring->published = ring->read;
    full_barrier(); /* the new read index is seen before pending is read */
    pending = control_load(memory, VMBUS_WIRE_RING_PENDING);
    if (pending == 0)
        return false;
    write = control_load(memory, VMBUS_WIRE_RING_WRITE);
    if (!is_index(memory, write))
        return false;
    room = memory->data_bytes - distance(memory, ring->read, write);
    return room > pending && room - freed <= pending;
}

static bool in_refresh(struct vmbus_ring_in *ring)
{
    uint32_t write = control_load(&ring->memory, VMBUS_WIRE_RING_WRITE);

    if (!is_index(&ring->memory, write))
        return false;
    ring->write = write;
    return true;
}

/*
 * Nothing is left to read: let the guest signal again, then look once more, for it may have written
 * while it was masked.
 */
static bool in_unmask(struct vmbus_ring_in *ring, bool *ret_signal)
{
    if (in_publish(ring))
        *ret_signal = true;
    if (!ring->is_masked)
        return true; /* whatever came since the last look is signalled */
    control_store(&ring->memory, VMBUS_WIRE_RING_MASK, 0);
    ring->is_masked = false;
    full_barrier();
    return in_refresh(ring);
}

int vmbus_ring_in_available(struct vmbus_ring_in *ring, uint32_t *ret_bytes, bool *ret_signal)
{
    if (ring->write == ring->read && !in_refresh(ring))
        return VMBUS_E_BROKEN;
    if (ring->write == ring->read && !in_unmask(ring, ret_signal))
        return VMBUS_E_BROKEN;
    if (ring->write != ring->read && !ring->is_masked) {
        control_store(&ring->memory, VMBUS_WIRE_RING_MASK, 1);
        ring->is_masked = true;
    }
    *ret_bytes = distance(&ring->memory, ring->read, ring->write);
    return 0;
}

uint32_t vmbus_ring_in_unread(const struct vmbus_ring_in *ring)
{
    uint32_t write = control_load(&ring->memory, VMBUS_WIRE_RING_WRITE);

    return is_index(&ring->memory, write) ? distance(&ring->memory, ring->read, write) : 0;
}

void vmbus_ring_in_copy(const struct vmbus_ring_in *ring, uint32_t offset, void *ret,
                        uint32_t bytes)
{
    hv_assert(offset + bytes <= distance(&ring->memory, ring->read, ring->write));
    memory_read(&ring->memory, wrap(&ring->memory, ring->read + offset), ret, bytes);
}

bool vmbus_ring_in_advance(struct vmbus_ring_in *ring, uint32_t bytes)
{
    const struct vmbus_ring_memory *memory = &ring->memory;

    ring->read = wrap(memory, ring->read + bytes);
    if (distance(memory, ring->published, ring->read) < memory->data_bytes / PUBLISH_PART)
        return false;
    return in_publish(ring);
}

/* Is there room, which is never used up whole? Returns 0, VMBUS_E_FULL or VMBUS_E_BROKEN. */
static int out_has_room(const struct vmbus_ring_out *ring, uint32_t bytes)
{
    const struct vmbus_ring_memory *memory = &ring->memory;
    uint32_t read = control_load(memory, VMBUS_WIRE_RING_READ);

    if (!is_index(memory, read))
        return VMBUS_E_BROKEN;
    return memory->data_bytes - distance(memory, read, ring->write) > bytes ? 0 : VMBUS_E_FULL;
}

/*
 * Have the guest signal when there is room for the largest packet that was refused, and look once
 * more. It is shown all there is before, for it counts the room from what it sees.
 */
static int out_wait(struct vmbus_ring_out *ring, uint32_t bytes, bool *ret_signal)
{
    if (vmbus_ring_out_publish(ring))
        *ret_signal = true;
    if (bytes > ring->pending) {
        ring->pending = bytes;
        control_store(&ring->memory, VMBUS_WIRE_RING_PENDING, bytes);
    }
    full_barrier();
    return out_has_room(ring, bytes);
}

int vmbus_ring_out_write(struct vmbus_ring_out *ring, const struct vmbus_ring_outgoing *out,
                         bool *ret_signal)
{
    const struct vmbus_ring_memory *memory = &ring->memory;
    uint32_t padding = (uint32_t)-out->payload_bytes % 8;
    uint32_t bytes = sizeof(*out->descriptor) + out->extension_bytes + out->payload_bytes + padding;
    uint32_t need = bytes + VMBUS_WIRE_TRAILER_BYTES;
    uint64_t trailer = (uint64_t)ring->write << 32;
    uint32_t at = ring->write;
    int r;

    if (need >= memory->data_bytes)
        return VMBUS_E_BROKEN; /* it never fits into the ring that the guest chose */
    r = out_has_room(ring, need);
    if (r == VMBUS_E_FULL)
        r = out_wait(ring, need, ret_signal);
    if (r != 0)
        return r;
    out->descriptor->bytes8 = (uint16_t)(bytes / 8);
    at = memory_write(memory, at, out->descriptor, sizeof(*out->descriptor));
    at = memory_write(memory, at, out->extension, out->extension_bytes);
    at = memory_write(memory, at, out->payload, out->payload_bytes);
    at = memory_write(memory, at, NULL, padding);
    at = memory_write(memory, at, &trailer, sizeof(trailer));
    memory_note(memory, ring->write, need);
    ring->write = at;
    if (ring->pending != 0 && need >= ring->pending) {
        ring->pending = 0;
        control_store(memory, VMBUS_WIRE_RING_PENDING, 0);
    }
    return 0;
}

/* spec: hv_signal_on_write() in Linux 6.1 drivers/hv/ring_buffer.c, with the roles exchanged */
bool vmbus_ring_out_publish(struct vmbus_ring_out *ring)
{
    uint32_t before = ring->published;

    if (before == ring->write)
        return false;
    control_store(&ring->memory, VMBUS_WIRE_RING_WRITE, ring->write);
    ring->published = ring->write;
    full_barrier(); /* the new write index is seen before the mask is read */
    if (control_load(&ring->memory, VMBUS_WIRE_RING_MASK) != 0)
        return false;
    return control_load(&ring->memory, VMBUS_WIRE_RING_READ) == before;
}
