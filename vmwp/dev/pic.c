/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/dev/pic.h"

#include <errno.h>

enum {
    MASTER_PORT = 0x20,
    SLAVE_PORT = 0xa0,
    ELCR_PORT = 0x4d0,

    CASCADE_LINE = 2,
    SPURIOUS_LINE = 7,
    NO_LINE = -1,

    ICW1 = 0x10,
    ICW1_NEEDS_ICW4 = 0x01,
    ICW1_SINGLE = 0x02,
    ICW1_LEVEL = 0x08,
    ICW4_AEOI = 0x02,
    ICW4_FULLY_NESTED = 0x10,
    ICW4_MASK = 0x1f,
    NEVER_INITIALISED = 1, /* in next_icw: ICW1 has not come yet */

    OCW3 = 0x08,
    OCW3_READ = 0x02,
    OCW3_READ_ISR = 0x01,
    OCW3_POLL = 0x04,
    OCW3_SMM_ENABLE = 0x40,
    OCW3_SMM = 0x20,

    POLL_PENDING = 0x80
};

static const uint8_t elcr_writable[2] = { 0xf8, 0xde };

static bool is_master(const struct dev_pic *pic, const struct dev_pic_chip_state *chip)
{
    return chip == &pic->state.chip[0];
}

/* The lines whose request follows the input instead of remembering its rise. The cascade is one of
 * them: the slave's output stands for what the slave has to deliver now. */
static uint8_t level_lines(const struct dev_pic *pic, const struct dev_pic_chip_state *chip)
{
    if (chip->is_level)
        return 0xff;
    return (uint8_t)(chip->elcr | (is_master(pic, chip) ? 1 << CASCADE_LINE : 0));
}

/* The set line of highest priority, or NO_LINE. Priority falls from the one after `lowest` on. */
static int highest(const struct dev_pic_chip_state *chip, uint8_t lines)
{
    for (unsigned i = 1; i <= 8; i++) {
        unsigned line = (chip->lowest + i) & 7;

        if (lines & (1U << line))
            return (int)line;
    }
    return NO_LINE;
}

static unsigned rank_of(const struct dev_pic_chip_state *chip, int line)
{
    return line == NO_LINE ? 8 : ((unsigned)line - chip->lowest - 1) & 7;
}

/* The line the chip would deliver now, or NO_LINE: requested, not masked, and above what is in
 * service. */
static int deliverable(const struct dev_pic *pic, const struct dev_pic_chip_state *chip)
{
    uint8_t serving = chip->isr;
    int line;

    if (chip->next_icw != 0)
        return NO_LINE;
    if (chip->special_mask)
        serving &= (uint8_t)~chip->imr;
    if ((chip->icw4 & ICW4_FULLY_NESTED) && is_master(pic, chip))
        serving &= (uint8_t) ~(1U << CASCADE_LINE);
    line = highest(chip, chip->irr & (uint8_t)~chip->imr);
    return rank_of(chip, line) < rank_of(chip, highest(chip, serving)) ? line : NO_LINE;
}

static void drive_line(struct dev_pic *pic, struct dev_pic_chip_state *chip, unsigned line,
                       bool level)
{
    uint8_t bit = (uint8_t)(1U << line);

    if (level_lines(pic, chip) & bit)
        chip->irr = (uint8_t)(level ? chip->irr | bit : chip->irr & ~bit);
    else if (level && !(chip->lines & bit))
        chip->irr |= bit;
    chip->lines = (uint8_t)(level ? chip->lines | bit : chip->lines & ~bit);
}

/* Carry what changed to the master and to INTR. */
static void update(struct dev_pic *pic)
{
    struct dev_pic_chip_state *chip = pic->state.chip;
    bool output;

    drive_line(pic, &chip[0], CASCADE_LINE, deliverable(pic, &chip[1]) != NO_LINE);
    output = deliverable(pic, &chip[0]) != NO_LINE;
    if (output == pic->state.output)
        return;
    pic->state.output = output;
    if (pic->config.set_output)
        pic->config.set_output(pic->config.opaque, output);
}

void dev_pic_set_line(void *opaque, unsigned number, bool level)
{
    struct dev_pic *pic = opaque;

    if (number >= DEV_PIC_LINES || number == CASCADE_LINE)
        return;
    pthread_mutex_lock(&pic->lock);
    drive_line(pic, &pic->state.chip[number / 8], number % 8, level);
    update(pic);
    pthread_mutex_unlock(&pic->lock);
}

/* One chip's part of an acknowledge cycle. */
static void take(struct dev_pic *pic, struct dev_pic_chip_state *chip, int line)
{
    uint8_t bit = (uint8_t)(1U << line);

    if (!(level_lines(pic, chip) & bit))
        chip->irr &= (uint8_t)~bit;
    if (!(chip->icw4 & ICW4_AEOI))
        chip->isr |= bit;
    else if (chip->rotates_on_aeoi)
        chip->lowest = (uint8_t)line;
}

