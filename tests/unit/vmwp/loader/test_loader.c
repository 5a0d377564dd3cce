/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "hvcore/state.h"
#include "tests/unit/vmwp/loader/images.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#define MIB UINT64_C(0x100000)

static int make(void **state)
{
    struct guest *g = malloc(sizeof(*g));

    *state = g;
    return g ? guest_init(g, GUEST_MIB * MIB) : -1;
}

static int drop(void **state)
{
    guest_fini(*state);
    free(*state);
    return 0;
}

/* The load failed, and the error names this field and says these words. */
static void assert_told(const struct guest *g, int r, int expected, const char *field,
                        const char *words)
{
    assert_int_equal(r, expected);
    assert_non_null(g->error);
    assert_string_equal(g->error->field, field);
    assert_string_equal(g->error->code, field);
    if (!strstr(g->error->message, words))
        fail_msg("\"%s\" does not say \"%s\"", g->error->message, words);
}

static int load_fd(struct guest *g, int fd)
{
    g->error = hv_error_free(g->error);
    hv_close(g->config.kernel_fd);
    g->config.kernel_fd = fd;
    return ldr_load(&g->config, &g->boot, &g->error);
}

static void what_is_no_kernel_is_refused_in_words(void **state)
{
    struct guest *g = *state;
    int pipe_fds[2];

    assert_told(g, load_fd(g, -1), -EBADF, "boot.kernel", "cannot be read");
    assert_told(g, load_fd(g, hollow_file(0)), -EINVAL, "boot.kernel", "empty");
    assert_told(g, load_fd(g, file_of("#!/bin/sh\n", 10)), -ENOEXEC, "boot.kernel",
                "neither a bzImage (2.06 or later, 64-bit), an ELF with a PVH note nor");
    assert_told(g, load_fd(g, hollow_file(UINT64_C(1) << 40)), -ENOEXEC, "boot.kernel", "neither");
    assert_told(g, load_fd(g, open("/", O_RDONLY | O_CLOEXEC)), -EINVAL, "boot.kernel",
                "not a regular file");
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    hv_close(pipe_fds[1]);
    assert_told(g, load_fd(g, pipe_fds[0]), -EINVAL, "boot.kernel", "not a regular file");
    assert_int_equal(ldr_load(&g->config, &g->boot, NULL), -EINVAL);
}

static void every_truncation_is_told(void **state)
{
    static void (*const makers[])(struct guest *) = { make_bzimage, make_pvh, make_multiboot_elf,
                                                      make_multiboot_flat };
    struct guest *g = *state;

    for (unsigned i = 0; i < HV_ARRAY_SIZE(makers); i++) {
        makers[i](g);
        assert_int_equal(guest_load(g), 0);
        for (size_t n = 0; n < g->image_bytes; n += n < 0x300 || n + 40 > g->image_bytes ? 1 : 97) {
            int r = guest_load_part(g, n);

            assert_in_range(-r, 1, 200);
            assert_non_null(g->error);
            assert_string_equal(g->error->field, "boot.kernel");
        }
    }
}

/* Whatever is wrong with a byte or a word, the answer is a load or a sentence. */
static void every_spoilt_header_ends_well(void **state)
{
    static void (*const makers[])(struct guest *) = { make_bzimage, make_pvh, make_multiboot_elf,
                                                      make_multiboot_flat };
    static const uint64_t values[] = { 0, 1, 0x7f, 0xff, 0x80000000, 0xffffffff, UINT64_MAX };
    struct guest *g = *state;

    for (unsigned i = 0; i < HV_ARRAY_SIZE(makers); i++) {
        for (size_t at = 0; at < 0x280; at++) {
            for (unsigned v = 0; v < HV_ARRAY_SIZE(values); v++) {
                int r;

                makers[i](g);
                put(g, at, values[v], v < 4 ? 1 : v < 6 ? 4 : 8);
                r = guest_load(g);
                assert_true(r == 0 || g->error);
            }
        }
    }
}

