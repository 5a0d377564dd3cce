/* SPDX-License-Identifier: Apache-2.0 */
/* A stream to a client, whichever rim it came in by: what the rim tells whoever feeds it. */
#pragma once

#include <stddef.h>

struct vmms_stream_ops {
    /* public */
    void (*drained)(void *opaque); /* there is room for more output */
    void (*input)(void *opaque, const void *bytes, size_t length); /* or NULL */
    void (*closed)(void *opaque); /* the client has gone: the stream is no more */
};
