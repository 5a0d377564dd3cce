/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/machine/chipset.h"

enum { IRQ_PIT = 0, IRQ_KEYBOARD = 1, IRQ_RTC = 8, IRQ_MOUSE = 12 };

static const uint16_t com_port[WP_MACHINE_N_COM] = { DEV_UART_COM1, DEV_UART_COM2 };
static const unsigned com_irq[WP_MACHINE_N_COM] = { 4, 3 };

static int acknowledge(void *opaque)
{
    struct wp_chipset *chipset = opaque;

    return dev_pic_acknowledge(&chipset->pic);
}

static void end_of_interrupt(void *opaque, uint8_t vector)
{
    struct wp_chipset *chipset = opaque;

    dev_ioapic_end_of_interrupt(&chipset->ioapic, vector);
}

const struct hv_chipset_ops wp_chipset_ops = { .pic_acknowledge = acknowledge,
                                               .end_of_interrupt = end_of_interrupt };

static void set_pic_output(void *opaque, bool level)
{
    struct wp_chipset *chipset = opaque;

    hv_partition_set_pic_output(chipset->partition, level);
}

static void deliver(void *opaque, const struct hv_interrupt *interrupt)
{
    struct wp_chipset *chipset = opaque;

    hv_partition_interrupt(chipset->partition, interrupt);
}

static void on_power_off(void *opaque)
{
    struct wp_chipset *chipset = opaque;

    chipset->event(chipset->event_opaque, WP_MACHINE_POWER_OFF, 0);
}

static void on_reset(void *opaque)
{
    struct wp_chipset *chipset = opaque;

    chipset->event(chipset->event_opaque, WP_MACHINE_RESET, 0);
}

static void on_debug_exit(void *opaque, uint32_t status)
{
    struct wp_chipset *chipset = opaque;

    chipset->event(chipset->event_opaque, WP_MACHINE_DEBUG_EXIT, status);
}

int wp_chipset_init(struct wp_chipset *chipset)
{
    int r = 0;

    for (unsigned i = 0; r >= 0 && i < WP_MACHINE_N_COM; i++)
        r = con_new(CON_RING_BYTES, &chipset->con[i]);
    return r;
}

static void bind_timers(struct wp_chipset *c)
{
    struct hv_timer_queue *timers = hv_partition_timers(c->partition);

    wp_clock_init(&c->clock, c->partition);
    wp_chip_timer_init(&c->timer[WP_TIMER_PIT], timers, &c->clock, dev_pit_timer, &c->pit);
    wp_chip_timer_init(&c->timer[WP_TIMER_RTC], timers, &c->clock, dev_rtc_timer, &c->rtc);
    wp_chip_timer_init(&c->timer[WP_TIMER_PM], timers, &c->clock, dev_pm_timer, &c->pm);
}

static void init_controllers(struct wp_chipset *c)
{
    dev_pic_init(&c->pic, &(struct dev_pic_config){ .set_output = set_pic_output, .opaque = c });
    dev_ioapic_init(&c->ioapic, &(struct dev_ioapic_config){ .deliver = deliver, .opaque = c });
    c->isa = (struct dev_isa){ .pic = &c->pic, .ioapic = &c->ioapic };
}

static void init_clocks(struct wp_chipset *c, const struct ldr_layout *layout)
{
    struct dev_clock clock = wp_clock_face(&c->clock);

    dev_pit_init(&c->pit, &(struct dev_pit_config){
                              .irq = dev_isa_line(&c->isa, IRQ_PIT),
                              .clock = clock,
                              .timer = wp_chip_timer_face(&c->timer[WP_TIMER_PIT]),
                          });
    dev_rtc_init(&c->rtc, &(struct dev_rtc_config){
                              .irq = dev_isa_line(&c->isa, IRQ_RTC),
                              .clock = clock,
                              .timer = wp_chip_timer_face(&c->timer[WP_TIMER_RTC]),
                              .ram_low_bytes = layout->ram_low_bytes,
                              .ram_high_bytes = layout->ram_high_bytes,
                          });
    dev_pm_init(&c->pm, &(struct dev_pm_config){
                            .sci = dev_isa_line(&c->isa, DEV_PM_SCI_IRQ),
                            .clock = clock,
                            .timer = wp_chip_timer_face(&c->timer[WP_TIMER_PM]),
                            .power_off = on_power_off,
                            .reset = on_reset,
                            .opaque = c,
                        });
}

static void init_others(struct wp_chipset *c)
{
    for (unsigned i = 0; i < WP_MACHINE_N_COM; i++)
        dev_uart_init(&c->uart[i],
                      &(struct dev_uart_config){ .irq = dev_isa_line(&c->isa, com_irq[i]),
                                                 .con = c->con[i] });
    dev_i8042_init(&c->i8042,
                   &(struct dev_i8042_config){ .keyboard = dev_isa_line(&c->isa, IRQ_KEYBOARD),
                                               .mouse = dev_isa_line(&c->isa, IRQ_MOUSE),
                                               .reset = on_reset,
                                               .opaque = c });
    dev_pcicfg_init(&c->pcicfg, &(struct dev_pcicfg_config){ .has_host_bridge = true,
                                                             .reset_ops = &dev_pm_reset_ops,
                                                             .reset_opaque = &c->pm });
    dev_misc_init(&c->misc, &(struct dev_misc_config){ .reset = on_reset, .opaque = c });
    c->debugexit = (struct dev_debugexit){ .exit = on_debug_exit, .opaque = c };
}

