/* SPDX-License-Identifier: Apache-2.0 */
/* The chips in a saved VM: which part each is, and its fields. */
#include "vmwp/machine/chipset.h"
#include "vmwp/state/parts.h"

/* Each function describes one chip's state, for both directions. */

static void visit_pic(struct hv_fields *f, struct dev_pic_state *s)
{
    for (unsigned i = 0; i < HV_ARRAY_SIZE(s->chip); i++) {
        struct dev_pic_chip_state *c = &s->chip[i];
        uint8_t *const fields[] = {
            &c->irr,        &c->isr,         &c->imr,    &c->lines,           &c->elcr,
            &c->icw_vector, &c->icw_cascade, &c->icw4,   &c->next_icw,        &c->expects_icw4,
            &c->is_single,  &c->is_level,    &c->lowest, &c->rotates_on_aeoi, &c->special_mask,
            &c->polled,     &c->reads_isr
        };

        for (unsigned k = 0; k < HV_ARRAY_SIZE(fields); k++)
            hv_field_u8(f, fields[k]);
    }
    hv_field_u8(f, &s->output);
}

static void visit_ioapic(struct hv_fields *f, struct dev_ioapic_state *s)
{
    for (unsigned i = 0; i < DEV_IOAPIC_PINS; i++)
        hv_field_u64(f, &s->entry[i]);
    hv_field_u32(f, &s->lines);
    hv_field_u32(f, &s->select);
    hv_field_u8(f, &s->id);
}

static void visit_counter(struct hv_fields *f, struct dev_pit_counter_state *c)
{
    uint8_t *const bytes[] = { &c->latched_status, &c->mode,        &c->access,
                               &c->is_bcd,         &c->has_latch,   &c->has_status_latch,
                               &c->reads_high,     &c->writes_high, &c->low_written,
                               &c->gate,           &c->is_counting };

    hv_field_u64(f, &c->start_ns);
    hv_field_u64(f, &c->frozen);
    hv_field_u32(f, &c->reload);
    hv_field_u32(f, &c->next_reload);
    hv_field_u16(f, &c->latched);
    for (unsigned i = 0; i < HV_ARRAY_SIZE(bytes); i++)
        hv_field_u8(f, bytes[i]);
}

static void visit_pit(struct hv_fields *f, struct dev_pit_state *s)
{
    for (unsigned i = 0; i < DEV_PIT_COUNTERS; i++)
        visit_counter(f, &s->counter[i]);
    hv_field_u64(f, &s->ticks_done);
    hv_field_u8(f, &s->control_b);
    hv_field_u8(f, &s->irq_level);
}

static void visit_rtc(struct hv_fields *f, struct dev_rtc_state *s)
{
    uint64_t offset_s = (uint64_t)s->offset_s, update_done = (uint64_t)s->update_done;

    hv_field_u64(f, &offset_s);
    hv_field_u32(f, &s->offset_ns);
    hv_field_u8(f, &s->is_held);
    hv_field_u8(f, &s->divider_held);
    hv_field_u8(f, &s->index);
    hv_field_u64(f, &update_done);
    hv_field_u64(f, &s->periodic_from_ns);
    hv_field_u64(f, &s->periodic_done);
    hv_field_bytes(f, s->cmos, sizeof(s->cmos));
    s->offset_s = (int64_t)offset_s;
    s->update_done = (int64_t)update_done;
}

static void visit_uart(struct hv_fields *f, struct dev_uart_state *s)
{
    uint8_t *const bytes[] = { &s->ier,      &s->fcr,      &s->lcr,        &s->mcr, &s->scr,
                               &s->dll,      &s->dlm,      &s->lsr_errors, &s->msr, &s->thre_raised,
                               &s->rx_first, &s->rx_count, &s->lsr_polls };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(bytes); i++)
        hv_field_u8(f, bytes[i]);
    hv_field_bytes(f, s->rx, sizeof(s->rx));
}

static void visit_pm(struct hv_fields *f, struct dev_pm_state *s)
{
    hv_field_u64(f, &s->timer_from_ns);
    hv_field_u64(f, &s->timer_carries);
    hv_field_u16(f, &s->pm1_status);
    hv_field_u16(f, &s->pm1_enable);
    hv_field_u16(f, &s->pm1_control);
    hv_field_u16(f, &s->gpe_status);
    hv_field_u16(f, &s->gpe_enable);
    hv_field_u8(f, &s->reset_control);
}

