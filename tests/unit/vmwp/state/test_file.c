/* SPDX-License-Identifier: Apache-2.0 */
/* A saved state is read whole or not at all. */
#include "tests/lib/cmocka.h"

#include "hvcore/base/crc32c.h"
#include "vmwp/state/parts.h"
#include "vmwp/state/vp.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RAM_BYTES = 4 << 20, HOLE_AT = 3 << 20, PART_BYTES = 300 };

struct fixture {
    struct hv_gpa_space ram; /* what was saved */
    int fd;                  /* a good file */
    size_t bytes;
    uint8_t *file;
};

static void fill_page(struct fixture *f, uint64_t gpa, unsigned seed)
{
    uint8_t page[HV_PAGE_BYTES];

    for (size_t i = 0; i < sizeof(page); i++)
        page[i] = (uint8_t)(seed = seed * 1103515245 + 12345);
    assert_int_equal(hv_gpa_write(&f->ram, gpa, page, sizeof(page)), 0);
}

static void make_ram(struct hv_gpa_space *space)
{
    assert_int_equal(hv_gpa_space_init(space, RAM_BYTES, NULL), 0);
    assert_int_equal(hv_gpa_space_add_ram(space, 0, HOLE_AT, 0), 0);
    assert_int_equal(hv_gpa_space_add_ram(space, UINT64_C(1) << 32, RAM_BYTES - HOLE_AT, HOLE_AT),
                     0);
}

static struct hv_fields part_of(uint8_t value, size_t length)
{
    struct hv_fields fields = hv_fields_writer();

    for (size_t i = 0; i < length; i++)
        hv_field_u8(&fields, &value);
    return fields;
}

static void write_all(struct fixture *f)
{
    const struct state_head head = { .n_vps = 2, .ram_bytes = RAM_BYTES, .tsc_hz = 5 };
    struct hv_fields pic = part_of(7, PART_BYTES), vp = part_of(9, 1);
    struct state_writer *writer;

    assert_int_equal(state_writer_new(f->fd, &head, &writer), 0);
    assert_int_equal(state_writer_part(writer, STATE_PIC, 0, &pic), 0);
    assert_int_equal(state_writer_part(writer, STATE_VP, 0, &vp), 0);
    while (state_writer_ram(writer, &f->ram, 1 << 20) > 0)
        ;
    assert_int_equal(state_writer_ram_done(writer), RAM_BYTES);
    assert_int_equal(state_writer_finish(writer), 0);
    (void)state_writer_free(writer);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct stat st;

    make_ram(&f->ram);
    fill_page(f, 0x5000, 1);
    fill_page(f, HOLE_AT - HV_PAGE_BYTES, 2);
    fill_page(f, UINT64_C(1) << 32, 3);
    f->fd = memfd_create("saved", MFD_CLOEXEC);
    write_all(f);
    assert_int_equal(fstat(f->fd, &st), 0);
    f->bytes = (size_t)st.st_size;
    f->file = malloc(f->bytes);
    assert_int_equal(pread(f->fd, f->file, f->bytes, 0), f->bytes);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    hv_gpa_space_fini(&f->ram);
    (void)close(f->fd);
    free(f->file);
    free(f);
    return 0;
}

/* What opening these bytes brings. */
static int open_bytes(const void *bytes, size_t length, struct state_image **ret,
                      struct hv_error **reterr)
{
    int fd = memfd_create("saved", MFD_CLOEXEC);
    int r;

    assert_int_equal(write(fd, bytes, length), length);
    r = state_image_open(fd, ret, reterr);
    if (r < 0)
        (void)close(fd);
    return r;
}

static int refusal(const void *bytes, size_t length)
{
    HV_CLEANUP(hv_error_freep) struct hv_error *error = NULL;
    struct state_image *image = NULL;
    int r = open_bytes(bytes, length, &image, &error);

    if (r < 0)
        assert_non_null(error);
    (void)state_image_free(image);
    return r;
}

