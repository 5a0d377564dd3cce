/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/dev/ioapic.h"

#include "hvcore/interrupt.h"

#include <errno.h>

enum {
    SELECT = 0x00,
    WINDOW = 0x10,
    EOI = 0x40,

    REG_ID = 0x00,
    REG_VERSION = 0x01,
    REG_ARBITRATION = 0x02,
    REG_TABLE = 0x10,

    VERSION = 0x20,
    ID_SHIFT = 24,

    ENTRY_VECTOR = 0xff,
    ENTRY_MODE_SHIFT = 8,
    ENTRY_LOGICAL = 1 << 11,
    ENTRY_REMOTE_IRR = 1 << 14,
    ENTRY_LEVEL = 1 << 15,
    ENTRY_MASKED = 1 << 16,
    ENTRY_LOW_WRITABLE = 0x1afff, /* all but delivery status (12) and remote IRR (14) */
    ENTRY_DESTINATION_SHIFT = 56,

    MODE_LOWEST = 1
};

#define ENTRY_HIGH_WRITABLE UINT64_C(0xff00000000000000)

static bool is_level(uint64_t entry)
{
    return (entry & ENTRY_LEVEL) && ((entry >> ENTRY_MODE_SHIFT) & 7) <= MODE_LOWEST;
}

static void deliver(struct dev_ioapic *ioapic, unsigned pin)
{
    uint64_t *entry = &ioapic->state.entry[pin];
    struct hv_interrupt interrupt = {
        .destination = (uint32_t)(*entry >> ENTRY_DESTINATION_SHIFT),
        .vector = *entry & ENTRY_VECTOR,
        .delivery_mode = (*entry >> ENTRY_MODE_SHIFT) & 7,
        .is_logical = !!(*entry & ENTRY_LOGICAL),
        .is_level = is_level(*entry),
    };

    if (interrupt.is_level)
        *entry |= ENTRY_REMOTE_IRR;
    if (ioapic->config.deliver)
        ioapic->config.deliver(ioapic->config.opaque, &interrupt);
}

/* Deliver a level-triggered pin that is asserted and not being served already. */
static void serve_level(struct dev_ioapic *ioapic, unsigned pin)
{
    uint64_t entry = ioapic->state.entry[pin];

    if (is_level(entry) && !(entry & (ENTRY_MASKED | ENTRY_REMOTE_IRR)) &&
        (ioapic->state.lines & (1U << pin)))
        deliver(ioapic, pin);
}

void dev_ioapic_set_line(void *opaque, unsigned pin, bool level)
{
    struct dev_ioapic *ioapic = opaque;
    uint32_t bit;
    bool rises;

    if (pin >= DEV_IOAPIC_PINS)
        return;
    bit = 1U << pin;
    pthread_mutex_lock(&ioapic->lock);
    rises = level && !(ioapic->state.lines & bit);
    ioapic->state.lines = level ? ioapic->state.lines | bit : ioapic->state.lines & ~bit;
    if (rises) {
        /* An edge on a masked pin is lost, as on the chip. */
        if (is_level(ioapic->state.entry[pin]))
            serve_level(ioapic, pin);
        else if (!(ioapic->state.entry[pin] & ENTRY_MASKED))
            deliver(ioapic, pin);
    }
    pthread_mutex_unlock(&ioapic->lock);
}

static void end_of_interrupt(struct dev_ioapic *ioapic, uint8_t vector)
{
    for (unsigned pin = 0; pin < DEV_IOAPIC_PINS; pin++) {
        uint64_t *entry = &ioapic->state.entry[pin];

        if ((*entry & ENTRY_VECTOR) != vector || !(*entry & ENTRY_REMOTE_IRR))
            continue;
        *entry &= ~(uint64_t)ENTRY_REMOTE_IRR;
        serve_level(ioapic, pin);
    }
}

void dev_ioapic_end_of_interrupt(struct dev_ioapic *ioapic, uint8_t vector)
{
    pthread_mutex_lock(&ioapic->lock);
    end_of_interrupt(ioapic, vector);
    pthread_mutex_unlock(&ioapic->lock);
}

static uint32_t read_table(const struct dev_ioapic *ioapic, uint32_t reg)
{
    unsigned pin = (reg - REG_TABLE) / 2;

    if (pin >= DEV_IOAPIC_PINS)
        return 0;
    return (uint32_t)(ioapic->state.entry[pin] >> (reg & 1 ? 32 : 0));
}

static uint32_t read_window(const struct dev_ioapic *ioapic)
{
    uint32_t reg = ioapic->state.select & 0xff;

    switch (reg) {
    case REG_ID:
    case REG_ARBITRATION: return (uint32_t)ioapic->state.id << ID_SHIFT;
    case REG_VERSION: return VERSION | (DEV_IOAPIC_PINS - 1) << 16;
    default: return reg < REG_TABLE ? 0 : read_table(ioapic, reg);
    }
}