static void a_bzimage_is_put_where_it_likes_to_be(void **state)
{
    struct guest *g = *state;

    make_bzimage(g);
    g->config.cmdline = "console=ttyS0 panic=-1";
    g->config.rsdp = 0xe0000;
    g->config.initrd_fd = file_of("initrd!", 7);
    assert_int_equal(guest_load(g), 0);
    assert_int_equal(g->boot.kind, LDR_KIND_BZIMAGE);
    assert_int_equal(g->boot.mode, LDR_MODE_LONG);
    assert_int_equal(g->boot.rip, 0x1000200);
    assert_int_equal(g->boot.rsi, LDR_BOOT_INFO);
    assert_int_equal(peek(g, 0x1000000, 2), 7 | (31 + 7) << 8);
    assert_int_equal(peek(g, LDR_BOOT_INFO + 0x202, 4), 0x53726448);
    assert_int_equal(peek(g, LDR_BOOT_INFO + 0x210, 1), 0xff);
    assert_int_equal(peek(g, LDR_BOOT_INFO + 0x070, 8), 0xe0000);
    assert_int_equal(peek(g, LDR_BOOT_INFO + 0x228, 4), LDR_CMDLINE);
    assert_int_equal(peek(g, LDR_CMDLINE, 8), 0x3d656c6f736e6f63); /* "console=" */
    assert_int_equal(peek(g, LDR_BOOT_INFO + 0x218, 4), GUEST_MIB * MIB - 4096);
    assert_int_equal(peek(g, LDR_BOOT_INFO + 0x21c, 4), 7);
    assert_int_equal(peek(g, GUEST_MIB * MIB - 4096, 7), 0x21647274696e69);
    assert_int_equal(peek(g, LDR_BOOT_INFO + 0x1e8, 1), 4);
    assert_int_equal(peek(g, LDR_BOOT_INFO + 0x2d0 + 3 * 20, 8), MIB);
    assert_int_equal(peek(g, LDR_BOOT_INFO + 0x2d0 + 3 * 20 + 8, 8), (GUEST_MIB - 1) * MIB);
    assert_int_equal(peek(g, 0x413, 2), 639);
}

static void a_bzimage_says_what_it_needs(void **state)
{
    struct guest *g = *state;

    make_bzimage(g);
    put(g, 0x258, 0x8000000, 8); /* runs at 128 MiB, and no lower though it is relocatable */
    assert_told(g, guest_load(g), -ENOMEM, "memory.startup", "at least 129 MiB");
    put(g, 0x234, 0, 1);
    assert_told(g, guest_load(g), -ENOMEM, "memory.startup", "at least 129 MiB");
    put(g, 0x258, 0xfffffffffff00000, 8);
    assert_told(g, guest_load(g), -EINVAL, "boot.kernel", "below 3 GiB");
    put(g, 0x234, 1, 1);
    assert_told(g, guest_load(g), -EINVAL, "boot.kernel", "below 3 GiB");
    put(g, 0x258, 0x1000, 8);
    assert_int_equal(guest_load(g), 0);
    assert_int_equal(g->boot.rip, 0x200200);
    put(g, 0x234, 0, 1);
    assert_told(g, guest_load(g), -EINVAL, "boot.kernel", "from 1 MiB on");
    put(g, 0x258, 0x1000000, 8);
    put(g, 0x260, 0x10000000, 4);
    assert_told(g, guest_load(g), -ENOMEM, "memory.startup", "at least 272 MiB");
}

static void bzimages_that_cannot_be_started_say_why(void **state)
{
    struct guest *g = *state;

    make_bzimage(g);
    put(g, 0x206, 0x0205, 2);
    assert_told(g, guest_load(g), -ENOEXEC, "boot.kernel", "2.05");
    put(g, 0x206, 0x020f, 2);
    put(g, 0x236, 0x3e, 2);
    assert_told(g, guest_load(g), -ENOEXEC, "boot.kernel", "64-bit");
    put(g, 0x236, 0x3f, 2);
    put(g, 0x211, 0, 1);
    assert_told(g, guest_load(g), -ENOEXEC, "boot.kernel", "zImage");
    put(g, 0x211, 1, 1);
    put(g, 0x230, 0x200001, 4);
    assert_told(g, guest_load(g), -EINVAL, "boot.kernel", "damaged");
    put(g, 0x230, 0x200000, 4);
    put(g, 0x1f4, 0xffffffff, 4);
    assert_told(g, guest_load(g), -EINVAL, "boot.kernel", "truncated");
}

static void a_command_line_has_a_limit(void **state)
{
    struct guest *g = *state;
    char *line = malloc(0x20000);

    assert_non_null(line);
    make_bzimage(g);
    memset(line, 'x', 0x20000);
    line[2048] = 0;
    g->config.cmdline = line;
    assert_told(g, guest_load(g), -EINVAL, "boot.cmdline", "at most 2047");
    line[2047] = 0;
    assert_int_equal(guest_load(g), 0);
    put(g, 0x238, 0xffffffff, 4); /* its limit isn't ours */
    memset(line, 'x', 0x1ffff);
    line[0x1ffff] = 0;
    assert_told(g, guest_load(g), -EINVAL, "boot.cmdline", "at most 65535");
    make_pvh(g);
    assert_told(g, guest_load(g), -EINVAL, "boot.cmdline", "at most 65535");
    free(line);
}