/* The file with one chunk's header field changed, and its checksum made right again. */
static int with_chunk(struct fixture *f, size_t at, size_t offset, uint32_t value, size_t bytes)
{
    hv_autofree uint8_t *copy = malloc(f->bytes);
    uint32_t length, crc;

    memcpy(copy, f->file, f->bytes);
    memcpy(copy + at + offset, &value, bytes);
    memcpy(&length, f->file + at + 16, sizeof(length));
    crc = hv_crc32c(hv_crc32c(0, copy + at, 20), copy + at + 24, length);
    memcpy(copy + at + 20, &crc, sizeof(crc));
    return refusal(copy, f->bytes);
}

/* Where the n-th chunk begins. */
static size_t chunk_at(const struct fixture *f, unsigned n)
{
    size_t at = 16;

    while (n-- > 0) {
        uint32_t length;

        memcpy(&length, f->file + at + 16, sizeof(length));
        at += 24 + length;
    }
    return at;
}

static void a_file_that_ends_early_is_refused_wherever_it_ends(void **state)
{
    struct fixture *f = *state;

    for (size_t length = 0; length < f->bytes; length++)
        assert_true(refusal(f->file, length) < 0);
}

static void a_changed_bit_is_found_wherever_it_is(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < f->bytes; i++) {
        f->file[i] ^= (uint8_t)(1 << i % 8);
        assert_true(refusal(f->file, f->bytes) < 0);
        f->file[i] ^= (uint8_t)(1 << i % 8);
    }
}

static void nothing_may_follow_the_end(void **state)
{
    struct fixture *f = *state;
    hv_autofree uint8_t *longer = calloc(1, f->bytes + 1);

    memcpy(longer, f->file, f->bytes);
    assert_int_equal(refusal(longer, f->bytes + 1), -EINVAL);
}

static void a_chunk_that_is_newer_or_unknown_and_required_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(with_chunk(f, chunk_at(f, 0), 8, 2, 2), -ENOTSUP);
    assert_int_equal(with_chunk(f, chunk_at(f, 1), 8, 2, 2), -ENOTSUP);
    assert_int_equal(with_chunk(f, chunk_at(f, 1), 8, 0, 2), -ENOTSUP);
    assert_int_equal(with_chunk(f, chunk_at(f, 1), 4, STATE_ID('N', 'E', 'W', '!'), 4), -ENOTSUP);
}

static void a_part_may_not_stand_twice(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(with_chunk(f, chunk_at(f, 2), 12, 1, 4), 0);
    assert_int_equal(with_chunk(f, chunk_at(f, 2), 4, STATE_PIC, 4), -EINVAL);
}

static void an_unknown_chunk_that_is_not_required_is_passed_over(void **state)
{
    struct fixture *f = *state;
    hv_autofree uint8_t *copy = malloc(f->bytes);
    size_t at = chunk_at(f, 1);
    uint32_t id = STATE_ID('N', 'E', 'W', '!'), crc;
    struct state_image *image = NULL;

    memcpy(copy, f->file, f->bytes);
    memcpy(copy + at + 4, &id, sizeof(id));
    copy[at + 10] = 0;
    crc = hv_crc32c(hv_crc32c(0, copy + at, 20), copy + at + 24, PART_BYTES);
    memcpy(copy + at + 20, &crc, sizeof(crc));
    assert_int_equal(open_bytes(copy, f->bytes, &image, NULL), 0);
    assert_null(state_image_part(image, STATE_PIC, 0));
    assert_null(state_image_part(image, id, 0));
    (void)state_image_free(image);
}

