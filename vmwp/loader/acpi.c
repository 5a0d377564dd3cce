/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/loader/acpi.h"

#include "vmwp/loader/acpi_priv.h"

#include <assert.h>
#include <string.h>

enum {
    HEADER_BYTES = 36,
    RSDP_BYTES = 36,
    RSDP_V1_BYTES = 20,
    FACS_BYTES = 64,
    AREA_BYTES = LDR_ACPI_AREA_END - LDR_ACPI_AREA,
    MAX_TABLES = 8,
    MAX_VPS = 255, /* MADT entries of the older kind name APIC IDs of 8 bits */

    FADT_WBINVD = 1 << 0,
    FADT_PROC_C1 = 1 << 2,
    FADT_SLP_BUTTON = 1 << 5, /* no such button among the fixed ones */
    FADT_FIX_RTC = 1 << 6,    /* the RTC wakes nobody */
    FADT_TMR_VAL_EXT = 1 << 8,
    FADT_RESET_REG_SUP = 1 << 10,
    FADT_USE_PLATFORM_CLOCK = 1 << 15,

    BOOT_LEGACY_DEVICES = 1 << 0,
    BOOT_VGA_NOT_PRESENT = 1 << 2, /* and no bit 1: nobody needs to look for an 8042 */

    MADT_LAPIC = 0,
    MADT_IOAPIC = 1,
    MADT_OVERRIDE = 2,
    MADT_LAPIC_NMI = 4,
    MADT_PCAT_COMPAT = 1,
    MADT_ENABLED = 1,
    MADT_HIGH_LEVEL = 0x0d, /* active high, level-triggered */
    MADT_ALL_PROCESSORS = 0xff,

    WAET_RTC_GOOD = 1,
    WAET_PM_TIMER_GOOD = 2
};

#define LAPIC_ADDRESS UINT32_C(0xfee00000)

struct header {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    char oem_id[6], oem_table_id[8];
    uint32_t oem_revision;
    char creator_id[4];
    uint32_t creator_revision;
} __attribute__((packed));

/* A generic address. */
struct gas {
    uint8_t space, bits, offset, access;
    uint64_t address;
} __attribute__((packed));

struct fadt {
    struct header header;
    uint32_t facs, dsdt;
    uint8_t reserved0, pm_profile;
    uint16_t sci_irq;
    uint32_t smi_command;
    uint8_t acpi_enable, acpi_disable, s4bios, pstate_control;
    uint32_t pm1a_event, pm1b_event, pm1a_control, pm1b_control, pm2_control, pm_timer;
    uint32_t gpe0, gpe1;
    uint8_t pm1_event_bytes, pm1_control_bytes, pm2_control_bytes, pm_timer_bytes;
    uint8_t gpe0_bytes, gpe1_bytes, gpe1_base, cst_control;
    uint16_t c2_latency, c3_latency, flush_size, flush_stride;
    uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
    uint16_t boot_flags;
    uint8_t reserved1;
    uint32_t flags;
    struct gas reset_register;
    uint8_t reset_value;
    uint16_t arm_boot_flags;
    uint8_t minor_version;
    uint64_t x_facs, x_dsdt;
    struct gas x_pm1a_event, x_pm1b_event, x_pm1a_control, x_pm1b_control, x_pm2_control;
    struct gas x_pm_timer, x_gpe0, x_gpe1, sleep_control, sleep_status;
    uint64_t hypervisor;
} __attribute__((packed));

static_assert(sizeof(struct header) == HEADER_BYTES, "ACPI 5.2.6");
static_assert(sizeof(struct gas) == 12, "ACPI 5.2.3.2");
static_assert(sizeof(struct fadt) == 276, "ACPI 5.2.9, revision 6");

/* The area while it is being filled. */
struct area {
    uint8_t *bytes; /* AREA_BYTES */
    size_t used;
    bool failed;
    uint64_t table[MAX_TABLES]; /* what RSDT and XSDT list */
    unsigned n_tables;
};

static uint64_t address_of(const void *at, const struct area *area)
{
    return LDR_ACPI_AREA + (uint64_t)((const uint8_t *)at - area->bytes);
}

/* Room for `bytes` zeroes, aligned to 64; NULL when the area is full. */
static void *take(struct area *area, size_t bytes)
{
    size_t at = (area->used + 63) & ~(size_t)63;

    if (area->failed || at > AREA_BYTES || bytes > AREA_BYTES - at) {
        area->failed = true;
        return NULL;
    }
    area->used = at + bytes;
    return area->bytes + at;
}

static uint8_t checksum(const void *bytes, size_t length)
{
    const uint8_t *at = bytes;
    uint8_t sum = 0;

    while (length-- > 0)
        sum = (uint8_t)(sum + *at++);
    return (uint8_t)-sum;
}

