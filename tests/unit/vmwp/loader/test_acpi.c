/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "tests/unit/vmwp/loader/images.h"
#include "vmwp/loader/acpi.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#define MIB UINT64_C(0x100000)
#define GIB UINT64_C(0x40000000)

static const struct ldr_acpi_config plain = {
    .n_vps = 4,
    .pm_base = 0x600,
    .gpe_base = 0x610,
    .reset_port = 0xcf9,
    .reset_value = 6,
    .sci_irq = 9,
    .s5_type = 5,
    .rtc_century = 0x32,
    .ioapic_address = 0xfec00000,
    .ioapic_id = 0,
    .has_com = { true, true },
    .has_pci = true,
};

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

static unsigned sum(struct guest *g, hv_gpa_t at, uint64_t bytes)
{
    unsigned total = 0;

    for (uint64_t i = 0; i < bytes; i++)
        total += (unsigned)peek(g, at + i, 1);
    return total & 0xff;
}

/* The table that the XSDT lists under this signature, or 0. */
static hv_gpa_t find(struct guest *g, hv_gpa_t rsdp, const char *signature)
{
    uint64_t xsdt = peek(g, rsdp + 24, 8), bytes = peek(g, xsdt + 4, 4);
    uint32_t wanted;

    memcpy(&wanted, signature, 4);
    for (uint64_t at = 36; at + 8 <= bytes; at += 8) {
        uint64_t table = peek(g, xsdt + at, 8);

        if (peek(g, table, 4) == wanted)
            return table;
    }
    return 0;
}

static void more_processors_than_the_tables_can_name_are_refused(void **state)
{
    struct guest *g = *state;
    struct ldr_acpi_config config = plain;
    hv_gpa_t rsdp = 0;

    config.n_vps = 256;
    assert_int_equal(ldr_acpi_write(&g->space, &g->layout, &config, &rsdp, &g->error), -ENOSPC);
    assert_string_equal(g->error->field, "memory.startup");
    assert_int_equal(rsdp, 0);
}

static void sizes_of_memory_that_cannot_be_are_refused(void **state)
{
    static const uint64_t wrong[] = { 0, MIB, 3 * MIB + 1, 64 * GIB + 4096, UINT64_MAX };
    struct ldr_layout layout = { .n_map = 99 };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(wrong); i++) {
        struct hv_error *error = NULL;

        assert_int_equal(ldr_layout_init(&layout, wrong[i], &error), -EINVAL);
        assert_string_equal(error->field, "memory.startup");
        assert_int_equal(layout.n_map, 99);
        error = hv_error_free(error);
    }
}

static void memory_lies_on_both_sides_of_the_hole(void **state)
{
    static const uint64_t sizes[] = {
        2 * MIB, 128 * MIB, 3 * GIB, 3 * GIB + 4096, 6 * GIB, 64 * GIB
    };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(sizes); i++) {
        struct ldr_layout layout;
        uint64_t ram = 0, end = 0;

        assert_int_equal(ldr_layout_init(&layout, sizes[i], NULL), 0);
        assert_int_equal(layout.ram_low_bytes + layout.ram_high_bytes, sizes[i]);
        assert_true(layout.ram_low_bytes <= 3 * GIB);
        for (unsigned k = 0; k < layout.n_map; k++) {
            assert_true(layout.map[k].first >= end); /* sorted, without overlap */
            end = layout.map[k].first + layout.map[k].bytes;
            if (layout.map[k].type == LDR_MAP_RAM)
                ram += layout.map[k].bytes;
        }
        assert_int_equal(ram, sizes[i] - (MIB - LDR_EBDA));
        assert_true(end <= layout.vmbus_high_first);
    }
}

static void every_table_adds_up_to_zero(void **state)
{
    static const char *const signatures[] = { "FACP", "APIC", "WAET" };
    struct guest *g = *state;
    hv_gpa_t rsdp = 0, dsdt, fadt;

    assert_int_equal(ldr_acpi_write(&g->space, &g->layout, &plain, &rsdp, NULL), 0);
    assert_int_equal(rsdp, 0xe0000); /* on a paragraph, where kernels look */
    assert_int_equal(sum(g, rsdp, 20), 0);
    assert_int_equal(sum(g, rsdp, 36), 0);
    for (unsigned i = 0; i < HV_ARRAY_SIZE(signatures); i++) {
        hv_gpa_t at = find(g, rsdp, signatures[i]);

        assert_int_not_equal(at, 0);
        assert_int_equal(sum(g, at, peek(g, at + 4, 4)), 0);
    }
    fadt = find(g, rsdp, "FACP");
    dsdt = peek(g, fadt + 140, 8);
    assert_int_equal(dsdt, peek(g, fadt + 40, 4));
    assert_int_equal(sum(g, dsdt, peek(g, dsdt + 4, 4)), 0);
    assert_int_equal(peek(g, peek(g, rsdp + 16, 4), 4), 0x54445352); /* an RSDT for old readers */
}

static void the_fadt_says_where_the_ports_are(void **state)
{
    struct guest *g = *state;
    hv_gpa_t rsdp = 0, fadt, facs;

    assert_int_equal(ldr_acpi_write(&g->space, &g->layout, &plain, &rsdp, NULL), 0);
    fadt = find(g, rsdp, "FACP");
    assert_int_equal(peek(g, fadt + 46, 2), 9);
    assert_int_equal(peek(g, fadt + 48, 4), 0); /* no SMI command: ACPI is on */
    assert_int_equal(peek(g, fadt + 56, 4), 0x600);
    assert_int_equal(peek(g, fadt + 64, 4), 0x604);
    assert_int_equal(peek(g, fadt + 76, 4), 0x608);
    assert_int_equal(peek(g, fadt + 108, 1), 0x32);
    assert_int_equal(peek(g, fadt + 109, 2), 0x05);          /* legacy devices, no VGA, no 8042 */
    assert_int_equal(peek(g, fadt + 112, 4) & (1 << 20), 0); /* not hardware-reduced */
    assert_int_equal(peek(g, fadt + 120, 8), 0xcf9);
    assert_int_equal(peek(g, fadt + 128, 1), 6);
    facs = peek(g, fadt + 36, 4);
    assert_int_equal(peek(g, facs, 4), 0x53434146);
    assert_int_equal(facs % 64, 0);
}

