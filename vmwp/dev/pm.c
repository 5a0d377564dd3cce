/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/dev/pm.h"

#include "hvcore/base/own.h"

#define NS_PER_SEC UINT64_C(1000000000)

enum {
    PM1_TMR = 0x0001,
    PM1_GBL = 0x0020,
    PM1_POWER_BUTTON = 0x0100,
    PM1_SLEEP_BUTTON = 0x0200,
    PM1_RTC = 0x0400,
    PM1_EVENTS = PM1_TMR | PM1_GBL | PM1_POWER_BUTTON | PM1_SLEEP_BUTTON | PM1_RTC,
    PM1_STATUS_BITS = PM1_EVENTS | 0x0010 | 0x8000, /* and BM_STS, WAK_STS */

    CNT_SCI_EN = 0x0001, /* always on: there is no legacy mode to come from */
    CNT_BM_RLD = 0x0002,
    CNT_SLP_TYP = 0x1c00,
    CNT_SLP_TYP_SHIFT = 10,
    CNT_SLP_EN = 0x2000,
    CNT_KEPT = CNT_SCI_EN | CNT_BM_RLD | CNT_SLP_TYP,

    RESET_CPU = 0x04,
    RESET_KEPT = 0x0a,

    TMR_TOP_SHIFT = 31
};

enum wish { WISH_NONE, WISH_POWER_OFF, WISH_RESET };

static uint64_t timer_ticks(const struct dev_pm *pm)
{
    uint64_t now = dev_clock_now_ns(&pm->config.clock), from = pm->state.timer_from_ns;

    return now > from ? dev_scale(now - from, DEV_PM_TMR_HZ, NS_PER_SEC) : 0;
}

/* TMR_STS says that the counter's top bit has changed. */
static void judge_timer(struct dev_pm *pm)
{
    uint64_t carries = timer_ticks(pm) >> TMR_TOP_SHIFT;

    if (carries > pm->state.timer_carries)
        pm->state.pm1_status |= PM1_TMR;
    pm->state.timer_carries = carries;
}

static void arm_timer(struct dev_pm *pm)
{
    const struct dev_pm_state *s = &pm->state;
    uint64_t ticks;

    if (!(s->pm1_enable & PM1_TMR) || (s->pm1_status & PM1_TMR)) {
        dev_timer_disarm(&pm->config.timer);
        return;
    }
    ticks = (s->timer_carries + 1) << TMR_TOP_SHIFT;
    dev_timer_arm(&pm->config.timer,
                  s->timer_from_ns + dev_scale(ticks, NS_PER_SEC, DEV_PM_TMR_HZ) + 1);
}

static void update(struct dev_pm *pm)
{
    const struct dev_pm_state *s = &pm->state;

    hv_irq_line_set(&pm->config.sci, (s->pm1_status & s->pm1_enable & PM1_EVENTS) != 0 ||
                                         (s->gpe_status & s->gpe_enable) != 0);
    arm_timer(pm);
}

void dev_pm_timer(void *opaque)
{
    struct dev_pm *pm = opaque;

    pthread_mutex_lock(&pm->lock);
    judge_timer(pm);
    update(pm);
    pthread_mutex_unlock(&pm->lock);
}

/* The register behind a pair of ports, for reading. */
static uint16_t word_at(const struct dev_pm_state *s, unsigned offset, uint32_t ticks)
{
    switch (offset) {
    case DEV_PM1_EVT: return s->pm1_status;
    case DEV_PM1_EVT + 2: return s->pm1_enable;
    case DEV_PM1_CNT: return s->pm1_control;
    case DEV_PM_TMR: return (uint16_t)ticks;
    case DEV_PM_TMR + 2: return (uint16_t)(ticks >> 16);
    case DEV_PM_GPE0: return s->gpe_status;
    case DEV_PM_GPE0 + 2: return s->gpe_enable;
    default: return 0;
    }
}

static uint64_t pm_read(void *opaque, uint64_t offset, unsigned size)
{
    struct dev_pm *pm = opaque;
    uint64_t value = 0;
    uint32_t ticks;

    pthread_mutex_lock(&pm->lock);
    ticks = (uint32_t)timer_ticks(pm);
    if (offset != DEV_PM_TMR) /* reading the timer, which is frequent, needs nothing else */
        judge_timer(pm);
    for (unsigned i = 0; i < size; i++) {
        unsigned at = (unsigned)offset + i;
        uint8_t byte = (uint8_t)(word_at(&pm->state, at & ~1U, ticks) >> (8 * (at & 1)));

        value |= (uint64_t)byte << (8 * i);
    }
    pthread_mutex_unlock(&pm->lock);
    return value;
}

/* Write one byte of PM1 control. Its upper byte holds SLP_TYP and SLP_EN. */
static enum wish write_control(struct dev_pm_state *s, uint16_t mask, uint16_t bits)
{
    uint16_t control = (uint16_t)((s->pm1_control & ~mask) | bits);

    s->pm1_control = (control & CNT_KEPT) | CNT_SCI_EN;
    if (bits & CNT_SLP_EN && (control & CNT_SLP_TYP) >> CNT_SLP_TYP_SHIFT == DEV_PM_S5_TYPE)
        return WISH_POWER_OFF;
    return WISH_NONE;
}

