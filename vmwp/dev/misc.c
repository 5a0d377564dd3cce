/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/dev/misc.h"

#include <errno.h>
#include <string.h>

enum {
    DMA1_PORT = 0x00,
    DMA1_PORTS = 0x10,
    PAGE_PORT = 0x80, /* the first is free, hence the POST code and delay port */
    PAGE_PORTS = 0x10,
    CONTROL_A_PORT = 0x92,
    DMA2_PORT = 0xc0, /* every register at two ports */
    DMA2_PORTS = 0x20,
    DELAY_PORT = 0xed,
    FERR_PORT = 0xf0,
    FERR_PORTS = 2,

    CONTROL_A_RESET = 0x01,
    CONTROL_A_A20 = 0x02
};

/* Registers that keep what is written, in an array of n bytes; shift: ports per register, as 2^x.
 */
static uint64_t kept_read(struct dev_misc *chip, const uint8_t *kept, uint64_t offset,
                          unsigned size, unsigned shift)
{
    uint64_t value = 0;

    pthread_mutex_lock(&chip->lock);
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)kept[(offset + i) >> shift] << (8 * i);
    pthread_mutex_unlock(&chip->lock);
    return value;
}

static void kept_write(struct dev_misc *chip, uint8_t *kept, uint64_t offset, unsigned size,
                       uint64_t value, unsigned shift)
{
    pthread_mutex_lock(&chip->lock);
    for (unsigned i = 0; i < size; i++)
        kept[(offset + i) >> shift] = (uint8_t)(value >> (8 * i));
    pthread_mutex_unlock(&chip->lock);
}

static uint64_t dma1_read(void *opaque, uint64_t offset, unsigned size)
{
    struct dev_misc *chip = opaque;

    return kept_read(chip, chip->state.dma, offset, size, 0);
}

static void dma1_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct dev_misc *chip = opaque;

    kept_write(chip, chip->state.dma, offset, size, value, 0);
}

static uint64_t dma2_read(void *opaque, uint64_t offset, unsigned size)
{
    struct dev_misc *chip = opaque;

    return kept_read(chip, chip->state.dma + DMA1_PORTS, offset, size, 1);
}

static void dma2_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct dev_misc *chip = opaque;

    kept_write(chip, chip->state.dma + DMA1_PORTS, offset, size, value, 1);
}

static uint64_t page_read(void *opaque, uint64_t offset, unsigned size)
{
    struct dev_misc *chip = opaque;

    return kept_read(chip, chip->state.page, offset, size, 0);
}

static void page_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct dev_misc *chip = opaque;

    kept_write(chip, chip->state.page, offset, size, value, 0);
}

static uint64_t control_a_read(void *opaque, uint64_t offset, unsigned size)
{
    struct dev_misc *chip = opaque;

    return kept_read(chip, &chip->state.control_a, 0, 1, 0);
}

/* A20 is always open; the bit is kept for those who look. Reset happens on the bit's rise. */
static void control_a_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct dev_misc *chip = opaque;
    bool resets;

    pthread_mutex_lock(&chip->lock);
    resets = value & ~chip->state.control_a & CONTROL_A_RESET;
    chip->state.control_a = (uint8_t)value;
    pthread_mutex_unlock(&chip->lock);
    if (resets && chip->config.reset)
        chip->config.reset(chip->config.opaque);
}

static uint64_t quiet_read(void *opaque, uint64_t offset, unsigned size)
{
    return size >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * size)) - 1;
}

static void quiet_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
}

static const struct hv_io_ops dma1_ops = { .read = dma1_read, .write = dma1_write };
static const struct hv_io_ops dma2_ops = { .read = dma2_read, .write = dma2_write };
static const struct hv_io_ops page_ops = { .read = page_read, .write = page_write };
static const struct hv_io_ops control_a_ops = { .read = control_a_read, .write = control_a_write };
static const struct hv_io_ops quiet_ops = { .read = quiet_read, .write = quiet_write };

void dev_misc_init(struct dev_misc *chip, const struct dev_misc_config *config)
{
    *chip = (struct dev_misc){ .config = *config };
    pthread_mutex_init(&chip->lock, NULL);
    dev_misc_reset(chip);
}

void dev_misc_fini(struct dev_misc *chip)
{
    pthread_mutex_destroy(&chip->lock);
}

int dev_misc_map(struct dev_misc *chip, struct hv_io_space *ports)
{
    static const struct {
        uint16_t first, count;
        const struct hv_io_ops *ops;
    } ranges[] = {
        { DMA1_PORT, DMA1_PORTS, &dma1_ops },  { PAGE_PORT, PAGE_PORTS, &page_ops },
        { CONTROL_A_PORT, 1, &control_a_ops }, { DMA2_PORT, DMA2_PORTS, &dma2_ops },
        { DELAY_PORT, 1, &quiet_ops },         { FERR_PORT, FERR_PORTS, &quiet_ops },
    };

    for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        int r = hv_io_space_add(ports, ranges[i].first, ranges[i].count, ranges[i].ops, chip);

        if (r < 0)
            return r;
    }
    return 0;
}

void dev_misc_reset(struct dev_misc *chip)
{
    pthread_mutex_lock(&chip->lock);
    chip->state = (struct dev_misc_state){ .control_a = CONTROL_A_A20 };
    pthread_mutex_unlock(&chip->lock);
}

void dev_misc_get_state(struct dev_misc *chip, struct dev_misc_state *ret)
{
    pthread_mutex_lock(&chip->lock);
    *ret = chip->state;
    pthread_mutex_unlock(&chip->lock);
}

/* Every value of every byte is one that a guest can write. */
int dev_misc_set_state(struct dev_misc *chip, const struct dev_misc_state *state)
{
    pthread_mutex_lock(&chip->lock);
    chip->state = *state;
    pthread_mutex_unlock(&chip->lock);
    return 0;
}
