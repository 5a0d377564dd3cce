/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The readers of one serial console: each a stream socket, fed from the console's ring at its own
 * pace, whose bytes are typed into the port. io thread only.
 */
#pragma once

#include "hvcore/base/error.h"
#include "vmwp/con/con.h"
#include "vmwp/worker/loop.h"

enum { WP_CONSOLE_MAX_STREAMS = 16 };

struct wp_console {
    /* private; owner: the io thread */
    struct wp_loop *loop;
    struct con *con;
    struct hv_list streams;
    unsigned n_streams;
};

/* con: borrowed, outlives the console. */
void wp_console_init(struct wp_console *console, struct wp_loop *loop, struct con *con);

/* Drop all readers. The loop must still run once after this. */
void wp_console_fini(struct wp_console *console);

/*
 * Make a stream.
 *
 * from:      first position wanted; UINT64_MAX: only what comes from now on
 * ret_fd:    the caller's end, to be closed by the caller
 * ret_start: position of the first byte that will come
 * return:    0, -EMFILE when there are too many readers, or an errno of socketpair
 */
int wp_console_open(struct wp_console *console, uint64_t from, int *ret_fd, uint64_t *ret_start,
                    struct hv_error **reterr);

/* Hand on what can be handed on now. Returns true when every reader has everything. */
bool wp_console_flush(struct wp_console *console);
