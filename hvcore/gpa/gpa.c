/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/gpa.h"

#include "hvcore/base/arith.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

int hv_gpa_space_init(struct hv_gpa_space *space, uint64_t ram_bytes, struct hv_error **reterr)
{
    hv_autofd int fd = -1;

    if (ram_bytes == 0 || ram_bytes % HV_PAGE_BYTES != 0)
        return hv_error_set(reterr, -EINVAL, "vm.memory.size",
                            "Guest memory of %" PRIu64 " bytes is not a whole number of pages.",
                            ram_bytes);
    fd = memfd_create("guest-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)ram_bytes) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        int r = -errno;

        return hv_error_set(reterr, r, "vm.memory.reserve",
                            "The host cannot reserve %" PRIu64 " MiB of guest memory: %s.",
                            ram_bytes >> 20, strerror(-r));
    }
    *space = (struct hv_gpa_space){ .memfd = HV_TAKE_FD(fd), .ram_bytes = ram_bytes };
    return 0;
}

static void slot_unmap(struct hv_gpa_slot *slot)
{
    if (slot->host)
        (void)munmap(slot->host - HV_PAGE_BYTES, slot->bytes + 2 * HV_PAGE_BYTES);
    if (slot->page_flags)
        (void)munmap((void *)(uintptr_t)slot->page_flags, slot->bytes >> HV_PAGE_SHIFT);
    slot->host = NULL;
    slot->page_flags = NULL;
}

void hv_gpa_space_fini(struct hv_gpa_space *space)
{
    for (unsigned i = 0; i < space->n_slots; i++)
        slot_unmap(&space->slots[i]);
    space->n_slots = 0;
    if (space->ram_bytes != 0)
        space->memfd = hv_close(space->memfd);
    space->ram_bytes = 0;
}

static bool overlaps_a_slot(const struct hv_gpa_space *space, hv_gpa_t first, uint64_t bytes)
{
    for (unsigned i = 0; i < space->n_slots; i++) {
        const struct hv_gpa_slot *slot = &space->slots[i];

        if (first < slot->first + slot->bytes && slot->first < first + bytes)
            return true;
    }
    return false;
}