static void visit_i8042(struct hv_fields *f, struct dev_i8042_state *s)
{
    hv_field_u8(f, &s->status);
    hv_field_u8(f, &s->data);
    hv_field_u8(f, &s->command);
    hv_field_u8(f, &s->mode);
    hv_field_u8(f, &s->output_port);
    hv_field_bytes(f, s->memory, sizeof(s->memory));
}

static void visit_pcicfg(struct hv_fields *f, struct dev_pcicfg_state *s)
{
    hv_field_u32(f, &s->address);
    hv_field_u16(f, &s->bridge_command);
    hv_field_u8(f, &s->bridge_line);
}

static void visit_misc(struct hv_fields *f, struct dev_misc_state *s)
{
    hv_field_bytes(f, s->dma, sizeof(s->dma));
    hv_field_bytes(f, s->page, sizeof(s->page));
    hv_field_u8(f, &s->control_a);
}

/* Out of the chip into the fields, or the other way: 0, or -EINVAL for what a chip cannot be in. */
#define PASS(kind, chip)                                                                           \
    static int pass_##kind(struct hv_fields *f, struct wp_chipset *c, unsigned instance)           \
    {                                                                                              \
        struct dev_##kind##_state s = { 0 };                                                       \
                                                                                                   \
        (void)instance;                                                                            \
        dev_##kind##_get_state(chip, &s);                                                          \
        visit_##kind(f, &s);                                                                       \
        if (!f->is_reading)                                                                        \
            return 0;                                                                              \
        return hv_fields_is_done(f) ? dev_##kind##_set_state(chip, &s) : -EINVAL;                  \
    }

PASS(pic, &c->pic)
PASS(ioapic, &c->ioapic)
PASS(pit, &c->pit)
PASS(rtc, &c->rtc)
PASS(uart, &c->uart[instance])
PASS(pm, &c->pm)
PASS(i8042, &c->i8042)
PASS(pcicfg, &c->pcicfg)
PASS(misc, &c->misc)

static int pass_console(struct hv_fields *f, struct wp_chipset *c, unsigned instance)
{
    con_visit(c->con[instance], f);
    return !f->is_reading || hv_fields_is_done(f) ? 0 : -EINVAL;
}

/* In the order in which they are put back: what drives a line before the controllers, whose own
 * idea of it counts. */
static const struct {
    uint32_t id;
    unsigned instance;
    int (*pass)(struct hv_fields *f, struct wp_chipset *c, unsigned instance);
} chips[] = {
    { STATE_CONSOLE, 0, pass_console }, { STATE_CONSOLE, 1, pass_console },
    { STATE_UART, 0, pass_uart },       { STATE_UART, 1, pass_uart },
    { STATE_PIT, 0, pass_pit },         { STATE_RTC, 0, pass_rtc },
    { STATE_PM, 0, pass_pm },           { STATE_I8042, 0, pass_i8042 },
    { STATE_PCICFG, 0, pass_pcicfg },   { STATE_MISC, 0, pass_misc },
    { STATE_IOAPIC, 0, pass_ioapic },   { STATE_PIC, 0, pass_pic },
};

int wp_chipset_save(struct wp_chipset *chipset, struct state_writer *writer)
{
    int r = 0;

    for (unsigned i = 0; r >= 0 && i < HV_ARRAY_SIZE(chips); i++) {
        struct hv_fields fields = hv_fields_writer();

        (void)chips[i].pass(&fields, chipset, chips[i].instance);
        r = state_writer_part(writer, chips[i].id, chips[i].instance, &fields);
    }
    return r;
}

int wp_chipset_restore(struct wp_chipset *chipset, const struct state_image *image)
{
    int r = 0;

    for (unsigned i = 0; r >= 0 && i < HV_ARRAY_SIZE(chips); i++) {
        struct hv_fields fields = state_image_fields(image, chips[i].id, chips[i].instance);

        r = chips[i].pass(&fields, chipset, chips[i].instance);
    }
    return r;
}
