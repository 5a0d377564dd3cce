/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/dev/pcicfg.h"

#include <errno.h>

enum {
    PORT = 0xcf8,
    DATA = 4, /* offset of the data port */
    RESET_OFFSET = 1,

    COMMAND = 0x04,
    INTERRUPT_LINE = 0x3c,
    COMMAND_WRITABLE = 0x0146 /* memory, bus master, parity, SERR; no I/O of its own */
};

#define ADDRESS_ENABLE   UINT32_C(0x80000000)
#define ADDRESS_WRITABLE UINT32_C(0x80fffffc)
#define ADDRESS_TARGET   UINT32_C(0x00ffff00) /* bus, device, function */

/* The bridge's identity is that of a 440BX without AGP, which guests know from other hosts of this
 * architecture and for which they load no driver. */
#define BRIDGE_ID      UINT32_C(0x71928086)
#define BRIDGE_CLASS   UINT32_C(0x06000003)
#define BRIDGE_COMMAND 0x0006
#define BRIDGE_STATUS  UINT32_C(0x02000000)

static uint32_t bridge_read(const struct dev_pcicfg_state *s, unsigned reg)
{
    switch (reg) {
    case 0x00: return BRIDGE_ID;
    case COMMAND: return BRIDGE_STATUS | s->bridge_command;
    case 0x08: return BRIDGE_CLASS;
    case INTERRUPT_LINE: return s->bridge_line;
    default: return 0;
    }
}

static void bridge_write_byte(struct dev_pcicfg_state *s, unsigned reg, uint8_t value)
{
    if (reg == COMMAND)
        s->bridge_command = (uint16_t)((s->bridge_command & 0xff00) | value) & COMMAND_WRITABLE;
    else if (reg == COMMAND + 1)
        s->bridge_command =
            (uint16_t)((s->bridge_command & 0x00ff) | value << 8) & COMMAND_WRITABLE;
    else if (reg == INTERRUPT_LINE)
        s->bridge_line = value;
}

static bool selects_bridge(const struct dev_pcicfg *chip)
{
    return chip->config.has_host_bridge && (chip->state.address & ADDRESS_ENABLE) &&
           !(chip->state.address & ADDRESS_TARGET);
}

static uint64_t mask_of(unsigned size)
{
    return size >= 8 ? UINT64_MAX : (UINT64_C(1) << (8 * size)) - 1;
}

/* A byte of 0xcf8 to 0xcfb is no access to the address register: it belongs to the ISA side, where
 * only the reset register lives. */
static uint64_t address_read(struct dev_pcicfg *chip, uint64_t offset, unsigned size)
{
    if (size == 4 && offset == 0)
        return chip->state.address;
    if (size == 1 && offset == RESET_OFFSET && chip->config.reset_ops)
        return chip->config.reset_ops->read(chip->config.reset_opaque, 0, 1);
    return mask_of(size);
}

static uint64_t data_read(const struct dev_pcicfg *chip, unsigned byte, unsigned size)
{
    unsigned reg = chip->state.address & 0xfc;

    if (!selects_bridge(chip))
        return mask_of(size);
    return bridge_read(&chip->state, reg) >> (8 * byte) & mask_of(size);
}

static uint64_t pcicfg_read(void *opaque, uint64_t offset, unsigned size)
{
    struct dev_pcicfg *chip = opaque;
    uint64_t value;

    if (offset < DATA && size != 4)
        return address_read(chip, offset, size);
    pthread_mutex_lock(&chip->lock);
    if (offset < DATA)
        value = address_read(chip, offset, size);
    else
        value = data_read(chip, (unsigned)offset - DATA, size);
    pthread_mutex_unlock(&chip->lock);
    return value;
}

static void data_write(struct dev_pcicfg *chip, unsigned byte, unsigned size, uint64_t value)
{
    unsigned reg = (chip->state.address & 0xfc) + byte;

    if (!selects_bridge(chip))
        return;
    for (unsigned i = 0; i < size && byte + i < 4; i++)
        bridge_write_byte(&chip->state, reg + i, (uint8_t)(value >> (8 * i)));
}

static void pcicfg_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    struct dev_pcicfg *chip = opaque;

    if (offset == RESET_OFFSET && size == 1 && chip->config.reset_ops) {
        chip->config.reset_ops->write(chip->config.reset_opaque, 0, 1, value);
        return;
    }
    pthread_mutex_lock(&chip->lock);
    if (offset >= DATA)
        data_write(chip, (unsigned)offset - DATA, size, value);
    else if (offset == 0 && size == 4)
        chip->state.address = (uint32_t)value & ADDRESS_WRITABLE;
    pthread_mutex_unlock(&chip->lock);
}

static const struct hv_io_ops pcicfg_ops = { .read = pcicfg_read, .write = pcicfg_write };

void dev_pcicfg_init(struct dev_pcicfg *chip, const struct dev_pcicfg_config *config)
{
    *chip = (struct dev_pcicfg){ .config = *config };
    pthread_mutex_init(&chip->lock, NULL);
    dev_pcicfg_reset(chip);
}

void dev_pcicfg_fini(struct dev_pcicfg *chip)
{
    pthread_mutex_destroy(&chip->lock);
}

int dev_pcicfg_map(struct dev_pcicfg *chip, struct hv_io_space *ports)
{
    return hv_io_space_add(ports, PORT, 8, &pcicfg_ops, chip);
}

void dev_pcicfg_reset(struct dev_pcicfg *chip)
{
    pthread_mutex_lock(&chip->lock);
    chip->state = (struct dev_pcicfg_state){ .bridge_command = BRIDGE_COMMAND };
    pthread_mutex_unlock(&chip->lock);
}

void dev_pcicfg_get_state(struct dev_pcicfg *chip, struct dev_pcicfg_state *ret)
{
    pthread_mutex_lock(&chip->lock);
    *ret = chip->state;
    pthread_mutex_unlock(&chip->lock);
}

int dev_pcicfg_set_state(struct dev_pcicfg *chip, const struct dev_pcicfg_state *state)
{
    if ((state->address & ~ADDRESS_WRITABLE) || (state->bridge_command & ~COMMAND_WRITABLE))
        return -EINVAL;
    pthread_mutex_lock(&chip->lock);
    chip->state = *state;
    pthread_mutex_unlock(&chip->lock);
    return 0;
}
