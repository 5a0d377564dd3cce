/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/dev/rtc.h"

#include <errno.h>

#define NS_PER_SEC UINT64_C(1000000000)

enum {
    PORT = 0x70,
    INDEX_MASK = 0x7f,
    INDEX_NMI = 0x80,

    REG_SECOND = 0,
    REG_SECOND_ALARM = 1,
    REG_MINUTE = 2,
    REG_MINUTE_ALARM = 3,
    REG_HOUR = 4,
    REG_HOUR_ALARM = 5,
    REG_WEEKDAY = 6,
    REG_DAY = 7,
    REG_MONTH = 8,
    REG_YEAR = 9,
    REG_A = 10,
    REG_B = 11,
    REG_C = 12,
    REG_D = 13,

    A_UIP = 0x80,
    A_DIVIDER = 0x70,
    A_DIVIDER_RESET = 0x60, /* both top bits set: the divider stands still */
    A_RATE = 0x0f,
    A_DEFAULT = 0x26, /* 32768 Hz time base, 1024 Hz periodic rate */

    B_SET = 0x80,
    B_PIE = 0x40,
    B_AIE = 0x20,
    B_UIE = 0x10,
    B_SQWE = 0x08,
    B_BINARY = 0x04,
    B_24H = 0x02,

    C_IRQF = 0x80,
    C_PF = 0x40,
    C_AF = 0x20,
    C_UF = 0x10,

    D_VALID = 0x80,

    HOUR_PM = 0x80,
    ALARM_ANY = 0xc0, /* both top bits set: every value matches */

    UIP_NS = 244000, /* the update in progress bit rises this long before an update */
    DAY_SECONDS = 86400
};

struct moment {
    int64_t second; /* since 1970, guest's time */
    uint32_t ns;
};

static struct moment now_of(const struct dev_rtc *rtc)
{
    uint64_t wall = dev_clock_wall_ns(&rtc->config.clock);
    uint64_t ns = wall % NS_PER_SEC + rtc->state.offset_ns;

    return (struct moment){
        .second = (int64_t)(wall / NS_PER_SEC) + rtc->state.offset_s + (int64_t)(ns / NS_PER_SEC),
        .ns = (uint32_t)(ns % NS_PER_SEC),
    };
}

/* Make the guest's time be `at` from now on. */
static void set_now(struct dev_rtc *rtc, struct moment at)
{
    uint64_t wall = dev_clock_wall_ns(&rtc->config.clock);
    int64_t ns = (int64_t)at.ns - (int64_t)(wall % NS_PER_SEC);

    rtc->state.offset_s = at.second - (int64_t)(wall / NS_PER_SEC) - (ns < 0);
    rtc->state.offset_ns = (uint32_t)(ns < 0 ? ns + (int64_t)NS_PER_SEC : ns);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Days since 1970-01-01 of a proleptic Gregorian date. Months count on beyond 12, days beyond the
 * month's. Years are taken to begin in March, so that the leap day comes last. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    int64_t m = month + 9, y = year + floor_div(m, 12) - 1;

    m %= 12;
    return 365 * y + floor_div(y, 4) - floor_div(y, 100) + floor_div(y, 400) + (153 * m + 2) / 5 +
           day - 1 - 719468;
}

static void date_of(int64_t days, int64_t *ret_year, unsigned *ret_month, unsigned *ret_day)
{
    int64_t since = days + 719468, era = floor_div(since, 146097);
    int64_t in_era = since - era * 146097;
    int64_t y = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int64_t in_year = in_era - (365 * y + y / 4 - y / 100);
    int64_t m = (5 * in_year + 2) / 153;

    *ret_day = (unsigned)(in_year - (153 * m + 2) / 5 + 1);
    *ret_month = (unsigned)(m < 10 ? m + 3 : m - 9);
    *ret_year = y + era * 400 + (*ret_month <= 2);
}

static uint8_t encode(const struct dev_rtc_state *s, unsigned value)
{
    return (uint8_t)(s->cmos[REG_B] & B_BINARY ? value : (value / 10 % 10) << 4 | value % 10);
}

