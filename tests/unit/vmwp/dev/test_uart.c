/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/cmocka.h"

#include "tests/lib/chip.h"
#include "vmwp/con/con.h"
#include "vmwp/dev/uart.h"

#include <string.h>

enum {
    P = DEV_UART_COM1,
    DATA = P,
    IER = P + 1,
    IIR = P + 2,
    FCR = P + 2,
    LCR = P + 3,
    MCR = P + 4,
    LSR = P + 5,
    MSR = P + 6,
    SCR = P + 7
};

struct fixture {
    struct hv_io_space io;
    struct fake_line line;
    struct con *con;
    struct dev_uart uart;
};

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct dev_uart_config config;

    if (!f || con_new(CON_RING_MIN_BYTES, &f->con) < 0)
        return -1;
    config = (struct dev_uart_config){ .irq = fake_irq_line(&f->line), .con = f->con };
    dev_uart_init(&f->uart, &config);
    *state = f;
    return dev_uart_map(&f->uart, &f->io, P);
}

static int drop(void **state)
{
    struct fixture *f = *state;

    dev_uart_fini(&f->uart);
    con_free(f->con);
    free(f);
    return 0;
}

static void impossible_states_are_refused(void **state)
{
    struct fixture *f = *state;
    struct dev_uart_state good, bad;

    dev_uart_get_state(&f->uart, &good);
    bad = good;
    bad.rx_count = 2; /* without FIFO there is room for one */
    assert_int_equal(dev_uart_set_state(&f->uart, &bad), -EINVAL);
    bad = good;
    bad.rx_first = DEV_UART_FIFO_BYTES;
    assert_int_equal(dev_uart_set_state(&f->uart, &bad), -EINVAL);
    bad = good;
    bad.ier = 0x10;
    assert_int_equal(dev_uart_set_state(&f->uart, &bad), -EINVAL);
    assert_int_equal(dev_uart_set_state(&f->uart, &good), 0);
}

/* What Linux' 8250 driver does to tell a 16550A from all the others. */
static void it_is_found_to_be_a_16550a(void **state)
{
    struct fixture *f = *state;

    out8(&f->io, IER, 0);
    assert_int_equal(in8(&f->io, IER) & 0x0f, 0);
    out8(&f->io, IER, 0x0f);
    assert_int_equal(in8(&f->io, IER) & 0x0f, 0x0f);
    out8(&f->io, IER, 0);
    out8(&f->io, MCR, 0x10 | 0x0a);
    assert_int_equal(in8(&f->io, MSR) & 0xf0, 0x90);
    out8(&f->io, MCR, 0);
    out8(&f->io, LCR, 0xbf);
    assert_int_not_equal(in8(&f->io, P + 2), 0); /* no EFR: not a 16650 */
    out8(&f->io, LCR, 0);
    out8(&f->io, FCR, 1);
    assert_int_equal(in8(&f->io, IIR) >> 6, 3);
    out8(&f->io, FCR, 0x21);
    assert_int_equal(in8(&f->io, IIR) & 0x20, 0); /* not a 16750 */
    out8(&f->io, IER, 0x40);
    assert_int_equal(in8(&f->io, IER), 0); /* not an XScale */
    out8(&f->io, SCR, 0x5a);
    assert_int_equal(in8(&f->io, SCR), 0x5a);
    out8(&f->io, FCR, 0);
    assert_int_equal(in8(&f->io, IIR) >> 6, 0);
}

static void divisor_latch_hides_data_and_ier(void **state)
{
    struct fixture *f = *state;
    uint64_t start, end;

    out8(&f->io, LCR, 0x83);
    out8(&f->io, DATA, 0x34);
    out8(&f->io, IER, 0x12);
    assert_int_equal(in8(&f->io, DATA), 0x34);
    assert_int_equal(in8(&f->io, IER), 0x12);
    out8(&f->io, LCR, 0x03);
    assert_int_equal(in8(&f->io, IER), 0);
    con_range(f->con, &start, &end);
    assert_int_equal(end, 0);
    assert_false(f->line.level);
}

static void what_is_written_reaches_the_console_and_the_transmitter_is_empty(void **state)
{
    struct fixture *f = *state;
    char out[3];
    size_t length;
    uint64_t next;

    for (const char *c = "Hi\n"; *c; c++) {
        assert_int_equal(in8(&f->io, LSR), 0x60);
        out8(&f->io, DATA, (uint8_t)*c);
    }
    assert_int_equal(con_read(f->con, 0, out, 3, &length, &next), CON_READ_OK);
    assert_memory_equal(out, "Hi\n", 3);
    assert_int_equal(f->line.n_rises, 0);
}

