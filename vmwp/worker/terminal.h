/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A console on standard input and output, raw. io thread only.
 */
#pragma once

#include "vmwp/con/con.h"
#include "vmwp/worker/loop.h"

#include <termios.h>

struct wp_terminal {
    /* private; owner: the io thread */
    struct wp_loop *loop;
    struct con *con;
    struct con_watch watch;
    struct wp_task task;
    uint64_t position;
    uv_poll_t poll;
    bool is_pollable; /* standard input is something epoll takes */
    bool is_input_over;
    bool is_output_broken;
    bool is_raw;
    struct termios before;
    int flags_before; /* of standard input's description */
    char in[512];
    size_t in_first, in_left;
    void (*left)(void *opaque); /* Ctrl-] was typed */
    void *opaque;
};

/* Join both; a terminal is made raw until wp_terminal_fini. */
void wp_terminal_init(struct wp_terminal *terminal, struct wp_loop *loop, struct con *con,
                      void (*left)(void *opaque), void *opaque);

/* Write what the guest has written so far, and put a terminal back as it was. */
void wp_terminal_fini(struct wp_terminal *terminal);
