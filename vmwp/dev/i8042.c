/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/dev/i8042.h"

#include <errno.h>

enum {
    DATA_PORT = 0x60,
    COMMAND_PORT = 0x64,

    STATUS_OUTPUT_FULL = 0x01,
    STATUS_SYSTEM = 0x04,
    STATUS_WAS_COMMAND = 0x08,
    STATUS_UNLOCKED = 0x10,
    STATUS_MOUSE_OUTPUT = 0x20,
    STATUS_TIMEOUT = 0x40,
    STATUS_OUTPUT = STATUS_OUTPUT_FULL | STATUS_MOUSE_OUTPUT | STATUS_TIMEOUT,
    STATUS_MASK = 0x7d,

    MODE_KEYBOARD_IRQ = 0x01,
    MODE_MOUSE_IRQ = 0x02,
    MODE_SYSTEM = 0x04,
    MODE_KEYBOARD_OFF = 0x10,
    MODE_MOUSE_OFF = 0x20,

    CMD_READ_MEMORY = 0x20,  /* to 0x3f; 0x20 is the mode */
    CMD_WRITE_MEMORY = 0x60, /* to 0x7f; 0x60 is the mode */
    CMD_MOUSE_OFF = 0xa7,
    CMD_MOUSE_ON = 0xa8,
    CMD_MOUSE_TEST = 0xa9,
    CMD_SELF_TEST = 0xaa,
    CMD_KEYBOARD_TEST = 0xab,
    CMD_KEYBOARD_OFF = 0xad,
    CMD_KEYBOARD_ON = 0xae,
    CMD_READ_INPUT_PORT = 0xc0,
    CMD_READ_OUTPUT_PORT = 0xd0,
    CMD_WRITE_OUTPUT_PORT = 0xd1,
    CMD_PUT_KEYBOARD = 0xd2,
    CMD_PUT_MOUSE = 0xd3,
    CMD_SEND_MOUSE = 0xd4,
    CMD_A20_OFF = 0xdd,
    CMD_A20_ON = 0xdf,
    CMD_PULSE = 0xf0, /* to 0xff: bits that are 0 are pulsed; line 0 is reset */

    OUTPUT_RESET_HIGH = 0x01,
    OUTPUT_A20 = 0x02,
    OUTPUT_UNUSED_HIGH = 0xcc,

    SELF_TEST_PASSED = 0x55,
    LINE_TEST_PASSED = 0x00,
    INPUT_UNLOCKED = 0x80,
    RESEND = 0xfe
};

static void update_lines(struct dev_i8042 *chip)
{
    const struct dev_i8042_state *s = &chip->state;
    bool full = s->status & STATUS_OUTPUT_FULL, is_mouse = s->status & STATUS_MOUSE_OUTPUT;

    hv_irq_line_set(&chip->config.keyboard, full && !is_mouse && (s->mode & MODE_KEYBOARD_IRQ));
    hv_irq_line_set(&chip->config.mouse, full && is_mouse && (s->mode & MODE_MOUSE_IRQ));
}

/* Put a byte into the output buffer; flags: further status bits that go with it. */
static void put(struct dev_i8042 *chip, uint8_t byte, uint8_t flags)
{
    struct dev_i8042_state *s = &chip->state;

    s->data = byte;
    s->status = (uint8_t)((s->status & ~STATUS_OUTPUT) | STATUS_OUTPUT_FULL | flags);
}

static bool write_output_port(struct dev_i8042_state *s, uint8_t value)
{
    s->output_port = (uint8_t)(value | OUTPUT_RESET_HIGH);
    return !(value & OUTPUT_RESET_HIGH);
}

static void write_memory(struct dev_i8042_state *s, unsigned index, uint8_t value)
{
    if (index == 0)
        s->mode = value;
    else
        s->memory[index] = value;
}

static bool takes_data(uint8_t command)
{
    return (command & 0xe0) == CMD_WRITE_MEMORY ||
           (command >= CMD_WRITE_OUTPUT_PORT && command <= CMD_SEND_MOUSE);
}

/* A command byte. Returns whether the machine is to be reset. */
static bool write_command(struct dev_i8042 *chip, uint8_t command)
{
    struct dev_i8042_state *s = &chip->state;

    s->status |= STATUS_WAS_COMMAND;
    s->command = takes_data(command) ? command : 0;
    if ((command & 0xe0) == CMD_READ_MEMORY) {
        put(chip, command & 0x1f ? s->memory[command & 0x1f] : s->mode, 0);
        return false;
    }
    if (command >= CMD_PULSE)
        return !(command & 1);
    switch (command) {
    case CMD_MOUSE_OFF: s->mode |= MODE_MOUSE_OFF; break;
    case CMD_MOUSE_ON: s->mode &= (uint8_t)~MODE_MOUSE_OFF; break;
    case CMD_KEYBOARD_OFF: s->mode |= MODE_KEYBOARD_OFF; break;
    case CMD_KEYBOARD_ON: s->mode &= (uint8_t)~MODE_KEYBOARD_OFF; break;
    case CMD_MOUSE_TEST:
    case CMD_KEYBOARD_TEST: put(chip, LINE_TEST_PASSED, 0); break;
    case CMD_SELF_TEST:
        s->status |= STATUS_SYSTEM;
        put(chip, SELF_TEST_PASSED, 0);
        break;
    case CMD_READ_INPUT_PORT: put(chip, INPUT_UNLOCKED, 0); break;
    case CMD_READ_OUTPUT_PORT: put(chip, s->output_port, 0); break;
    case CMD_A20_OFF: s->output_port &= (uint8_t)~OUTPUT_A20; break;
    case CMD_A20_ON: s->output_port |= OUTPUT_A20; break;
    default: break;
    }
    return false;
}