static void seal(struct header *header, const char *signature, size_t length, uint8_t revision)
{
    memcpy(header->signature, signature, 4);
    header->length = (uint32_t)length;
    header->revision = revision;
    memcpy(header->oem_id, "HVSTCK", 6);
    memcpy(header->oem_table_id, "HVSTACK ", 8);
    header->oem_revision = 1;
    memcpy(header->creator_id, "HVST", 4);
    header->creator_revision = 1;
    header->checksum = 0;
    header->checksum = checksum(header, length);
}

static void list_table(struct area *area, const void *table)
{
    if (table)
        area->table[area->n_tables++] = address_of(table, area);
}

static struct gas io_register(uint16_t port, uint8_t bytes)
{
    static const uint8_t access[] = { [1] = 1, [2] = 2, [4] = 3 };

    return (struct gas){
        .space = 1, .bits = (uint8_t)(bytes * 8), .access = access[bytes], .address = port
    };
}

static uint64_t put_dsdt(struct area *area, const struct ldr_layout *layout,
                         const struct ldr_acpi_config *config)
{
    struct header *dsdt = take(area, sizeof(*dsdt));
    size_t length;

    if (!dsdt)
        return 0;
    length = ldr_dsdt_write(layout, config, dsdt + 1, AREA_BYTES - area->used);
    if (length == 0) {
        area->failed = true;
        return 0;
    }
    area->used += length;
    seal(dsdt, "DSDT", sizeof(*dsdt) + length, 2);
    return address_of(dsdt, area);
}

/* The firmware's control structure: no firmware waits for anything in it. */
static uint64_t put_facs(struct area *area)
{
    uint8_t *facs = take(area, FACS_BYTES);

    if (!facs)
        return 0;
    memcpy(facs, "FACS", 4);
    facs[4] = FACS_BYTES;
    facs[32] = 2; /* version */
    return address_of(facs, area);
}

static void fill_fadt_ports(struct fadt *fadt, const struct ldr_acpi_config *config)
{
    fadt->pm1a_event = config->pm_base;
    fadt->pm1a_control = config->pm_base + 4U;
    fadt->pm_timer = config->pm_base + 8U;
    fadt->gpe0 = config->gpe_base;
    fadt->pm1_event_bytes = 4;
    fadt->pm1_control_bytes = 2;
    fadt->pm_timer_bytes = 4;
    fadt->gpe0_bytes = 4;
    fadt->x_pm1a_event = io_register(config->pm_base, 4);
    fadt->x_pm1a_control = io_register((uint16_t)(config->pm_base + 4), 2);
    fadt->x_pm_timer = io_register((uint16_t)(config->pm_base + 8), 4);
    fadt->x_gpe0 = io_register(config->gpe_base, 4);
    fadt->x_pm1a_event.access = 2; /* two registers of 16 bits each */
    fadt->x_gpe0.access = 1;
    fadt->reset_register = io_register(config->reset_port, 1);
    fadt->reset_value = config->reset_value;
}

static void put_fadt(struct area *area, uint64_t dsdt, uint64_t facs,
                     const struct ldr_acpi_config *config)
{
    struct fadt *fadt = take(area, sizeof(*fadt));

    if (!fadt)
        return;
    fadt->facs = (uint32_t)facs;
    fadt->dsdt = (uint32_t)dsdt;
    fadt->x_dsdt = dsdt;
    fadt->pm_profile = 4; /* enterprise server */
    fadt->sci_irq = config->sci_irq;
    fadt->c2_latency = 101; /* above the limit: there is no such state */
    fadt->c3_latency = 1001;
    fadt->century = config->rtc_century;
    fadt->boot_flags = BOOT_LEGACY_DEVICES | BOOT_VGA_NOT_PRESENT;
    fadt->flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC | FADT_TMR_VAL_EXT |
                  FADT_RESET_REG_SUP | FADT_USE_PLATFORM_CLOCK;
    fill_fadt_ports(fadt, config);
    seal(&fadt->header, "FACP", sizeof(*fadt), 6);
    list_table(area, fadt);
}

static uint8_t *put_lapics(uint8_t *at, unsigned n_vps)
{
    for (unsigned i = 0; i < n_vps; i++, at += 8) {
        at[0] = MADT_LAPIC;
        at[1] = 8;
        at[2] = (uint8_t)i; /* processor UID */
        at[3] = (uint8_t)i; /* APIC ID */
        at[4] = MADT_ENABLED;
    }
    return at;
}

static uint8_t *put_ioapic(uint8_t *at, const struct ldr_acpi_config *config)
{
    at[0] = MADT_IOAPIC;
    at[1] = 12;
    at[2] = config->ioapic_id;
    memcpy(at + 4, &config->ioapic_address, 4);
    return at + 12;
}

