/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ACPI tables: RSDP, XSDT, FADT, FACS, MADT and a DSDT made here, written to LDR_ACPI_AREA.
 *
 * spec: ACPI 6.x, chapters 5 (tables), 19 and 20 (ASL, AML)
 */
#pragma once

#include "vmwp/loader/layout.h"

struct ldr_acpi_config {
    /* public */
    unsigned n_vps;          /* APIC IDs 0 to n_vps - 1 */
    uint16_t pm_base;        /* PM1a_EVT +0, PM1a_CNT +4, PM_TMR +8, GPE0 at gpe_base */
    uint16_t gpe_base;       /* 4 bytes: status, enable */
    uint16_t reset_port;     /* FADT reset register ... */
    uint8_t reset_value;     /* ... and what resets */
    uint8_t sci_irq;         /* level, active high */
    uint8_t s5_type;         /* SLP_TYP of \_S5 */
    uint8_t rtc_century;     /* CMOS index */
    uint32_t ioapic_address; /* one I/O APIC, GSIs from 0 on */
    uint8_t ioapic_id;
    bool has_com[2];
    bool has_pci;   /* PCI root with configuration ports */
    bool has_vmbus; /* the VMBus device and its windows */
};

/* Write the tables; *ret_rsdp is the address for the boot structures. Returns 0, or -ENOSPC (too
 * many VPs for the area), -EFAULT (no RAM there). */
int ldr_acpi_write(struct hv_gpa_space *space, const struct ldr_layout *layout,
                   const struct ldr_acpi_config *config, hv_gpa_t *ret_rsdp,
                   struct hv_error **reterr);