/* Map the slot's part of the memfd with an inaccessible guard page on both sides. */
static int slot_map(struct hv_gpa_slot *slot, int memfd, uint64_t memfd_offset)
{
    uint8_t *reserved, *host;
    void *flags;

    reserved = mmap(NULL, slot->bytes + 2 * HV_PAGE_BYTES, PROT_NONE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED)
        return -errno;
    slot->host = reserved + HV_PAGE_BYTES;
    host = mmap(slot->host, slot->bytes, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_FIXED | MAP_NORESERVE, memfd, (off_t)memfd_offset);
    if (host == MAP_FAILED)
        return -errno;
    (void)madvise(slot->host, slot->bytes, MADV_DONTDUMP);
    flags = mmap(NULL, slot->bytes >> HV_PAGE_SHIFT, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (flags == MAP_FAILED)
        return -errno;
    slot->page_flags = flags;
    return 0;
}

int hv_gpa_space_add_ram(struct hv_gpa_space *space, hv_gpa_t first, uint64_t bytes,
                         uint64_t memfd_offset)
{
    struct hv_gpa_slot slot = { .first = first, .bytes = bytes };
    uint64_t end;
    int r;

    if (bytes == 0 || (first | bytes | memfd_offset) % HV_PAGE_BYTES != 0 ||
        !hv_add_u64(first, bytes, &end) ||
        !hv_range_within(memfd_offset, bytes, space->ram_bytes) ||
        overlaps_a_slot(space, first, bytes))
        return -EINVAL;
    if (space->n_slots == HV_GPA_MAX_SLOTS)
        return -ENOSPC;
    r = slot_map(&slot, space->memfd, memfd_offset);
    if (r < 0) {
        slot_unmap(&slot);
        return r;
    }
    space->slots[space->n_slots++] = slot;
    if (end > space->end)
        space->end = end;
    return 0;
}

void hv_gpa_space_watch_code(struct hv_gpa_space *space, hv_gpa_code_written_fn *fn, void *opaque)
{
    space->code_written = fn;
    space->code_written_opaque = opaque;
}

static bool is_all_ram(struct hv_gpa_space *space, hv_gpa_t gpa, uint64_t bytes)
{
    while (bytes > 0) {
        struct hv_gpa_slot *slot = hv_gpa_slot_of(space, gpa);
        uint64_t part;

        if (!slot)
            return false;
        part = slot->first + slot->bytes - gpa;
        if (part >= bytes)
            return true;
        gpa += part;
        bytes -= part;
    }
    return true;
}

/* Bytes from gpa to the end of its slot, at most `bytes`; the range is known to be RAM. */
static size_t part_in_slot(const struct hv_gpa_slot *slot, hv_gpa_t gpa, uint64_t bytes)
{
    uint64_t left = slot->first + slot->bytes - gpa;

    return left < bytes ? left : bytes;
}

/* Tell the watcher of written pages that hold decoded code, and take pages out of the clean set.
 * The fence pairs with the one between setting the flag and reading the code. */
static void note_written(struct hv_gpa_space *space, struct hv_gpa_slot *slot, hv_gpa_t gpa,
                         size_t bytes)
{
    uint64_t page = (gpa - slot->first) >> HV_PAGE_SHIFT;
    uint64_t last = (gpa - slot->first + bytes - 1) >> HV_PAGE_SHIFT;
    bool has_code = false;

    atomic_thread_fence(memory_order_seq_cst);
    for (; page <= last; page++) {
        uint8_t flags = atomic_load_explicit(&slot->page_flags[page], memory_order_relaxed);

        has_code |= flags & HV_GPA_PAGE_CODE;
        if (flags & HV_GPA_PAGE_CLEAN)
            atomic_fetch_and(&slot->page_flags[page], (uint8_t)~HV_GPA_PAGE_CLEAN);
    }
    if (has_code && space->code_written)
        space->code_written(space->code_written_opaque, gpa, bytes);
}

int hv_gpa_read(struct hv_gpa_space *space, hv_gpa_t gpa, void *ret, size_t bytes)
{
    uint8_t *to = ret;

    if (!is_all_ram(space, gpa, bytes))
        return -EFAULT;
    while (bytes > 0) {
        struct hv_gpa_slot *slot = hv_gpa_slot_of(space, gpa);
        size_t part = part_in_slot(slot, gpa, bytes);

        memcpy(to, slot->host + (gpa - slot->first), part);
        to += part;
        gpa += part;
        bytes -= part;
    }
    return 0;
}

int hv_gpa_write(struct hv_gpa_space *space, hv_gpa_t gpa, const void *from, size_t bytes)
{
    const uint8_t *at = from;

    if (!is_all_ram(space, gpa, bytes))
        return -EFAULT;
    while (bytes > 0) {
        struct hv_gpa_slot *slot = hv_gpa_slot_of(space, gpa);
        size_t part = part_in_slot(slot, gpa, bytes);

        memcpy(slot->host + (gpa - slot->first), at, part);
        note_written(space, slot, gpa, part);
        at += part;
        gpa += part;
        bytes -= part;
    }
    return 0;
}

int hv_gpa_fill(struct hv_gpa_space *space, hv_gpa_t gpa, uint8_t value, size_t bytes)
{
    if (!is_all_ram(space, gpa, bytes))
        return -EFAULT;
    while (bytes > 0) {
        struct hv_gpa_slot *slot = hv_gpa_slot_of(space, gpa);
        size_t part = part_in_slot(slot, gpa, bytes);

        memset(slot->host + (gpa - slot->first), value, part);
        note_written(space, slot, gpa, part);
        gpa += part;
        bytes -= part;
    }
    return 0;
}

static int read_full(int fd, uint8_t *to, size_t bytes, uint64_t offset)
{
    while (bytes > 0) {
        ssize_t n = pread(fd, to, bytes, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO;
        to += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return 0;
}

int hv_gpa_write_from_fd(struct hv_gpa_space *space, hv_gpa_t gpa, int fd, uint64_t offset,
                         uint64_t bytes)
{
    if (!is_all_ram(space, gpa, bytes))
        return -EFAULT;
    while (bytes > 0) {
        struct hv_gpa_slot *slot = hv_gpa_slot_of(space, gpa);
        size_t part = part_in_slot(slot, gpa, bytes);
        int r;

        r = read_full(fd, slot->host + (gpa - slot->first), part, offset);
        if (r < 0)
            return r;
        note_written(space, slot, gpa, part);
        gpa += part;
        offset += part;
        bytes -= part;
    }
    return 0;
}

void *hv_gpa_window(struct hv_gpa_space *space, hv_gpa_t gpa, uint64_t bytes, uint64_t *ret_bytes)
{
    struct hv_gpa_slot *slot = hv_gpa_slot_of(space, gpa);

    if (!slot || bytes == 0)
        return NULL;
    *ret_bytes = part_in_slot(slot, gpa, bytes);
    return slot->host + (gpa - slot->first);
}

void hv_gpa_note_written(struct hv_gpa_space *space, hv_gpa_t gpa, uint64_t bytes)
{
    while (bytes > 0) {
        struct hv_gpa_slot *slot = hv_gpa_slot_of(space, gpa);
        size_t part;

        if (!slot)
            return;
        part = part_in_slot(slot, gpa, bytes);
        note_written(space, slot, gpa, part);
        gpa += part;
        bytes -= part;
    }
}

/* Large enough to go fast, small enough that a watcher isn't told of pages without code. */
enum { DISCARD_NOTE_BYTES = 2 << 20 };

int hv_gpa_discard(struct hv_gpa_space *space)
{
    if (fallocate(space->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                  (off_t)space->ram_bytes) < 0)
        return -errno;
    for (unsigned i = 0; i < space->n_slots; i++) {
        struct hv_gpa_slot *slot = &space->slots[i];
        uint64_t done = 0;

        while (done < slot->bytes) {
            size_t part = part_in_slot(slot, slot->first + done, DISCARD_NOTE_BYTES);

            note_written(space, slot, slot->first + done, part);
            done += part;
        }
    }
    return 0;
}