/* A data byte: a command's, or for the keyboard, which isn't there: it never answers, which the
 * controller reports as a time-out. Returns whether the machine is to be reset. */
static bool write_data(struct dev_i8042 *chip, uint8_t value)
{
    struct dev_i8042_state *s = &chip->state;
    uint8_t command = s->command;

    s->command = 0;
    s->status &= (uint8_t)~STATUS_WAS_COMMAND;
    if ((command & 0xe0) == CMD_WRITE_MEMORY) {
        write_memory(s, command & 0x1f, value);
        return false;
    }
    switch (command) {
    case CMD_WRITE_OUTPUT_PORT: return write_output_port(s, value);
    case CMD_PUT_KEYBOARD: put(chip, value, 0); break;
    case CMD_PUT_MOUSE: put(chip, value, STATUS_MOUSE_OUTPUT); break;
    case CMD_SEND_MOUSE: put(chip, RESEND, STATUS_MOUSE_OUTPUT | STATUS_TIMEOUT); break;
    default:
        s->mode &= (uint8_t)~MODE_KEYBOARD_OFF; /* sending turns the keyboard's clock on */
        put(chip, RESEND, STATUS_TIMEOUT);
        break;
    }
    return false;
}

static uint64_t data_read(void *opaque, uint64_t offset, unsigned size)
{
    struct dev_i8042 *chip = opaque;
    uint64_t value;

    pthread_mutex_lock(&chip->lock);
    value = chip->state.data;
    chip->state.status &= (uint8_t)~STATUS_OUTPUT;
    update_lines(chip);
    pthread_mutex_unlock(&chip->lock);
    return value;
}

static uint64_t status_read(void *opaque, uint64_t offset, unsigned size)
{
    struct dev_i8042 *chip = opaque;
    uint64_t value;

    pthread_mutex_lock(&chip->lock);
    value = chip->state.status;
    pthread_mutex_unlock(&chip->lock);
    return value;
}

static void write_either(struct dev_i8042 *chip, bool is_command, uint8_t value)
{
    bool resets;

    pthread_mutex_lock(&chip->lock);
    resets = is_command ? write_command(chip, value) : write_data(chip, value);
    update_lines(chip);
    pthread_mutex_unlock(&chip->lock);
    if (resets && chip->config.reset)
        chip->config.reset(chip->config.opaque);
}

static void data_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    write_either(opaque, false, (uint8_t)value);
}

static void command_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
    write_either(opaque, true, (uint8_t)value);
}

static const struct hv_io_ops data_ops = { .read = data_read, .write = data_write };
static const struct hv_io_ops command_ops = { .read = status_read, .write = command_write };

void dev_i8042_init(struct dev_i8042 *chip, const struct dev_i8042_config *config)
{
    *chip = (struct dev_i8042){ .config = *config };
    pthread_mutex_init(&chip->lock, NULL);
    dev_i8042_reset(chip);
}

void dev_i8042_fini(struct dev_i8042 *chip)
{
    pthread_mutex_destroy(&chip->lock);
}

int dev_i8042_map(struct dev_i8042 *chip, struct hv_io_space *ports)
{
    int r;

    r = hv_io_space_add(ports, DATA_PORT, 1, &data_ops, chip);
    if (r < 0)
        return r;
    return hv_io_space_add(ports, COMMAND_PORT, 1, &command_ops, chip);
}

/* As firmware leaves it: self-test passed, A20 open. */
void dev_i8042_reset(struct dev_i8042 *chip)
{
    pthread_mutex_lock(&chip->lock);
    chip->state = (struct dev_i8042_state){
        .status = STATUS_SYSTEM | STATUS_UNLOCKED,
        .mode = MODE_SYSTEM | MODE_KEYBOARD_OFF | MODE_MOUSE_OFF,
        .output_port = OUTPUT_RESET_HIGH | OUTPUT_A20 | OUTPUT_UNUSED_HIGH,
    };
    update_lines(chip);
    pthread_mutex_unlock(&chip->lock);
}

void dev_i8042_get_state(struct dev_i8042 *chip, struct dev_i8042_state *ret)
{
    pthread_mutex_lock(&chip->lock);
    *ret = chip->state;
    pthread_mutex_unlock(&chip->lock);
}

int dev_i8042_set_state(struct dev_i8042 *chip, const struct dev_i8042_state *state)
{
    if ((state->status & ~STATUS_MASK) || (state->command != 0 && !takes_data(state->command)) ||
        !(state->output_port & OUTPUT_RESET_HIGH))
        return -EINVAL;
    pthread_mutex_lock(&chip->lock);
    chip->state = *state;
    update_lines(chip);
    pthread_mutex_unlock(&chip->lock);
    return 0;
}