static void the_madt_names_processors_and_overrides(void **state)
{
    struct guest *g = *state;
    unsigned n_lapics = 0, n_overrides = 0, n_others = 0;
    hv_gpa_t rsdp = 0, madt, at;

    assert_int_equal(ldr_acpi_write(&g->space, &g->layout, &plain, &rsdp, NULL), 0);
    madt = find(g, rsdp, "APIC");
    assert_int_equal(peek(g, madt + 36, 4), 0xfee00000);
    for (at = madt + 44; at < madt + peek(g, madt + 4, 4); at += peek(g, at + 1, 1)) {
        uint64_t type = peek(g, at, 1);

        if (type == 0)
            assert_int_equal(peek(g, at + 3, 1), n_lapics++);
        else if (type == 2 && n_overrides++ == 0)
            assert_int_equal(peek(g, at + 3, 7), 0x00000000000200); /* 0 to 2, as the bus does */
        else if (type == 2)
            assert_int_equal(peek(g, at + 3, 7), 0x000d0000000909); /* 9: high, level */
        else
            n_others++;
    }
    assert_int_equal(n_lapics, 4);
    assert_int_equal(n_overrides, 2);
    assert_int_equal(n_others, 2);
}

static void write_file(const char *directory, const char *name, struct guest *g, hv_gpa_t table)
{
    char path[256];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
    file = fopen(path, "w");
    assert_non_null(file);
    for (uint64_t i = 0; i < peek(g, table + 4, 4); i++)
        assert_int_not_equal(fputc((int)peek(g, table + i, 1), file), EOF);
    assert_int_equal(fclose(file), 0);
}

/* Write the tables as files and hand them to ACPICA's tools by a shell command with the directory
 * in its first %s. */
static void assert_iasl(struct guest *g, const struct ldr_acpi_config *config, const char *command)
{
    char directory[] = "/tmp/test-acpi-XXXXXX", line[1024];
    hv_gpa_t rsdp = 0, fadt;
    int status;

    if (system("command -v iasl >/dev/null") != 0) {
        print_message("skipped: iasl (package acpica-tools) is not installed\n");
        skip();
    }
    assert_int_equal(ldr_acpi_write(&g->space, &g->layout, config, &rsdp, NULL), 0);
    assert_non_null(mkdtemp(directory));
    fadt = find(g, rsdp, "FACP");
    write_file(directory, "facp.dat", g, fadt);
    write_file(directory, "apic.dat", g, find(g, rsdp, "APIC"));
    write_file(directory, "waet.dat", g, find(g, rsdp, "WAET"));
    write_file(directory, "dsdt.dat", g, peek(g, fadt + 140, 8));
    (void)snprintf(line, sizeof(line), "cd %s && %s", directory, command);
    status = system(line);
    assert_int_equal(WEXITSTATUS(status), 0);
    (void)snprintf(line, sizeof(line), "rm -r %s", directory);
    assert_int_equal(system(line), 0);
}

static void the_reference_tools_read_the_tables(void **state)
{
    assert_iasl(*state, &plain,
                "for t in facp apic waet; do iasl -d $t.dat >$t.log 2>&1 || exit 1; "
                "if grep -iE 'error|invalid|unknown' $t.dsl; then exit 2; fi; done");
}

/* Disassembled and compiled again, our AML is what the reference compiler makes of it. */
static void the_reference_compiler_makes_the_same_dsdt(void **state)
{
    assert_iasl(*state, &plain,
                "iasl -d dsdt.dat >dsdt.log 2>&1 || exit 3; "
                "iasl dsdt.dsl >asl.log 2>&1 || exit 4; "
                "grep -q ' 0 Errors, 0 Warnings' asl.log || exit 5; "
                "cmp -i 36 dsdt.dat dsdt.aml || exit 6");
}

/* The compiler wants IDs of seven or eight characters; guests look for this one of five. */
static void the_dsdt_with_vmbus_is_sound_but_for_its_name(void **state)
{
    struct ldr_acpi_config config = plain;

    config.has_vmbus = true;
    config.n_vps = 64;
    assert_iasl(*state, &config,
                "iasl -d dsdt.dat >dsdt.log 2>&1 || exit 3; "
                "grep -q '_HID, \"VMBUS\"' dsdt.dsl || exit 7; "
                "sed -i 's/\"VMBUS\"/\"VMBS0001\"/' dsdt.dsl; "
                "iasl dsdt.dsl >asl.log 2>&1 || exit 4; "
                "grep -q ' 0 Errors, 0 Warnings' asl.log || exit 5");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(more_processors_than_the_tables_can_name_are_refused),
        TEST(sizes_of_memory_that_cannot_be_are_refused),
        TEST(memory_lies_on_both_sides_of_the_hole),
        TEST(every_table_adds_up_to_zero),
        TEST(the_fadt_says_where_the_ports_are),
        TEST(the_madt_names_processors_and_overrides),
        TEST(the_reference_tools_read_the_tables),
        TEST(the_reference_compiler_makes_the_same_dsdt),
        TEST(the_dsdt_with_vmbus_is_sound_but_for_its_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