static int acknowledge_chip(struct dev_pic *pic, struct dev_pic_chip_state *chip)
{
    int line = deliverable(pic, chip);

    if (line == NO_LINE)
        return SPURIOUS_LINE;
    take(pic, chip, line);
    return line;
}

int dev_pic_acknowledge(struct dev_pic *pic)
{
    struct dev_pic_chip_state *chip = pic->state.chip;
    int line, vector = -1;

    pthread_mutex_lock(&pic->lock);
    if (chip[0].next_icw == 0) {
        bool from_slave = deliverable(pic, &chip[0]) == CASCADE_LINE && !chip[0].is_single;

        line = acknowledge_chip(pic, &chip[0]);
        vector = chip[0].icw_vector | line;
        if (from_slave)
            vector = chip[1].icw_vector | acknowledge_chip(pic, &chip[1]);
        update(pic);
    }
    pthread_mutex_unlock(&pic->lock);
    return vector;
}

/* Begin initialisation. Edge detection starts anew: a line that is high must fall first. */
static void write_icw1(struct dev_pic *pic, struct dev_pic_chip_state *chip, uint8_t value)
{
    uint8_t lines = chip->lines, elcr = chip->elcr;

    *chip = (struct dev_pic_chip_state){
        .lines = lines,
        .elcr = elcr,
        .lowest = 7,
        .next_icw = 2,
        .expects_icw4 = !!(value & ICW1_NEEDS_ICW4),
        .is_single = !!(value & ICW1_SINGLE),
        .is_level = !!(value & ICW1_LEVEL),
    };
    chip->irr = lines & level_lines(pic, chip);
}

static void write_icw(struct dev_pic_chip_state *chip, uint8_t value)
{
    switch (chip->next_icw) {
    case 2:
        chip->icw_vector = value & 0xf8;
        chip->next_icw = !chip->is_single ? 3 : chip->expects_icw4 ? 4 : 0;
        break;
    case 3:
        chip->icw_cascade = value;
        chip->next_icw = chip->expects_icw4 ? 4 : 0;
        break;
    default:
        chip->icw4 = value & ICW4_MASK;
        chip->next_icw = 0;
        break;
    }
}

static void end_of_interrupt(struct dev_pic_chip_state *chip, int line, bool rotates)
{
    if (line == NO_LINE)
        return;
    chip->isr &= (uint8_t) ~(1U << line);
    if (rotates)
        chip->lowest = (uint8_t)line;
}

/* OCW2: what to end and how priorities move, by its three top bits. */
static void write_ocw2(struct dev_pic_chip_state *chip, uint8_t value)
{
    uint8_t serving = chip->special_mask ? chip->isr & (uint8_t)~chip->imr : chip->isr;
    int named = value & 7;

    switch (value >> 5) {
    case 0: chip->rotates_on_aeoi = 0; break;
    case 1: end_of_interrupt(chip, highest(chip, serving), false); break;
    case 3: end_of_interrupt(chip, named, false); break;
    case 4: chip->rotates_on_aeoi = 1; break;
    case 5: end_of_interrupt(chip, highest(chip, serving), true); break;
    case 6: chip->lowest = (uint8_t)named; break;
    case 7: end_of_interrupt(chip, named, true); break;
    default: break; /* 2: no operation */
    }
}

static void write_ocw3(struct dev_pic_chip_state *chip, uint8_t value)
{
    if (value & OCW3_POLL)
        chip->polled = 1;
    if (value & OCW3_READ)
        chip->reads_isr = value & OCW3_READ_ISR;
    if (value & OCW3_SMM_ENABLE)
        chip->special_mask = !!(value & OCW3_SMM);
}

static void write_chip(struct dev_pic *pic, struct dev_pic_chip_state *chip, unsigned offset,
                       uint8_t value)
{
    if (offset == 1) {
        if (chip->next_icw > NEVER_INITIALISED)
            write_icw(chip, value);
        else
            chip->imr = value;
    } else if (value & ICW1) {
        write_icw1(pic, chip, value);
    } else if (value & OCW3) {
        write_ocw3(chip, value);
    } else {
        write_ocw2(chip, value);
    }
}

/* A poll is an acknowledge cycle by a read, of this chip alone. */
static uint8_t read_poll(struct dev_pic *pic, struct dev_pic_chip_state *chip)
{
    int line = deliverable(pic, chip);

    chip->polled = 0;
    if (line == NO_LINE)
        return SPURIOUS_LINE;
    take(pic, chip, line);
    return (uint8_t)(POLL_PENDING | line);
}

static uint8_t read_chip(struct dev_pic *pic, struct dev_pic_chip_state *chip, unsigned offset)
{
    if (chip->polled)
        return read_poll(pic, chip);
    if (offset == 1)
        return chip->imr;
    return chip->reads_isr ? chip->isr : chip->irr;
}