static unsigned decode(const struct dev_rtc_state *s, uint8_t value)
{
    return s->cmos[REG_B] & B_BINARY ? value : (value >> 4) * 10U + (value & 15);
}

static uint8_t encode_hour(const struct dev_rtc_state *s, unsigned hour)
{
    if (s->cmos[REG_B] & B_24H)
        return encode(s, hour);
    return (uint8_t)(encode(s, hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? HOUR_PM : 0));
}

static unsigned decode_hour(const struct dev_rtc_state *s, uint8_t value)
{
    if (s->cmos[REG_B] & B_24H)
        return decode(s, value);
    return decode(s, value & (uint8_t)~HOUR_PM) % 12 + (value & HOUR_PM ? 12 : 0);
}

/* Write the time into its registers, in the guest's format. */
static void show_time(struct dev_rtc_state *s, int64_t second)
{
    int64_t days = floor_div(second, DAY_SECONDS), year;
    unsigned rest = (unsigned)(second - days * DAY_SECONDS), month, day;

    date_of(days, &year, &month, &day);
    year = ((year % 10000) + 10000) % 10000;
    s->cmos[REG_SECOND] = encode(s, rest % 60);
    s->cmos[REG_MINUTE] = encode(s, rest / 60 % 60);
    s->cmos[REG_HOUR] = encode_hour(s, rest / 3600);
    s->cmos[REG_WEEKDAY] = encode(s, (unsigned)(((days + 4) % 7 + 7) % 7) + 1);
    s->cmos[REG_DAY] = encode(s, day);
    s->cmos[REG_MONTH] = encode(s, month);
    s->cmos[REG_YEAR] = encode(s, (unsigned)(year % 100));
    s->cmos[DEV_RTC_CENTURY] = encode(s, (unsigned)(year / 100));
}

/* The time that stands in the registers. Digits that are none count as what they would be. */
static int64_t time_shown(const struct dev_rtc_state *s)
{
    int64_t year =
        (int64_t)decode(s, s->cmos[DEV_RTC_CENTURY]) * 100 + decode(s, s->cmos[REG_YEAR]);
    int64_t days = days_of(year, decode(s, s->cmos[REG_MONTH]), decode(s, s->cmos[REG_DAY]));

    return days * DAY_SECONDS + (int64_t)decode_hour(s, s->cmos[REG_HOUR]) * 3600 +
           (int64_t)decode(s, s->cmos[REG_MINUTE]) * 60 + decode(s, s->cmos[REG_SECOND]);
}

static bool alarm_field_matches(uint8_t alarm, unsigned wanted, unsigned value)
{
    return alarm >= ALARM_ANY || wanted == value;
}

/* The first second at or after `from` at which the alarm matches; false when its digits never do.
 * Steps over whole hours and minutes that don't, so it looks at 24 + 60 + 60 values twice at most.
 */
static bool next_alarm(const struct dev_rtc_state *s, int64_t from, int64_t *ret)
{
    const uint8_t *cmos = s->cmos;
    int64_t base = floor_div(from, DAY_SECONDS) * DAY_SECONDS, at = from - base;

    while (at < 2 * DAY_SECONDS) {
        if (!alarm_field_matches(cmos[REG_HOUR_ALARM], decode_hour(s, cmos[REG_HOUR_ALARM]),
                                 (unsigned)(at / 3600 % 24)))
            at += 3600 - at % 3600;
        else if (!alarm_field_matches(cmos[REG_MINUTE_ALARM], decode(s, cmos[REG_MINUTE_ALARM]),
                                      (unsigned)(at / 60 % 60)))
            at += 60 - at % 60;
        else if (!alarm_field_matches(cmos[REG_SECOND_ALARM], decode(s, cmos[REG_SECOND_ALARM]),
                                      (unsigned)(at % 60)))
            at++;
        else {
            *ret = base + at;
            return true;
        }
    }
    return false;
}