static void an_initrd_must_fit(void **state)
{
    struct guest *g = *state;

    make_bzimage(g);
    g->config.initrd_fd = hollow_file(100 * MIB);
    assert_told(g, guest_load(g), -ENOMEM, "memory.startup", "at least 117 MiB");
    put(g, 0x22c, 0x02ffffff, 4); /* this kernel can reach 48 MiB */
    assert_told(g, guest_load(g), -EFBIG, "boot.initrd", "at most 31 MiB");
    hv_close(g->config.initrd_fd);
    g->config.initrd_fd = hollow_file(31 * MIB);
    assert_int_equal(guest_load(g), 0);
    assert_int_equal(peek(g, LDR_BOOT_INFO + 0x218, 4), 17 * MIB);
    hv_close(g->config.initrd_fd);
    g->config.initrd_fd = hollow_file(UINT64_C(1) << 45);
    assert_told(g, guest_load(g), -EFBIG, "boot.initrd", "larger than the 3 GiB");
    hv_close(g->config.initrd_fd);
    g->config.initrd_fd = hollow_file(0);
    assert_told(g, guest_load(g), -EINVAL, "boot.initrd", "empty");
    g->config.initrd_fd = hv_close(g->config.initrd_fd);
    g->config.initrd_fd = open("/", O_RDONLY | O_CLOEXEC);
    assert_told(g, guest_load(g), -EINVAL, "boot.initrd", "not a regular file");
}

static void a_pvh_kernel_gets_its_start_info(void **state)
{
    struct guest *g = *state;

    make_pvh(g);
    g->config.cmdline = "quiet";
    g->config.rsdp = 0xe0000;
    g->config.initrd_fd = file_of("abcd", 4);
    assert_int_equal(hv_gpa_fill(&g->space, ELF_LOAD, 0xee, 0x4000), 0);
    assert_int_equal(guest_load(g), 0);
    assert_int_equal(g->boot.kind, LDR_KIND_PVH);
    assert_int_equal(g->boot.mode, LDR_MODE_PROTECTED);
    assert_int_equal(g->boot.rip, ELF_ENTRY);
    assert_int_equal(g->boot.rbx, LDR_BOOT_INFO);
    assert_int_equal(peek(g, ELF_LOAD, 4), 0x04030201);
    assert_int_equal(peek(g, ELF_LOAD + ELF_CODE_BYTES, 8), 0);
    assert_int_equal(peek(g, ELF_LOAD + 0x2fff, 1), 0);
    assert_int_equal(peek(g, ELF_LOAD + 0x3000, 1), 0xee);
    assert_int_equal(peek(g, LDR_BOOT_INFO, 4), 0x336ec578);
    assert_int_equal(peek(g, LDR_BOOT_INFO + 4, 4), 1);
    assert_int_equal(peek(g, LDR_BOOT_INFO + 12, 4), 1);
    assert_int_equal(peek(g, peek(g, LDR_BOOT_INFO + 16, 8), 8), GUEST_MIB * MIB - 4096);
    assert_int_equal(peek(g, peek(g, LDR_BOOT_INFO + 24, 8), 6), 0x7465697571);
    assert_int_equal(peek(g, LDR_BOOT_INFO + 32, 8), 0xe0000);
    assert_int_equal(peek(g, LDR_BOOT_INFO + 48, 4), 4);
    assert_int_equal(peek(g, peek(g, LDR_BOOT_INFO + 40, 8) + 16, 4), 1);
}

static void an_elf_without_a_note_is_no_kernel(void **state)
{
    struct guest *g = *state;

    make_pvh(g);
    put(g, ELF_NOTE + 28, 17, 4);
    assert_told(g, guest_load(g), -ENOEXEC, "boot.kernel", "neither");
    make_pvh(g);
    put(g, ELF_NOTE, 0xffffffff, 4); /* a note that never ends */
    assert_told(g, guest_load(g), -ENOEXEC, "boot.kernel", "neither");
}

