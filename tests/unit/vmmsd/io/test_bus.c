/* SPDX-License-Identifier: Apache-2.0 */
/* A peer on a bus without a bus, that is hostile. */
#include "tests/lib/cmocka.h"

#include "hvcore/base/own.h"
#include "vmmsd/io/bus.h"

#include <string.h>
#include <sys/socket.h>

enum { MAX_TURNS = 20000 };

/* "Are you there?", org.freedesktop.DBus.Peer.Ping to "/": little endian, a call, version 1. */
static const char ping[] = "l\1\0\1" /* */
                           "\0\0\0\0\1\0\0\0\105\0\0\0"
                           "\1\1o\0\1\0\0\0/\0\0\0\0\0\0\0"
                           "\2\1s\0\31\0\0\0org.freedesktop.DBus.Peer\0\0\0\0\0\0\0"
                           "\3\1s\0\4\0\0\0Ping\0\0\0\0";

static const char agreement[] = "OK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n";

static int down_r;

static void down(void *opaque, int r)
{
    down_r = r;
}

static int heard(sd_bus_message *m, void *opaque, sd_bus_error *error)
{
    return 0;
}

/* Each question is answered; who asks on and on and takes no answer is not waited for. */
static void a_peer_that_takes_no_answers_is_dropped(void **state)
{
    size_t at = 0, n = sizeof(ping) - 1, asked = 0;
    struct vmms_bus *bus = NULL;
    uv_loop_t loop;
    int pair[2];

    assert_int_equal(n, 88);
    down_r = 0;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(vmms_bus_open_peer(&loop, pair[0], heard, down, NULL, &bus), 0);
    assert_int_equal(send(pair[1], agreement, sizeof(agreement) - 1, 0), sizeof(agreement) - 1);
    for (unsigned i = 0; i < MAX_TURNS && !down_r; i++) {
        ssize_t sent = 0;

        while (sent >= 0 && asked < 100000) {
            sent = send(pair[1], ping + at, n - at, MSG_NOSIGNAL);
            at += sent > 0 ? (size_t)sent : 0;
            asked += at == n;
            at = at == n ? 0 : at;
        }
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(down_r, -ENOBUFS);
    bus = vmms_bus_close(bus);
    while (uv_run(&loop, UV_RUN_DEFAULT))
        ;
    hv_close(pair[1]);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_peer_that_takes_no_answers_is_dropped) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