/* Ticks a second of the periodic interrupt; 0: none. */
static unsigned periodic_hz(const struct dev_rtc_state *s)
{
    unsigned rate = s->cmos[REG_A] & A_RATE;

    if (rate == 0)
        return 0;
    return 32768U >> ((rate < 3 ? rate + 7 : rate) - 1);
}

static void update_line(struct dev_rtc *rtc)
{
    uint8_t *c = &rtc->state.cmos[REG_C];
    uint8_t enabled = rtc->state.cmos[REG_B] & (B_PIE | B_AIE | B_UIE);
    bool was = *c & C_IRQF;

    *c = (uint8_t)((*c & ~C_IRQF) | (*c & enabled ? C_IRQF : 0));
    if (was != !!(*c & C_IRQF))
        hv_irq_line_set(&rtc->config.irq, !was);
}

/* Set the flags of what has happened since the last look. */
static void judge(struct dev_rtc *rtc)
{
    struct dev_rtc_state *s = &rtc->state;
    uint64_t now = dev_clock_now_ns(&rtc->config.clock), due = 0;
    struct moment at = now_of(rtc);
    int64_t alarm;

    if (!s->is_held && at.second > s->update_done) {
        s->cmos[REG_C] |= C_UF;
        if (next_alarm(s, s->update_done + 1, &alarm) && alarm <= at.second)
            s->cmos[REG_C] |= C_AF;
    }
    s->update_done = at.second; /* also when the host's clock was set back */
    if (now > s->periodic_from_ns)
        due = dev_scale(now - s->periodic_from_ns, periodic_hz(s), NS_PER_SEC);
    if (due > s->periodic_done)
        s->cmos[REG_C] |= C_PF;
    s->periodic_done = due;
    update_line(rtc);
}

/* Arm for the next enabled event whose flag isn't up yet. */
static void arm_timer(struct dev_rtc *rtc)
{
    const struct dev_rtc_state *s = &rtc->state;
    uint8_t wanted = s->cmos[REG_B] & (uint8_t)~s->cmos[REG_C];
    uint64_t now = dev_clock_now_ns(&rtc->config.clock), deadline = UINT64_MAX, at_ns;
    struct moment at = now_of(rtc);
    int64_t second = INT64_MAX, alarm;
    unsigned hz = periodic_hz(s);

    if ((wanted & B_UIE) && !s->is_held)
        second = at.second + 1;
    if ((wanted & B_AIE) && !s->is_held && next_alarm(s, at.second + 1, &alarm) && alarm < second)
        second = alarm;
    if (second != INT64_MAX)
        deadline = now + (uint64_t)(second - at.second) * NS_PER_SEC - at.ns;
    if ((wanted & B_PIE) && hz != 0) {
        at_ns = s->periodic_from_ns + dev_scale(s->periodic_done + 1, NS_PER_SEC, hz) + 1;
        deadline = at_ns < deadline ? at_ns : deadline;
    }
    if (deadline != UINT64_MAX)
        dev_timer_arm(&rtc->config.timer, deadline);
    else
        dev_timer_disarm(&rtc->config.timer);
}

void dev_rtc_timer(void *opaque)
{
    struct dev_rtc *rtc = opaque;

    pthread_mutex_lock(&rtc->lock);
    judge(rtc);
    arm_timer(rtc);
    pthread_mutex_unlock(&rtc->lock);
}

/* Stop or let go on the time, by SET and the divider. After a divider reset the first update comes
 * half a second later. */
static void update_hold(struct dev_rtc *rtc)
{
    struct dev_rtc_state *s = &rtc->state;
    bool divider = (s->cmos[REG_A] & A_DIVIDER_RESET) == A_DIVIDER_RESET;
    bool hold = divider || (s->cmos[REG_B] & B_SET);
    struct moment at = now_of(rtc);

    if (hold && !s->is_held)
        show_time(s, at.second);
    if (!hold && s->is_held) {
        at.second = time_shown(s);
        if (s->divider_held)
            at.ns = NS_PER_SEC / 2;
        set_now(rtc, at);
        s->update_done = at.second;
    }
    s->is_held = hold;
    s->divider_held = hold && (divider || s->divider_held);
}

