/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/dev/isa.h"

#include "vmwp/dev/ioapic.h"
#include "vmwp/dev/pic.h"

void dev_isa_set_line(void *opaque, unsigned number, bool level)
{
    struct dev_isa *isa = opaque;

    if (number >= DEV_PIC_LINES || number == 2)
        return;
    dev_pic_set_line(isa->pic, number, level);
    dev_ioapic_set_line(isa->ioapic, number == 0 ? 2 : number, level);
}
