/* SPDX-License-Identifier: Apache-2.0 */
/* ELF executables of both classes: their loadable segments and the note that names a PVH entry. */
#include "hvcore/base/arith.h"
#include "hvcore/base/cursor.h"
#include "vmwp/loader/ldr_priv.h"

#include <elf.h>
#include <string.h>

enum { XEN_ELFNOTE_PHYS32_ENTRY = 18 };

struct program_header {
    uint32_t type;
    uint64_t offset, physical, file_bytes, memory_bytes, alignment;
};

struct headers {
    uint64_t table; /* offset of the program headers */
    uint16_t entry_bytes, count;
};

static int is_damaged(struct hv_error **reterr)
{
    return ldr_error(reterr, -EINVAL, LDR_CODE_KERNEL,
                     "The kernel's ELF headers are damaged or the file is truncated.");
}

/* An address or offset, of the class's size. */
static uint64_t word(struct hv_cursor *in, bool is_64)
{
    return is_64 ? hv_cursor_u64(in) : hv_cursor_u32(in);
}

static bool read_ident(struct hv_cursor *in, bool *ret_is_64)
{
    uint8_t ident[EI_NIDENT];
    uint16_t type, machine;

    hv_cursor_bytes(in, ident, sizeof(ident));
    type = hv_cursor_u16(in);
    machine = hv_cursor_u16(in);
    if (!hv_cursor_ok(in) || memcmp(ident, ELFMAG, SELFMAG) != 0 || ident[EI_DATA] != ELFDATA2LSB ||
        (type != ET_EXEC && type != ET_DYN))
        return false;
    *ret_is_64 = ident[EI_CLASS] == ELFCLASS64;
    return (ident[EI_CLASS] == ELFCLASS64 && machine == EM_X86_64) ||
           (ident[EI_CLASS] == ELFCLASS32 && (machine == EM_386 || machine == EM_X86_64));
}

static bool read_headers(struct hv_cursor *in, struct ldr_elf *elf, struct headers *ret)
{
    hv_cursor_skip(in, 4); /* e_version */
    elf->entry = word(in, elf->is_64);
    ret->table = word(in, elf->is_64);
    (void)word(in, elf->is_64); /* e_shoff */
    hv_cursor_skip(in, 4 + 2);  /* e_flags, e_ehsize */
    ret->entry_bytes = hv_cursor_u16(in);
    ret->count = hv_cursor_u16(in);
    return hv_cursor_ok(in) &&
           ret->entry_bytes == (elf->is_64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) &&
           ret->count > 0 && ret->count <= LDR_ELF_MAX_SEGMENTS;
}

static struct program_header read_program_header(struct hv_cursor *in, bool is_64)
{
    struct program_header ph = { .type = hv_cursor_u32(in) };

    if (is_64)
        hv_cursor_skip(in, 4); /* p_flags */
    ph.offset = word(in, is_64);
    (void)word(in, is_64); /* p_vaddr */
    ph.physical = word(in, is_64);
    ph.file_bytes = word(in, is_64);
    ph.memory_bytes = word(in, is_64);
    if (!is_64)
        hv_cursor_skip(in, 4);
    ph.alignment = word(in, is_64);
    return ph;
}

enum { NOTE_HEADER_BYTES = 12 };

static uint64_t padded(uint64_t bytes, uint64_t alignment)
{
    return hv_align_up(bytes, alignment == 8 ? 8 : 4);
}

/* A name's bytes and what pads header and name together. */
static uint64_t padded_name(uint32_t bytes, uint64_t alignment)
{
    return padded(NOTE_HEADER_BYTES + (uint64_t)bytes, alignment) - NOTE_HEADER_BYTES;
}

/* Look through one segment of notes for Xen's PVH entry; 0: none. A note that runs over the end
 * ends the search. */
static uint64_t find_entry_note(const uint8_t *notes, size_t bytes, uint64_t alignment)
{
    struct hv_cursor in = hv_cursor(notes, bytes);

    while (hv_cursor_left(&in) > 0) {
        uint32_t name_bytes = hv_cursor_u32(&in), desc_bytes = hv_cursor_u32(&in);
        uint32_t type = hv_cursor_u32(&in);
        char name[4] = "";
        bool is_ours = name_bytes == sizeof(name) && type == XEN_ELFNOTE_PHYS32_ENTRY;

        if (is_ours)
            hv_cursor_bytes(&in, name, sizeof(name));
        else
            hv_cursor_skip(&in, padded_name(name_bytes, alignment));
        if (is_ours && memcmp(name, "Xen", 4) == 0 && (desc_bytes == 4 || desc_bytes == 8))
            return desc_bytes == 8 ? hv_cursor_u64(&in) : hv_cursor_u32(&in);
        hv_cursor_skip(&in, padded(desc_bytes, alignment));
    }
    return 0;
}