static bool is_time(unsigned reg)
{
    return reg == REG_SECOND || reg == REG_MINUTE || reg == REG_HOUR ||
           (reg >= REG_WEEKDAY && reg <= REG_YEAR) || reg == DEV_RTC_CENTURY;
}

/* A time register written while the clock runs: it runs on from there. */
static void write_time(struct dev_rtc *rtc, unsigned reg, uint8_t value)
{
    struct dev_rtc_state *s = &rtc->state;
    struct moment at = now_of(rtc);

    if (!s->is_held)
        show_time(s, at.second);
    s->cmos[reg] = value;
    if (s->is_held)
        return;
    at.second = time_shown(s);
    set_now(rtc, at);
    s->update_done = at.second;
}

static void write_a(struct dev_rtc *rtc, uint8_t value)
{
    struct dev_rtc_state *s = &rtc->state;
    uint8_t changed = (uint8_t)(s->cmos[REG_A] ^ value);

    s->cmos[REG_A] = value & (uint8_t)~A_UIP;
    if (changed & A_RATE) {
        s->periodic_from_ns = dev_clock_now_ns(&rtc->config.clock);
        s->periodic_done = 0;
    }
    update_hold(rtc);
}

/* The format may change while time stands in the registers: they keep their bytes, as on the chip.
 */
static void write_b(struct dev_rtc *rtc, uint8_t value)
{
    if (value & B_SET)
        value &= (uint8_t)~B_UIE;
    rtc->state.cmos[REG_B] = value;
    update_hold(rtc);
}

static void write_cmos(struct dev_rtc *rtc, unsigned reg, uint8_t value)
{
    if (is_time(reg))
        write_time(rtc, reg, value);
    else if (reg == REG_A)
        write_a(rtc, value);
    else if (reg == REG_B)
        write_b(rtc, value);
    else if (reg != REG_C && reg != REG_D)
        rtc->state.cmos[reg] = value;
}

static uint8_t read_cmos(struct dev_rtc *rtc, unsigned reg)
{
    struct dev_rtc_state *s = &rtc->state;
    struct moment at = now_of(rtc);
    uint8_t value;

    if (is_time(reg) && !s->is_held)
        show_time(s, at.second);
    value = s->cmos[reg];
    if (reg == REG_A && !s->is_held && at.ns >= NS_PER_SEC - UIP_NS)
        value |= A_UIP;
    if (reg == REG_C) {
        s->cmos[REG_C] &= C_IRQF;
        update_line(rtc);
    }
    return value;
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned size)
{
    struct dev_rtc *rtc = opaque;
    uint64_t value = 0;

    pthread_mutex_lock(&rtc->lock);
    judge(rtc);
    for (unsigned i = 0; i < size; i++) {
        uint8_t byte = (offset + i) & 1 ? read_cmos(rtc, rtc->state.index & INDEX_MASK) : 0xff;

        value |= (uint64_t)byte << (8 * i);
    }
    arm_timer(rtc);
    pthread_mutex_unlock(&rtc->lock);
    return value;
}

static void rtc_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct dev_rtc *rtc = opaque;

    pthread_mutex_lock(&rtc->lock);
    judge(rtc);
    for (unsigned i = 0; i < size; i++) {
        uint8_t byte = (uint8_t)(value >> (8 * i));

        if ((offset + i) & 1)
            write_cmos(rtc, rtc->state.index & INDEX_MASK, byte);
        else
            rtc->state.index = byte;
    }
    update_line(rtc);
    arm_timer(rtc);
    pthread_mutex_unlock(&rtc->lock);
}

static const struct hv_io_ops rtc_ops = { .read = rtc_read, .write = rtc_write };

bool dev_rtc_is_nmi_masked(struct dev_rtc *rtc)
{
    bool is_masked;

    pthread_mutex_lock(&rtc->lock);
    is_masked = rtc->state.index & INDEX_NMI;
    pthread_mutex_unlock(&rtc->lock);
    return is_masked;
}