static uint8_t *put_override(uint8_t *at, uint8_t irq, uint8_t pin, uint8_t flags)
{
    at[0] = MADT_OVERRIDE;
    at[1] = 10;
    at[3] = irq;
    at[4] = pin;
    at[8] = flags;
    return at + 10;
}

static uint8_t *put_lapic_nmi(uint8_t *at)
{
    at[0] = MADT_LAPIC_NMI;
    at[1] = 6;
    at[2] = MADT_ALL_PROCESSORS;
    at[5] = 1; /* LINT1 */
    return at + 6;
}

static void put_madt(struct area *area, const struct ldr_acpi_config *config)
{
    size_t bytes = HEADER_BYTES + 8 + 8U * config->n_vps + 12 + 2 * 10 + 6;
    uint8_t *madt = take(area, bytes), *at;
    uint32_t lapic = LAPIC_ADDRESS;

    if (!madt)
        return;
    memcpy(madt + HEADER_BYTES, &lapic, sizeof(lapic));
    madt[HEADER_BYTES + 4] = MADT_PCAT_COMPAT;
    at = put_lapics(madt + HEADER_BYTES + 8, config->n_vps);
    at = put_ioapic(at, config);
    at = put_override(at, 0, 2, 0);
    at = put_override(at, config->sci_irq, config->sci_irq, MADT_HIGH_LEVEL);
    at = put_lapic_nmi(at);
    hv_assert(at == madt + bytes);
    seal((struct header *)(void *)madt, "APIC", bytes, 4);
    list_table(area, madt);
}

/* Tells guests that RTC and PM timer need no second reading. */
static void put_waet(struct area *area)
{
    uint8_t *waet = take(area, HEADER_BYTES + 4);

    if (!waet)
        return;
    waet[HEADER_BYTES] = WAET_RTC_GOOD | WAET_PM_TIMER_GOOD;
    seal((struct header *)(void *)waet, "WAET", HEADER_BYTES + 4, 1);
    list_table(area, waet);
}

/* RSDT (width 4) or XSDT (width 8). */
static uint64_t put_list(struct area *area, const char *signature, size_t width)
{
    size_t bytes = HEADER_BYTES + width * area->n_tables;
    uint8_t *list = take(area, bytes);

    if (!list)
        return 0;
    for (unsigned i = 0; i < area->n_tables; i++)
        memcpy(list + HEADER_BYTES + width * i, &area->table[i], width);
    seal((struct header *)(void *)list, signature, bytes, 1);
    return address_of(list, area);
}

/* At the start of the area, where kernels that are told nothing look for it. */
static void put_rsdp(uint8_t *rsdp, uint64_t rsdt, uint64_t xsdt)
{
    const uint32_t length = RSDP_BYTES;

    memcpy(rsdp, "RSD PTR ", 8);
    memcpy(rsdp + 9, "HVSTCK", 6);
    rsdp[15] = 2; /* revision */
    memcpy(rsdp + 16, &rsdt, 4);
    memcpy(rsdp + 20, &length, 4);
    memcpy(rsdp + 24, &xsdt, 8);
    rsdp[8] = checksum(rsdp, RSDP_V1_BYTES);
    rsdp[32] = checksum(rsdp, RSDP_BYTES);
}

static bool fill_area(struct area *area, const struct ldr_layout *layout,
                      const struct ldr_acpi_config *config)
{
    uint8_t *rsdp = take(area, RSDP_BYTES);
    uint64_t facs = put_facs(area), dsdt = put_dsdt(area, layout, config), rsdt;

    put_fadt(area, dsdt, facs, config);
    put_madt(area, config);
    put_waet(area);
    rsdt = put_list(area, "RSDT", 4);
    put_rsdp(rsdp, rsdt, put_list(area, "XSDT", 8));
    return !area->failed;
}

int ldr_acpi_write(struct hv_gpa_space *space, const struct ldr_layout *layout,
                   const struct ldr_acpi_config *config, hv_gpa_t *ret_rsdp,
                   struct hv_error **reterr)
{
    hv_autofree uint8_t *bytes = calloc(1, AREA_BYTES);
    struct area area = { .bytes = bytes };
    int r;

    if (!bytes)
        return -ENOMEM;
    if (config->n_vps > MAX_VPS || !fill_area(&area, layout, config))
        return hv_error_set_field(reterr, -ENOSPC, "memory.startup", "memory.startup",
                                  "The ACPI tables for %u virtual processors do not fit.",
                                  config->n_vps);
    r = hv_gpa_write(space, LDR_ACPI_AREA, bytes, AREA_BYTES);
    if (r < 0)
        return hv_error_set_field(reterr, r, "memory.startup", "memory.startup",
                                  "There is no memory for the ACPI tables.");
    *ret_rsdp = LDR_ACPI_AREA;
    return 0;
}