static uint64_t chip_read(struct dev_pic *pic, unsigned index, uint64_t offset, unsigned size)
{
    uint64_t value = 0;

    pthread_mutex_lock(&pic->lock);
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)read_chip(pic, &pic->state.chip[index], (offset + i) & 1) << (8 * i);
    update(pic);
    pthread_mutex_unlock(&pic->lock);
    return value;
}

static void chip_write(struct dev_pic *pic, unsigned index, uint64_t offset, unsigned size,
                       uint64_t value)
{
    pthread_mutex_lock(&pic->lock);
    for (unsigned i = 0; i < size; i++)
        write_chip(pic, &pic->state.chip[index], (offset + i) & 1, (uint8_t)(value >> (8 * i)));
    update(pic);
    pthread_mutex_unlock(&pic->lock);
}

static uint64_t master_read(void *opaque, uint64_t offset, unsigned size)
{
    return chip_read(opaque, 0, offset, size);
}

static void master_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    chip_write(opaque, 0, offset, size, value);
}

static uint64_t slave_read(void *opaque, uint64_t offset, unsigned size)
{
    return chip_read(opaque, 1, offset, size);
}

static void slave_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    chip_write(opaque, 1, offset, size, value);
}

static uint64_t elcr_read(void *opaque, uint64_t offset, unsigned size)
{
    struct dev_pic *pic = opaque;
    uint64_t value = 0;

    pthread_mutex_lock(&pic->lock);
    for (unsigned i = 0; i < size; i++)
        value |= (uint64_t)pic->state.chip[(offset + i) & 1].elcr << (8 * i);
    pthread_mutex_unlock(&pic->lock);
    return value;
}

static void elcr_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct dev_pic *pic = opaque;

    pthread_mutex_lock(&pic->lock);
    for (unsigned i = 0; i < size; i++) {
        unsigned index = (offset + i) & 1;
        struct dev_pic_chip_state *chip = &pic->state.chip[index];

        chip->elcr = (uint8_t)(value >> (8 * i)) & elcr_writable[index];
        chip->irr = (uint8_t)((chip->irr & ~chip->elcr) | (chip->lines & chip->elcr));
    }
    update(pic);
    pthread_mutex_unlock(&pic->lock);
}

static const struct hv_io_ops master_ops = { .read = master_read, .write = master_write };
static const struct hv_io_ops slave_ops = { .read = slave_read, .write = slave_write };
static const struct hv_io_ops elcr_ops = { .read = elcr_read, .write = elcr_write };

void dev_pic_init(struct dev_pic *pic, const struct dev_pic_config *config)
{
    *pic = (struct dev_pic){ .config = *config };
    pthread_mutex_init(&pic->lock, NULL);
    dev_pic_reset(pic);
}

void dev_pic_fini(struct dev_pic *pic)
{
    pthread_mutex_destroy(&pic->lock);
}

int dev_pic_map(struct dev_pic *pic, struct hv_io_space *ports)
{
    int r;

    r = hv_io_space_add(ports, MASTER_PORT, 2, &master_ops, pic);
    if (r < 0)
        return r;
    r = hv_io_space_add(ports, SLAVE_PORT, 2, &slave_ops, pic);
    if (r < 0)
        return r;
    return hv_io_space_add(ports, ELCR_PORT, 2, &elcr_ops, pic);
}

/* Input lines belong to their devices and stay as they are. */
void dev_pic_reset(struct dev_pic *pic)
{
    pthread_mutex_lock(&pic->lock);
    for (unsigned i = 0; i < 2; i++)
        pic->state.chip[i] = (struct dev_pic_chip_state){
            .lines = pic->state.chip[i].lines,
            .next_icw = NEVER_INITIALISED,
            .lowest = 7,
        };
    update(pic);
    pthread_mutex_unlock(&pic->lock);
}

void dev_pic_get_state(struct dev_pic *pic, struct dev_pic_state *ret)
{
    pthread_mutex_lock(&pic->lock);
    *ret = pic->state;
    pthread_mutex_unlock(&pic->lock);
}

static bool is_possible(const struct dev_pic_chip_state *chip, uint8_t elcr_mask)
{
    return !(chip->elcr & ~elcr_mask) && !(chip->icw_vector & 7) && !(chip->icw4 & ~ICW4_MASK) &&
           chip->next_icw <= 4 && chip->lowest <= 7 && chip->expects_icw4 <= 1 &&
           chip->is_single <= 1 && chip->is_level <= 1 && chip->rotates_on_aeoi <= 1 &&
           chip->special_mask <= 1 && chip->polled <= 1 && chip->reads_isr <= 1;
}

int dev_pic_set_state(struct dev_pic *pic, const struct dev_pic_state *state)
{
    if (!is_possible(&state->chip[0], elcr_writable[0]) ||
        !is_possible(&state->chip[1], elcr_writable[1]) || state->output > 1)
        return -EINVAL;
    pthread_mutex_lock(&pic->lock);
    pic->state = *state;
    if (pic->config.set_output)
        pic->config.set_output(pic->config.opaque, state->output);
    update(pic);
    pthread_mutex_unlock(&pic->lock);
    return 0;
}