static void elf_segments_must_be_sound(void **state)
{
    struct guest *g = *state;

    make_pvh(g);
    put(g, ELF_NOTE + 36, 0x100000, 4);
    assert_told(g, guest_load(g), -EINVAL, "boot.kernel", "outside");
    make_pvh(g);
    put(g, ELF64_PHDR + 40, 0x7ff, 8); /* less in memory than in the file */
    assert_told(g, guest_load(g), -EINVAL, "boot.kernel", "damaged");
    make_pvh(g);
    put(g, ELF64_PHDR + 40, UINT64_MAX - 0x1000, 8);
    assert_told(g, guest_load(g), -EINVAL, "boot.kernel", "below 3 GiB");
    put(g, ELF64_PHDR + 40, 128 * MIB, 8);
    assert_told(g, guest_load(g), -ENOMEM, "memory.startup", "at least 130 MiB");
    make_pvh(g); /* a third header: a segment over the first */
    memcpy(g->image + ELF64_PHDR + 2 * ELF64_PHDR_BYTES, g->image + ELF64_PHDR, ELF64_PHDR_BYTES);
    put(g, 56, 3, 2);
    assert_told(g, guest_load(g), -EINVAL, "boot.kernel", "overlap");
    put(g, 56, 1000, 2);
    assert_told(g, guest_load(g), -EINVAL, "boot.kernel", "damaged");
}

static void a_multiboot_elf_gets_its_information(void **state)
{
    struct guest *g = *state;

    make_multiboot_elf(g);
    g->config.cmdline = "test 1 2";
    g->config.initrd_fd = file_of("module", 6);
    assert_int_equal(guest_load(g), 0);
    assert_int_equal(g->boot.kind, LDR_KIND_MULTIBOOT);
    assert_int_equal(g->boot.rip, ELF_ENTRY);
    assert_int_equal(g->boot.rax, 0x2badb002);
    assert_int_equal(g->boot.rbx, LDR_BOOT_INFO);
    assert_int_equal(peek(g, ELF_LOAD + 4, 1), 5);
    assert_int_equal(peek(g, LDR_BOOT_INFO, 4), 0x24d);
    assert_int_equal(peek(g, LDR_BOOT_INFO + 4, 4), 639);
    assert_int_equal(peek(g, LDR_BOOT_INFO + 8, 4), (GUEST_MIB - 1) * 1024);
    assert_int_equal(peek(g, peek(g, LDR_BOOT_INFO + 16, 4), 4), 0x74736574);
    assert_int_equal(peek(g, LDR_BOOT_INFO + 20, 4), 1);
    assert_int_equal(peek(g, peek(g, LDR_BOOT_INFO + 24, 4) + 4, 4), GUEST_MIB * MIB - 4096 + 6);
    assert_int_equal(peek(g, LDR_BOOT_INFO + 44, 4), 4 * 24);
    assert_int_equal(peek(g, peek(g, LDR_BOOT_INFO + 48, 4), 4), 20);
}

static void a_multiboot_image_may_have_its_own_addresses(void **state)
{
    struct guest *g = *state;

    make_multiboot_flat(g);
    assert_int_equal(guest_load(g), 0);
    assert_int_equal(g->boot.rip, 0x300020);
    assert_int_equal(peek(g, 0x300000, 4), 0x1badb002);
    assert_int_equal(peek(g, 0x3003ff, 1), 0x3f);
    assert_int_equal(peek(g, 0x300400, 8), 0);
    put(g, 0x54, 0, 4); /* the whole file, and as much memory as it takes */
    put(g, 0x58, 0, 4);
    assert_int_equal(guest_load(g), 0);
    assert_int_equal(peek(g, 0x3003ff, 1), 0x3f);
}

static void multiboot_headers_must_be_sound(void **state)
{
    static const struct {
        size_t at;
        uint32_t value;
    } wrong[] = {
        { 0x4c, 0x2fffff },                     /* header before what is loaded */
        { 0x4c, 0x300080 },                     /* loads from before the file */
        { 0x54, 0x2fffff }, { 0x54, 0x301000 }, /* ends before it begins; beyond the file */
        { 0x58, 0x300001 },                     /* bss ends within the data */
        { 0x5c, 0x302000 }, { 0x5c, 0x2fffff }, /* entry outside */
    };
    struct guest *g = *state;

    for (unsigned i = 0; i < HV_ARRAY_SIZE(wrong); i++) {
        make_multiboot_flat(g);
        put(g, wrong[i].at, wrong[i].value, 4);
        assert_told(g, guest_load(g), -EINVAL, "boot.kernel", "contradict");
    }
    make_multiboot_flat(g);
    put(g, 0x44, 0x10008, 4); /* a required feature that doesn't exist */
    put(g, 0x48, (uint32_t) - (0x1badb002 + 0x10008), 4);
    assert_told(g, guest_load(g), -ENOEXEC, "boot.kernel", "0x00010008");
    make_multiboot_flat(g);
    put(g, 0x44, 0, 4);
    put(g, 0x48, (uint32_t)-0x1badb002, 4);
    assert_told(g, guest_load(g), -ENOEXEC, "boot.kernel", "no ELF file");
    put(g, 0x48, 1, 4); /* a sum that isn't zero makes it no header */
    assert_told(g, guest_load(g), -ENOEXEC, "boot.kernel", "neither");
}