static void enabling_thre_interrupts_each_time(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 1; i <= 3; i++) {
        out8(&f->io, IER, 2);
        assert_int_equal(f->line.n_rises, i);
        assert_int_equal(in8(&f->io, IIR), 0x02);
        assert_false(f->line.level);
        assert_int_equal(in8(&f->io, IIR), 0x01);
        out8(&f->io, IER, 0);
    }
}

static void each_byte_ends_in_a_new_edge_while_thre_is_enabled(void **state)
{
    struct fixture *f = *state;

    out8(&f->io, IER, 2);
    out8(&f->io, DATA, 'a'); /* clears and raises, without IIR having been read */
    assert_int_equal(f->line.n_rises, 2);
    (void)in8(&f->io, IIR);
    assert_false(f->line.level);
    out8(&f->io, DATA, 'b');
    assert_int_equal(f->line.n_rises, 3);
    out8(&f->io, IER, 0);
    assert_false(f->line.level);
}

static void input_below_the_trigger_times_out(void **state)
{
    struct fixture *f = *state;

    out8(&f->io, FCR, 0xc7); /* FIFOs, trigger at 14 */
    out8(&f->io, IER, 1);
    assert_int_equal(con_type(f->con, "abc", 3), 3);
    assert_true(f->line.level);
    assert_int_equal(in8(&f->io, IIR), 0xcc);
    assert_int_equal(in8(&f->io, LSR) & 1, 1);
    assert_int_equal(in8(&f->io, DATA), 'a');
    assert_int_equal(in8(&f->io, DATA), 'b');
    assert_true(f->line.level);
    assert_int_equal(in8(&f->io, DATA), 'c');
    assert_false(f->line.level);
    assert_int_equal(in8(&f->io, DATA), 0);
}

static void much_input_comes_in_fifos_with_an_edge_each(void **state)
{
    struct fixture *f = *state;
    char typed[100], got[100];
    unsigned n = 0;

    for (unsigned i = 0; i < sizeof(typed); i++)
        typed[i] = (char)('0' + i % 64);
    out8(&f->io, FCR, 0x87); /* trigger at 8 */
    out8(&f->io, IER, 1);
    assert_int_equal(con_type(f->con, typed, sizeof(typed)), sizeof(typed));
    while (f->line.level) {
        unsigned before = n;

        assert_int_equal(in8(&f->io, IIR), sizeof(typed) - n >= 8 ? 0xc4 : 0xcc);
        while (in8(&f->io, LSR) & 1)
            got[n++] = (char)in8(&f->io, DATA);
        assert_in_range(n - before, 1, 16); /* a driver's loop ends */
    }
    assert_int_equal(n, sizeof(typed));
    assert_memory_equal(got, typed, sizeof(typed));
    assert_int_equal(f->line.n_rises, 7);
}

static void a_poller_gets_input_without_interrupts(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(con_type(f->con, "xy", 2), 2);
    assert_int_equal(in8(&f->io, LSR) & 1, 0);
    assert_int_equal(in8(&f->io, LSR) & 1, 0);
    assert_int_equal(in8(&f->io, LSR) & 1, 1);
    assert_int_equal(in8(&f->io, DATA), 'x');
    (void)in8(&f->io, LSR);
    (void)in8(&f->io, LSR);
    assert_int_equal(in8(&f->io, LSR) & 1, 1);
    assert_int_equal(in8(&f->io, DATA), 'y');
}

static void typed_ahead_bytes_survive_a_console_and_a_drivers_start(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(con_type(f->con, "early", 5), 5);
    for (unsigned i = 0; i < 100; i++) { /* early messages: look at LSR, write */
        (void)in8(&f->io, LSR);
        out8(&f->io, DATA, '.');
    }
    out8(&f->io, FCR, 1); /* start-up: clear everything */
    out8(&f->io, FCR, 7);
    out8(&f->io, FCR, 0);
    (void)in8(&f->io, LSR);
    (void)in8(&f->io, DATA);
    (void)in8(&f->io, IIR);
    (void)in8(&f->io, MSR);
    out8(&f->io, FCR, 0x87);
    out8(&f->io, IER, 5);
    assert_true(f->line.level);
    assert_int_equal(in8(&f->io, DATA), 'e');
}