/* Our own addresses never collide; the debug port, which is the owner's choice, may. */
static int map_debug_exit(struct wp_chipset *c, uint16_t port, struct hv_error **reterr)
{
    if (port == 0)
        return 0;
    if (port > UINT16_MAX + 1 - DEV_DEBUGEXIT_PORTS ||
        dev_debugexit_map(&c->debugexit, hv_partition_ports(c->partition), port) < 0)
        return hv_error_set_field(reterr, -EINVAL, "vm.machine.debug_exit", "debug_exit_port",
                                  "The four ports from 0x%x on are not free for the debug exit; "
                                  "0xf4 is.",
                                  port);
    return 0;
}

static int map_chips(struct wp_chipset *c)
{
    struct hv_io_space *ports = hv_partition_ports(c->partition);
    int r;

    r = dev_ioapic_map(&c->ioapic, hv_partition_mmio(c->partition));
    r = r < 0 ? r : dev_pic_map(&c->pic, ports);
    r = r < 0 ? r : dev_pit_map(&c->pit, ports);
    r = r < 0 ? r : dev_rtc_map(&c->rtc, ports);
    for (unsigned i = 0; i < WP_MACHINE_N_COM; i++)
        r = r < 0 ? r : dev_uart_map(&c->uart[i], ports, com_port[i]);
    r = r < 0 ? r : dev_pm_map(&c->pm, ports);
    r = r < 0 ? r : dev_i8042_map(&c->i8042, ports);
    r = r < 0 ? r : dev_pcicfg_map(&c->pcicfg, ports);
    r = r < 0 ? r : dev_misc_map(&c->misc, ports);
    return r;
}

int wp_chipset_wire(struct wp_chipset *chipset, struct hv_partition *partition,
                    const struct ldr_layout *layout, const struct wp_machine_config *config,
                    struct hv_error **reterr)
{
    int r;

    chipset->partition = partition;
    chipset->event = config->event;
    chipset->event_opaque = config->opaque;
    bind_timers(chipset);
    init_controllers(chipset);
    init_clocks(chipset, layout);
    init_others(chipset);
    chipset->is_wired = true;
    r = map_chips(chipset);
    if (r < 0)
        return hv_error_set(reterr, r, "vm.machine.ports", "A chip cannot be put at its ports.");
    return map_debug_exit(chipset, config->debug_exit_port, reterr);
}

static void fini_chips(struct wp_chipset *c)
{
    for (unsigned i = 0; i < WP_N_TIMERS; i++)
        wp_chip_timer_cancel(&c->timer[i]);
    dev_misc_fini(&c->misc);
    dev_pcicfg_fini(&c->pcicfg);
    dev_i8042_fini(&c->i8042);
    for (unsigned i = 0; i < WP_MACHINE_N_COM; i++)
        dev_uart_fini(&c->uart[i]);
    dev_pm_fini(&c->pm);
    dev_rtc_fini(&c->rtc);
    dev_pit_fini(&c->pit);
    dev_ioapic_fini(&c->ioapic);
    dev_pic_fini(&c->pic);
}

void wp_chipset_fini(struct wp_chipset *chipset)
{
    if (chipset->is_wired)
        fini_chips(chipset);
    for (unsigned i = 0; i < WP_MACHINE_N_COM; i++)
        chipset->con[i] = con_free(chipset->con[i]);
}

/* Sources before the controllers, so that a line that falls is no edge to a fresh one. */
void wp_chipset_reset(struct wp_chipset *c)
{
    dev_pit_reset(&c->pit);
    dev_rtc_reset(&c->rtc);
    dev_pm_reset(&c->pm);
    for (unsigned i = 0; i < WP_MACHINE_N_COM; i++)
        dev_uart_reset(&c->uart[i]);
    dev_i8042_reset(&c->i8042);
    dev_pcicfg_reset(&c->pcicfg);
    dev_misc_reset(&c->misc);
    dev_ioapic_reset(&c->ioapic);
    dev_pic_reset(&c->pic);
}

void wp_chipset_stop_clock(struct wp_chipset *chipset)
{
    wp_clock_stop(&chipset->clock);
}

void wp_chipset_start_clock(struct wp_chipset *chipset)
{
    wp_clock_go(&chipset->clock);
    for (unsigned i = 0; i < WP_N_TIMERS; i++)
        wp_chip_timer_rearm(&chipset->timer[i]);
}

struct ldr_acpi_config wp_chipset_acpi(unsigned n_vps)
{
    return (struct ldr_acpi_config){
        .n_vps = n_vps,
        .pm_base = DEV_PM_BASE,
        .gpe_base = DEV_PM_BASE + DEV_PM_GPE0,
        .reset_port = DEV_PM_RESET_PORT,
        .reset_value = DEV_PM_RESET_VALUE,
        .sci_irq = DEV_PM_SCI_IRQ,
        .s5_type = DEV_PM_S5_TYPE,
        .rtc_century = DEV_RTC_CENTURY,
        .ioapic_address = (uint32_t)DEV_IOAPIC_BASE,
        .ioapic_id = 0,
        .has_com = { true, true },
        .has_pci = true,
        .has_vmbus = true,
    };
}