static void a_reset_loads_the_same_again(void **state)
{
    struct guest *g = *state;
    struct ldr_boot first;

    make_bzimage(g);
    assert_int_equal(guest_load(g), 0);
    first = g->boot;
    assert_int_equal(hv_gpa_fill(&g->space, 0, 0xff, GUEST_MIB * MIB), 0);
    assert_int_equal(ldr_load(&g->config, &g->boot, NULL), 0);
    assert_memory_equal(&first, &g->boot, sizeof(first));
    assert_int_equal(peek(g, LDR_CMDLINE, 1), 0);
    assert_int_equal(peek(g, LDR_BOOT_INFO + 0x1ef, 1), 0); /* the sentinel: we fill in all of it */
}

static void long_mode_has_flat_segments_and_an_identity_mapping(void **state)
{
    struct guest *g = *state;
    struct hv_vp_state vp = { .dr6 = 0xffff0ff0, .apic_base = 0xfee00900 };
    struct ldr_boot boot = { .mode = LDR_MODE_LONG, .rip = 0x1000200, .rsi = 0x10000 };
    uint64_t pdpt, pd;

    assert_int_equal(ldr_boot_enter(&boot, &g->space, &vp), 0);
    assert_int_equal(vp.rip, 0x1000200);
    assert_int_equal(vp.gpr[HV_RSI], 0x10000);
    assert_int_equal(vp.rflags, 2);
    assert_int_equal(vp.efer, 0x500);
    assert_int_equal(vp.cr4, 0x20);
    assert_int_equal(vp.cr0, 0x80000011);
    assert_int_equal(vp.segment[HV_CS].selector, 0x10);
    assert_int_equal(vp.segment[HV_CS].attributes, 0xa9b);
    assert_int_equal(vp.segment[HV_DS].attributes, 0xc93);
    assert_int_equal(vp.apic_base, 0xfee00900); /* not the loader's */
    assert_int_equal(peek(g, vp.gdtr.base + 0x10, 8), 0x00af9b000000ffff);
    assert_int_equal(peek(g, vp.gdtr.base + 0x18, 8), 0x00cf93000000ffff);
    for (uint64_t address = 0; address < UINT64_C(1) << 32; address += 0x1ffff000) {
        pdpt = peek(g, vp.cr3, 8) & ~UINT64_C(0xfff);
        pd = peek(g, pdpt + (address >> 30) * 8, 8) & ~UINT64_C(0xfff);
        assert_int_equal(peek(g, pd + (address >> 21 & 511) * 8, 8),
                         (address & ~UINT64_C(0x1fffff)) | 0x83);
    }
}

static void protected_mode_has_no_paging(void **state)
{
    struct guest *g = *state;
    struct hv_vp_state vp = { .cr4 = 0x20, .efer = 0x500, .cr3 = 7 };
    struct ldr_boot boot = { .mode = LDR_MODE_PROTECTED, .rax = 0x2badb002, .rbx = 0x10000 };

    assert_int_equal(ldr_boot_enter(&boot, &g->space, &vp), 0);
    assert_int_equal(vp.cr0, 0x11);
    assert_int_equal(vp.cr4 | vp.efer | vp.cr3, 0);
    assert_int_equal(vp.gpr[HV_RAX], 0x2badb002);
    assert_int_equal(vp.gpr[HV_RBX], 0x10000);
    assert_int_equal(vp.segment[HV_CS].attributes, 0xc9b);
    assert_int_equal(vp.tr.attributes, 0x8b);
    assert_int_equal(vp.tr.limit, 0x67);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_no_kernel_is_refused_in_words),
        TEST(every_truncation_is_told),
        TEST(every_spoilt_header_ends_well),
        TEST(a_bzimage_is_put_where_it_likes_to_be),
        TEST(a_bzimage_says_what_it_needs),
        TEST(bzimages_that_cannot_be_started_say_why),
        TEST(a_command_line_has_a_limit),
        TEST(an_initrd_must_fit),
        TEST(a_pvh_kernel_gets_its_start_info),
        TEST(an_elf_without_a_note_is_no_kernel),
        TEST(elf_segments_must_be_sound),
        TEST(a_multiboot_elf_gets_its_information),
        TEST(a_multiboot_image_may_have_its_own_addresses),
        TEST(multiboot_headers_must_be_sound),
        TEST(a_reset_loads_the_same_again),
        TEST(long_mode_has_flat_segments_and_an_identity_mapping),
        TEST(protected_mode_has_no_paging),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
