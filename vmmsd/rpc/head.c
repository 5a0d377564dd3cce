/* SPDX-License-Identifier: Apache-2.0 */
/* The begin of a request, looked at before lws reads it, which answers what it cannot parse by
 * closing, or with a page that says "403"; and takes CONNECT for a stream of bytes to nobody. */
#include "vmmsd/rpc/rpc_priv.h"

#include <string.h>

static bool begins_with_method(const char *bytes, size_t length)
{
    static const char *const methods[] = { "GET ",    "POST ",  "HEAD ",   "PUT ",
                                           "DELETE ", "PATCH ", "OPTIONS " };

    for (size_t i = 0; i < HV_ARRAY_SIZE(methods); i++) {
        size_t compared = strlen(methods[i]);

        if (memcmp(bytes, methods[i], length < compared ? length : compared) == 0)
            return true;
    }
    return false;
}

/* Where a line's end is split, the rest of it may be what comes first: lws knows. */
static bool may_end(const struct head *head, const char *bytes, size_t length)
{
    return memmem(bytes, length, "\n\r\n", 3) || memmem(bytes, length, "\n\n", 2) ||
           (head->taken && (*bytes == '\r' || *bytes == '\n'));
}

unsigned vmms_head_judge(struct head *head, const char *bytes, size_t length)
{
    if (!head->taken && !begins_with_method(bytes, length))
        return HTTP_STATUS_BAD_REQUEST;
    if (may_end(head, bytes, length))
        return 0;
    if (head->taken + length > HEADER_BYTES)
        return VMMS_HTTP_HEAD_TOO_LARGE;
    head->taken += length < LWS_READ_BYTES ? length : LWS_READ_BYTES;
    return 0;
}
