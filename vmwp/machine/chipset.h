/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chips of a machine, wired: lines to both interrupt controllers, those to the partition,
 * timers to the machine's clock.
 *
 * Lock order: pit, rtc, pm, uart, i8042 before pic before the partition; the same before ioapic
 * before the partition; console and clock locks are innermost.
 */
#pragma once

#include "vmwp/con/con.h"
#include "vmwp/dev/debugexit.h"
#include "vmwp/dev/i8042.h"
#include "vmwp/dev/ioapic.h"
#include "vmwp/dev/isa.h"
#include "vmwp/dev/misc.h"
#include "vmwp/dev/pcicfg.h"
#include "vmwp/dev/pic.h"
#include "vmwp/dev/pit.h"
#include "vmwp/dev/pm.h"
#include "vmwp/dev/rtc.h"
#include "vmwp/dev/uart.h"
#include "vmwp/loader/acpi.h"
#include "vmwp/machine/clock.h"
#include "vmwp/machine/machine.h"

struct state_image;
struct state_writer;

enum wp_chipset_timer { WP_TIMER_PIT, WP_TIMER_RTC, WP_TIMER_PM, WP_N_TIMERS };

struct wp_chipset {
    /* read only */
    struct con *con[WP_MACHINE_N_COM];
    /* private */
    struct wp_clock clock;
    struct wp_chip_timer timer[WP_N_TIMERS];
    struct hv_partition *partition; /* borrowed */
    void (*event)(void *opaque, enum wp_machine_event event, uint32_t status);
    void *event_opaque;
    bool is_wired;
    struct dev_isa isa;
    struct dev_pic pic;
    struct dev_ioapic ioapic;
    struct dev_pit pit;
    struct dev_rtc rtc;
    struct dev_uart uart[WP_MACHINE_N_COM];
    struct dev_pm pm;
    struct dev_i8042 i8042;
    struct dev_pcicfg pcicfg;
    struct dev_misc misc;
    struct dev_debugexit debugexit;
};

extern const struct hv_chipset_ops wp_chipset_ops; /* opaque: the struct wp_chipset */

/* First part, before the partition is there: consoles. */
int wp_chipset_init(struct wp_chipset *chipset);

/* Second part: make the chips and put them at their addresses. */
int wp_chipset_wire(struct wp_chipset *chipset, struct hv_partition *partition,
                    const struct ldr_layout *layout, const struct wp_machine_config *config,
                    struct hv_error **reterr);

/* The partition must still be there; no VP runs. */
void wp_chipset_fini(struct wp_chipset *chipset);

/* All chips as after power-on; no VP runs. */
void wp_chipset_reset(struct wp_chipset *chipset);
/* Chip timers stand still in between: stop before the partition's time stops, start after it goes
 * on, not twice in a row. */
void wp_chipset_stop_clock(struct wp_chipset *chipset);
void wp_chipset_start_clock(struct wp_chipset *chipset);

/* Their parts of a saved VM, out and in, while time stands and no VP runs. 0; restore: -EINVAL when
 * a chip cannot be in that state; save: an errno of state_writer_part. */
int wp_chipset_save(struct wp_chipset *chipset, struct state_writer *writer);
int wp_chipset_restore(struct wp_chipset *chipset, const struct state_image *image);

/* What the ACPI tables say of these chips. */
struct ldr_acpi_config wp_chipset_acpi(unsigned n_vps);