static int read_notes(struct ldr_image *image, const struct program_header *ph, struct ldr_elf *elf,
                      struct hv_error **reterr)
{
    hv_autofree uint8_t *notes = NULL;
    uint64_t entry;
    int r;

    if (ph->file_bytes == 0 || ph->file_bytes > LDR_NOTES_MAX_BYTES)
        return 0; /* no note of ours is that long */
    notes = malloc(ph->file_bytes);
    if (!notes)
        return -ENOMEM;
    r = ldr_read(image, ph->offset, notes, ph->file_bytes, reterr);
    if (r < 0)
        return r;
    entry = find_entry_note(notes, ph->file_bytes, ph->alignment);
    if (entry != 0)
        elf->phys32_entry = entry;
    return 0;
}

static int read_program_headers(struct ldr_image *image, const struct headers *headers,
                                struct ldr_elf *elf, struct hv_error **reterr)
{
    uint8_t table[LDR_ELF_MAX_SEGMENTS * sizeof(Elf64_Phdr)];
    size_t bytes = (size_t)headers->count * headers->entry_bytes;
    struct hv_cursor in;
    int r;

    r = ldr_read(image, headers->table, table, bytes, reterr);
    if (r < 0)
        return r;
    in = hv_cursor(table, bytes);
    for (unsigned i = 0; i < headers->count; i++) {
        struct program_header ph = read_program_header(&in, elf->is_64);

        if (ph.type == PT_NOTE) {
            r = read_notes(image, &ph, elf, reterr);
            if (r < 0)
                return r;
        }
        if (ph.type != PT_LOAD || ph.memory_bytes == 0)
            continue;
        if (ph.file_bytes > ph.memory_bytes ||
            !hv_range_within(ph.offset, ph.file_bytes, image->bytes))
            return is_damaged(reterr);
        elf->segment[elf->n_segments++] = (struct ldr_elf_segment){
            .offset = ph.offset,
            .file_bytes = ph.file_bytes,
            .memory = ph.physical,
            .memory_bytes = ph.memory_bytes,
        };
    }
    return 0;
}

int ldr_elf_read(struct ldr_image *image, struct ldr_elf *ret, struct hv_error **reterr)
{
    struct hv_cursor in = hv_cursor(image->head, image->head_bytes);
    struct headers headers;

    *ret = (struct ldr_elf){ 0 };
    if (!read_ident(&in, &ret->is_64))
        return LDR_E_OTHER_KIND;
    if (!read_headers(&in, ret, &headers))
        return is_damaged(reterr);
    return read_program_headers(image, &headers, ret, reterr);
}

/* Segments must not share memory: then loading is bounded by the guest's RAM. */
static bool overlaps_another(const struct ldr_elf *elf, unsigned index)
{
    const struct ldr_elf_segment *a = &elf->segment[index];

    for (unsigned i = 0; i < index; i++) {
        const struct ldr_elf_segment *b = &elf->segment[i];

        if (a->memory < b->memory + b->memory_bytes && b->memory < a->memory + a->memory_bytes)
            return true;
    }
    return false;
}

static int load_segment(struct ldr_image *image, const struct ldr_elf_segment *segment,
                        struct hv_error **reterr)
{
    int r;

    r = ldr_copy(image, segment->offset, segment->file_bytes, segment->memory, reterr);
    if (r < 0)
        return r;
    return hv_gpa_fill(image->config->space, segment->memory + segment->file_bytes, 0,
                       segment->memory_bytes - segment->file_bytes);
}

int ldr_elf_load(struct ldr_image *image, const struct ldr_elf *elf, struct hv_error **reterr)
{
    int r;

    if (elf->n_segments == 0)
        return ldr_error(reterr, -EINVAL, LDR_CODE_KERNEL,
                         "The kernel's ELF file has nothing to load.");
    for (unsigned i = 0; i < elf->n_segments; i++) {
        const struct ldr_elf_segment *segment = &elf->segment[i];

        r = ldr_check_range(image, segment->memory, segment->memory_bytes, reterr);
        if (r < 0)
            return r;
        if (overlaps_another(elf, i))
            return ldr_error(reterr, -EINVAL, LDR_CODE_KERNEL,
                             "The kernel's ELF segments overlap in memory.");
    }
    for (unsigned i = 0; i < elf->n_segments; i++) {
        r = load_segment(image, &elf->segment[i], reterr);
        if (r < 0)
            return r;
    }
    return 0;
}

hv_gpa_t ldr_elf_end(const struct ldr_elf *elf)
{
    hv_gpa_t end = 0;

    for (unsigned i = 0; i < elf->n_segments; i++)
        if (elf->segment[i].memory + elf->segment[i].memory_bytes > end)
            end = elf->segment[i].memory + elf->segment[i].memory_bytes;
    return end;
}

bool ldr_elf_holds(const struct ldr_elf *elf, uint64_t address)
{
    for (unsigned i = 0; i < elf->n_segments; i++)
        if (address - elf->segment[i].memory < elf->segment[i].memory_bytes)
            return true;
    return false;
}
