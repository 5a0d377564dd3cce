/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/state/parts.h"

#include "hvcore/base/own.h"

static const struct {
    uint32_t id;
    uint16_t version;
} parts[] = {
    { STATE_PARTITION, 1 }, { STATE_VP, 1 },      { STATE_PIC, 1 },     { STATE_IOAPIC, 1 },
    { STATE_PIT, 1 },       { STATE_RTC, 1 },     { STATE_UART, 1 },    { STATE_PM, 1 },
    { STATE_I8042, 1 },     { STATE_PCICFG, 1 },  { STATE_MISC, 1 },    { STATE_CONSOLE, 1 },
    { STATE_VMBUS, 1 },     { STATE_INBOX, 1 },   { STATE_STORAGE, 1 }, { STATE_IMAGES, 1 },
    { STATE_SERVICES, 1 },  { STATE_SERVICE, 1 },
};

uint16_t state_part_version(uint32_t id)
{
    for (size_t i = 0; i < HV_ARRAY_SIZE(parts); i++)
        if (parts[i].id == id)
            return parts[i].version;
    return 0;
}