static void what_was_written_is_read(void **state)
{
    struct fixture *f = *state;
    struct state_image *image = NULL;
    struct hv_fields missing, vp;
    uint8_t value = 0;

    assert_int_equal(state_image_open(f->fd, &image, NULL), 0);
    assert_int_equal(state_image_head(image)->n_vps, 2);
    assert_int_equal(state_image_head(image)->tsc_hz, 5);
    assert_int_equal(state_image_part(image, STATE_PIC, 0)->bytes, PART_BYTES);
    vp = state_image_fields(image, STATE_VP, 0);
    hv_field_u8(&vp, &value);
    assert_true(hv_fields_is_done(&vp));
    assert_int_equal(value, 9);
    missing = state_image_fields(image, STATE_VP, 1);
    assert_false(hv_fields_is_done(&missing));
    (void)state_image_free(image);
}

static void ram_comes_back_where_it_was_and_zeroes_take_no_room(void **state)
{
    struct fixture *f = *state;
    struct state_image *image = NULL;
    struct hv_gpa_space other;

    make_ram(&other);
    assert_int_equal(state_image_open(f->fd, &image, NULL), 0);
    assert_int_equal(state_image_load_ram(image, &other, NULL), 0);
    for (unsigned i = 0; i < other.n_slots; i++)
        assert_memory_equal(other.slots[i].host, f->ram.slots[i].host, other.slots[i].bytes);
    assert_true(f->bytes < 5 * HV_PAGE_BYTES);
    (void)state_image_free(image);
    hv_gpa_space_fini(&other);
}

static void ram_that_the_vm_has_not_is_refused(void **state)
{
    struct fixture *f = *state;
    struct state_image *image = NULL;
    struct hv_gpa_space small;

    assert_int_equal(hv_gpa_space_init(&small, HV_PAGE_BYTES, NULL), 0);
    assert_int_equal(hv_gpa_space_add_ram(&small, 0, HV_PAGE_BYTES, 0), 0);
    assert_int_equal(state_image_open(f->fd, &image, NULL), 0);
    assert_int_equal(state_image_load_ram(image, &small, NULL), -EINVAL);
    (void)state_image_free(image);
    hv_gpa_space_fini(&small);
}

static void a_vps_fields_come_back_and_hostile_counts_do_not(void **state)
{
    hv_autofree struct hv_vp_state *from = malloc(sizeof(*from)), *to = calloc(1, sizeof(*to));
    struct hv_fields out = hv_fields_writer(), in;
    uint8_t *bytes = (uint8_t *)from;

    (void)state;
    for (size_t i = 0; i < sizeof(*from); i++)
        bytes[i] = (uint8_t)(i * 7);
    from->synic.n_messages = 1;
    from->synic.message[0].bytes = 240;
    state_visit_vp(&out, from);
    assert_true(hv_fields_ok(&out));
    in = hv_fields_reader(out.bytes, out.length);
    state_visit_vp(&in, to);
    assert_true(hv_fields_is_done(&in));
    assert_int_equal(to->rip, from->rip);
    assert_int_equal(to->runtime_ns, from->runtime_ns);
    assert_int_equal(to->machine.nb_cfg, from->machine.nb_cfg);
    assert_memory_equal(to->xsave, from->xsave, sizeof(to->xsave));
    for (size_t length = 0; length < out.length; length += 13) {
        in = hv_fields_reader(out.bytes, length);
        state_visit_vp(&in, to);
        assert_false(hv_fields_is_done(&in));
    }
    memset(out.bytes, 0xff, out.length);
    in = hv_fields_reader(out.bytes, out.length);
    state_visit_vp(&in, to);
    assert_false(hv_fields_is_done(&in));
    hv_fields_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_that_ends_early_is_refused_wherever_it_ends, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_changed_bit_is_found_wherever_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_may_follow_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(a_chunk_that_is_newer_or_unknown_and_required_is_refused,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(a_part_may_not_stand_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_chunk_that_is_not_required_is_passed_over, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_was_written_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(ram_comes_back_where_it_was_and_zeroes_take_no_room, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(ram_that_the_vm_has_not_is_refused, setup, teardown),
        cmocka_unit_test(a_vps_fields_come_back_and_hostile_counts_do_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