static void put_u16(uint8_t *cmos, unsigned low, unsigned high, uint64_t value)
{
    if (value > 0xffff)
        value = 0xffff;
    cmos[low] = (uint8_t)value;
    cmos[high] = (uint8_t)(value >> 8);
}

/* What firmware would have left in the CMOS: memory sizes, equipment, checksum of 0x10 to 0x2d. */
static void fill_cmos(struct dev_rtc *rtc)
{
    uint8_t *cmos = rtc->state.cmos;
    uint64_t low = rtc->config.ram_low_bytes, high = rtc->config.ram_high_bytes >> 16;
    uint64_t above_1m = low > 1 << 20 ? (low - (1 << 20)) >> 10 : 0;
    uint64_t above_16m = low > 16 << 20 ? (low - (16 << 20)) >> 16 : 0;
    unsigned sum = 0;

    cmos[0x14] = 0x02; /* coprocessor, no floppy */
    put_u16(cmos, 0x15, 0x16, 640);
    put_u16(cmos, 0x17, 0x18, above_1m);
    put_u16(cmos, 0x30, 0x31, above_1m);
    put_u16(cmos, 0x34, 0x35, above_16m);
    cmos[0x5b] = (uint8_t)high;
    cmos[0x5c] = (uint8_t)(high >> 8);
    cmos[0x5d] = (uint8_t)(high >> 16);
    for (unsigned i = 0x10; i <= 0x2d; i++)
        sum += cmos[i];
    cmos[0x2e] = (uint8_t)(sum >> 8);
    cmos[0x2f] = (uint8_t)sum;
}

void dev_rtc_init(struct dev_rtc *rtc, const struct dev_rtc_config *config)
{
    *rtc = (struct dev_rtc){ .config = *config };
    pthread_mutex_init(&rtc->lock, NULL);
    fill_cmos(rtc);
    rtc->state.cmos[REG_A] = A_DEFAULT;
    rtc->state.cmos[REG_B] = B_24H;
    rtc->state.cmos[REG_D] = D_VALID;
    rtc->state.update_done = now_of(rtc).second;
    rtc->state.periodic_from_ns = dev_clock_now_ns(&config->clock);
    dev_rtc_reset(rtc);
}

void dev_rtc_fini(struct dev_rtc *rtc)
{
    dev_timer_disarm(&rtc->config.timer);
    pthread_mutex_destroy(&rtc->lock);
}

int dev_rtc_map(struct dev_rtc *rtc, struct hv_io_space *ports)
{
    return hv_io_space_add(ports, PORT, 2, &rtc_ops, rtc);
}

/* The RESET pin: interrupts off; the time and the memory live on their battery. */
void dev_rtc_reset(struct dev_rtc *rtc)
{
    pthread_mutex_lock(&rtc->lock);
    rtc->state.cmos[REG_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE | B_SQWE);
    rtc->state.cmos[REG_C] = 0;
    rtc->state.index = 0;
    hv_irq_line_set(&rtc->config.irq, false);
    arm_timer(rtc);
    pthread_mutex_unlock(&rtc->lock);
}

void dev_rtc_get_state(struct dev_rtc *rtc, struct dev_rtc_state *ret)
{
    pthread_mutex_lock(&rtc->lock);
    *ret = rtc->state;
    pthread_mutex_unlock(&rtc->lock);
}

/* Seconds that date arithmetic can bear, some 30 million years to either side. */
static bool is_bearable(int64_t second)
{
    return second >= -(INT64_C(1) << 50) && second <= INT64_C(1) << 50;
}

int dev_rtc_set_state(struct dev_rtc *rtc, const struct dev_rtc_state *state)
{
    if (state->offset_ns >= NS_PER_SEC || state->is_held > 1 || state->divider_held > 1 ||
        !is_bearable(state->offset_s) || !is_bearable(state->update_done))
        return -EINVAL;
    pthread_mutex_lock(&rtc->lock);
    rtc->state = *state;
    hv_irq_line_set(&rtc->config.irq, state->cmos[REG_C] & C_IRQF);
    update_line(rtc);
    arm_timer(rtc);
    pthread_mutex_unlock(&rtc->lock);
    return 0;
}