/* Changing an entry to edge forgets its remote IRR: that is how software frees a stuck pin. */
static void write_table(struct dev_ioapic *ioapic, uint32_t reg, uint32_t value)
{
    unsigned pin = (reg - REG_TABLE) / 2;
    uint64_t *entry;

    if (pin >= DEV_IOAPIC_PINS)
        return;
    entry = &ioapic->state.entry[pin];
    if (reg & 1)
        *entry = (*entry & ~ENTRY_HIGH_WRITABLE) | ((uint64_t)value << 32 & ENTRY_HIGH_WRITABLE);
    else
        *entry = (*entry & ~(uint64_t)ENTRY_LOW_WRITABLE) | (value & ENTRY_LOW_WRITABLE);
    if (!is_level(*entry))
        *entry &= ~(uint64_t)ENTRY_REMOTE_IRR;
    serve_level(ioapic, pin);
}

static void write_window(struct dev_ioapic *ioapic, uint32_t value)
{
    uint32_t reg = ioapic->state.select & 0xff;

    if (reg == REG_ID)
        ioapic->state.id = (value >> ID_SHIFT) & 0x0f;
    else if (reg >= REG_TABLE)
        write_table(ioapic, reg, value);
}

/* Registers are 32 bits wide at multiples of 16; other places read 0 and ignore writes. */
static uint64_t ioapic_read(void *opaque, uint64_t offset, unsigned size)
{
    struct dev_ioapic *ioapic = opaque;
    uint64_t value = 0;

    pthread_mutex_lock(&ioapic->lock);
    switch (offset & ~UINT64_C(3)) {
    case SELECT: value = ioapic->state.select; break;
    case WINDOW: value = read_window(ioapic); break;
    default: break;
    }
    pthread_mutex_unlock(&ioapic->lock);
    value >>= 8 * (offset & 3);
    return size < 4 ? value & ((UINT64_C(1) << (8 * size)) - 1) : value;
}

static void ioapic_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct dev_ioapic *ioapic = opaque;

    pthread_mutex_lock(&ioapic->lock);
    switch (offset) {
    case SELECT: ioapic->state.select = (uint32_t)value; break;
    case WINDOW:
        if (size >= 4) /* part of a redirection entry would be a wrong one */
            write_window(ioapic, (uint32_t)value);
        break;
    case EOI: end_of_interrupt(ioapic, (uint8_t)value); break;
    default: break;
    }
    pthread_mutex_unlock(&ioapic->lock);
}

static const struct hv_io_ops ioapic_ops = { .read = ioapic_read, .write = ioapic_write };

void dev_ioapic_init(struct dev_ioapic *ioapic, const struct dev_ioapic_config *config)
{
    *ioapic = (struct dev_ioapic){ .config = *config };
    pthread_mutex_init(&ioapic->lock, NULL);
    dev_ioapic_reset(ioapic);
}

void dev_ioapic_fini(struct dev_ioapic *ioapic)
{
    pthread_mutex_destroy(&ioapic->lock);
}

int dev_ioapic_map(struct dev_ioapic *ioapic, struct hv_io_space *mmio)
{
    return hv_io_space_add(mmio, DEV_IOAPIC_BASE, DEV_IOAPIC_BYTES, &ioapic_ops, ioapic);
}

/* Input lines belong to their devices and stay as they are. */
void dev_ioapic_reset(struct dev_ioapic *ioapic)
{
    pthread_mutex_lock(&ioapic->lock);
    ioapic->state = (struct dev_ioapic_state){ .lines = ioapic->state.lines };
    for (unsigned pin = 0; pin < DEV_IOAPIC_PINS; pin++)
        ioapic->state.entry[pin] = ENTRY_MASKED;
    pthread_mutex_unlock(&ioapic->lock);
}

void dev_ioapic_get_state(struct dev_ioapic *ioapic, struct dev_ioapic_state *ret)
{
    pthread_mutex_lock(&ioapic->lock);
    *ret = ioapic->state;
    pthread_mutex_unlock(&ioapic->lock);
}

static bool is_possible(const struct dev_ioapic_state *state)
{
    const uint64_t known = ENTRY_HIGH_WRITABLE | ENTRY_LOW_WRITABLE | ENTRY_REMOTE_IRR;

    if (state->id > 0x0f || state->lines >> DEV_IOAPIC_PINS)
        return false;
    for (unsigned pin = 0; pin < DEV_IOAPIC_PINS; pin++) {
        uint64_t entry = state->entry[pin];

        if ((entry & ~known) || ((entry & ENTRY_REMOTE_IRR) && !is_level(entry)))
            return false;
    }
    return true;
}

int dev_ioapic_set_state(struct dev_ioapic *ioapic, const struct dev_ioapic_state *state)
{
    if (!is_possible(state))
        return -EINVAL;
    pthread_mutex_lock(&ioapic->lock);
    ioapic->state = *state;
    pthread_mutex_unlock(&ioapic->lock);
    return 0;
}
