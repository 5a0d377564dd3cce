/* SPDX-License-Identifier: Apache-2.0 */
/* An interrupt message, as the IOAPIC and MSI make it (AMD64 vol. 2, chapter 16). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum hv_delivery_mode {
    HV_DELIVER_FIXED = 0,
    HV_DELIVER_LOWEST = 1,
    HV_DELIVER_SMI = 2,
    HV_DELIVER_NMI = 4,
    HV_DELIVER_INIT = 5,
    HV_DELIVER_SIPI = 6,
    HV_DELIVER_EXTINT = 7
};

struct hv_interrupt {
    /* public */
    uint32_t destination; /* physical APIC ID or logical destination; 0xff physical: everyone */
    uint8_t vector;
    uint8_t delivery_mode; /* enum hv_delivery_mode */
    bool is_logical;
    bool is_level;
};