static enum wish write_byte(struct dev_pm_state *s, unsigned at, uint8_t byte)
{
    uint16_t bits = (uint16_t)(byte << (8 * (at & 1)));
    uint16_t mask = (uint16_t)(0xff << (8 * (at & 1)));

    switch (at & ~1U) {
    case DEV_PM1_EVT: s->pm1_status &= (uint16_t)~bits; break;
    case DEV_PM1_EVT + 2:
        s->pm1_enable = (uint16_t)((s->pm1_enable & ~mask) | bits) & PM1_EVENTS;
        break;
    case DEV_PM1_CNT: return write_control(s, mask, bits);
    case DEV_PM_GPE0: s->gpe_status &= (uint16_t)~bits; break;
    case DEV_PM_GPE0 + 2: s->gpe_enable = (uint16_t)((s->gpe_enable & ~mask) | bits); break;
    default: break;
    }
    return WISH_NONE;
}

static void grant(const struct dev_pm *pm, enum wish wish)
{
    if (wish == WISH_POWER_OFF && pm->config.power_off)
        pm->config.power_off(pm->config.opaque);
    if (wish == WISH_RESET && pm->config.reset)
        pm->config.reset(pm->config.opaque);
}

static void pm_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct dev_pm *pm = opaque;
    enum wish wish = WISH_NONE;

    pthread_mutex_lock(&pm->lock);
    judge_timer(pm);
    for (unsigned i = 0; i < size; i++) {
        enum wish one = write_byte(&pm->state, (unsigned)offset + i, (uint8_t)(value >> (8 * i)));

        wish = one == WISH_NONE ? wish : one;
    }
    update(pm);
    pthread_mutex_unlock(&pm->lock);
    grant(pm, wish);
}

static const struct hv_io_ops pm_ops = { .read = pm_read, .write = pm_write };

static uint64_t reset_read(void *opaque, uint64_t offset, unsigned size)
{
    struct dev_pm *pm = opaque;
    uint64_t value;

    pthread_mutex_lock(&pm->lock);
    value = pm->state.reset_control;
    pthread_mutex_unlock(&pm->lock);
    return value;
}

static void reset_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct dev_pm *pm = opaque;

    pthread_mutex_lock(&pm->lock);
    pm->state.reset_control = value & RESET_KEPT;
    pthread_mutex_unlock(&pm->lock);
    grant(pm, value & RESET_CPU ? WISH_RESET : WISH_NONE);
}

const struct hv_io_ops dev_pm_reset_ops = { .read = reset_read, .write = reset_write };

void dev_pm_press_power_button(struct dev_pm *pm)
{
    pthread_mutex_lock(&pm->lock);
    pm->state.pm1_status |= PM1_POWER_BUTTON;
    update(pm);
    pthread_mutex_unlock(&pm->lock);
}

void dev_pm_raise_gpe(struct dev_pm *pm, unsigned number)
{
    hv_assert(number < 16);
    pthread_mutex_lock(&pm->lock);
    pm->state.gpe_status |= (uint16_t)(1U << number);
    update(pm);
    pthread_mutex_unlock(&pm->lock);
}

void dev_pm_init(struct dev_pm *pm, const struct dev_pm_config *config)
{
    *pm = (struct dev_pm){ .config = *config };
    pthread_mutex_init(&pm->lock, NULL);
    dev_pm_reset(pm);
}

void dev_pm_fini(struct dev_pm *pm)
{
    dev_timer_disarm(&pm->config.timer);
    pthread_mutex_destroy(&pm->lock);
}

int dev_pm_map(struct dev_pm *pm, struct hv_io_space *ports)
{
    return hv_io_space_add(ports, DEV_PM_BASE, DEV_PM_PORTS, &pm_ops, pm);
}

void dev_pm_reset(struct dev_pm *pm)
{
    pthread_mutex_lock(&pm->lock);
    pm->state = (struct dev_pm_state){
        .timer_from_ns = dev_clock_now_ns(&pm->config.clock),
        .pm1_control = CNT_SCI_EN,
    };
    update(pm);
    pthread_mutex_unlock(&pm->lock);
}

void dev_pm_get_state(struct dev_pm *pm, struct dev_pm_state *ret)
{
    pthread_mutex_lock(&pm->lock);
    *ret = pm->state;
    pthread_mutex_unlock(&pm->lock);
}

int dev_pm_set_state(struct dev_pm *pm, const struct dev_pm_state *state)
{
    if ((state->pm1_status & ~PM1_STATUS_BITS) || (state->pm1_enable & ~PM1_EVENTS) ||
        (state->pm1_control & ~CNT_KEPT) || !(state->pm1_control & CNT_SCI_EN) ||
        (state->reset_control & ~RESET_KEPT) || state->timer_carries >= UINT64_C(1) << 32)
        return -EINVAL;
    pthread_mutex_lock(&pm->lock);
    pm->state = *state;
    update(pm);
    pthread_mutex_unlock(&pm->lock);
    return 0;
}