static void line_errors_come_before_data_before_thre_before_modem(void **state)
{
    struct fixture *f = *state;

    out8(&f->io, MCR, 0x10);
    out8(&f->io, DATA, 'a');
    out8(&f->io, DATA, 'b'); /* without FIFO: overruns, and the new one stays */
    out8(&f->io, IER, 0x0f);
    assert_int_equal(in8(&f->io, IIR), 0x06);
    assert_int_equal(in8(&f->io, LSR), 0x63);
    assert_int_equal(in8(&f->io, IIR), 0x04);
    assert_int_equal(in8(&f->io, DATA), 'b');
    assert_int_equal(in8(&f->io, IIR), 0x02);
    assert_int_equal(in8(&f->io, IIR), 0x00); /* CTS, DSR and DCD fell with loop-back */
    assert_int_equal(in8(&f->io, MSR), 0x0b);
    assert_int_equal(in8(&f->io, IIR), 0x01);
}

static void ring_is_told_at_its_end_only(void **state)
{
    struct fixture *f = *state;

    out8(&f->io, MCR, 0x10);
    (void)in8(&f->io, MSR);
    out8(&f->io, MCR, 0x14);
    assert_int_equal(in8(&f->io, MSR), 0x40);
    out8(&f->io, MCR, 0x10);
    assert_int_equal(in8(&f->io, MSR), 0x04);
}

static void a_full_fifo_overruns_in_loopback(void **state)
{
    struct fixture *f = *state;

    out8(&f->io, FCR, 1);
    out8(&f->io, MCR, 0x10);
    for (unsigned i = 0; i < 17; i++)
        out8(&f->io, DATA, (uint8_t)i);
    assert_int_equal(in8(&f->io, LSR), 0x63);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(in8(&f->io, DATA), i);
    assert_int_equal(in8(&f->io, LSR), 0x60);
}

static void wide_accesses_reach_neighbouring_registers(void **state)
{
    struct fixture *f = *state;

    hv_io_space_write(&f->io, MCR, 4, 0x77000000);
    assert_int_equal(in8(&f->io, SCR), 0x77);
    assert_int_equal(hv_io_space_read(&f->io, LSR, 2) & 0xff, 0x60);
}

static void a_state_moves_to_another_port(void **state)
{
    struct fixture *f = *state;
    struct dev_uart_state saved, again;

    out8(&f->io, FCR, 0xc1);
    out8(&f->io, IER, 1);
    assert_int_equal(con_type(f->con, "qrs", 3), 3);
    dev_uart_get_state(&f->uart, &saved);
    dev_uart_reset(&f->uart);
    assert_false(f->line.level);
    assert_int_equal(dev_uart_set_state(&f->uart, &saved), 0);
    assert_true(f->line.level);
    dev_uart_get_state(&f->uart, &again);
    assert_memory_equal(&saved, &again, sizeof(saved));
    assert_int_equal(in8(&f->io, DATA), 'q');
}

static void nonsense_leaves_a_possible_state(void **state)
{
    struct fixture *f = *state;
    struct dev_uart_state s;

    for (unsigned i = 0; i < 50; i++) {
        (void)con_type(f->con, "0123456789", 10);
        fake_hammer(&f->io, P, 8, 2000);
        dev_uart_get_state(&f->uart, &s);
        assert_int_equal(dev_uart_set_state(&f->uart, &s), 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(impossible_states_are_refused),
        TEST(it_is_found_to_be_a_16550a),
        TEST(divisor_latch_hides_data_and_ier),
        TEST(what_is_written_reaches_the_console_and_the_transmitter_is_empty),
        TEST(enabling_thre_interrupts_each_time),
        TEST(each_byte_ends_in_a_new_edge_while_thre_is_enabled),
        TEST(input_below_the_trigger_times_out),
        TEST(much_input_comes_in_fifos_with_an_edge_each),
        TEST(a_poller_gets_input_without_interrupts),
        TEST(typed_ahead_bytes_survive_a_console_and_a_drivers_start),
        TEST(line_errors_come_before_data_before_thre_before_modem),
        TEST(ring_is_told_at_its_end_only),
        TEST(a_full_fifo_overruns_in_loopback),
        TEST(wide_accesses_reach_neighbouring_registers),
        TEST(a_state_moves_to_another_port),
        TEST(nonsense_leaves_a_possible_state),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
