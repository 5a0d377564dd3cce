/* SPDX-License-Identifier: Apache-2.0 */
/* An HTTP/1.1 response's head (RFC 9112), as our own service sends it: a length, no chunks. */
#include "api/client/client_priv.h"

#include <string.h>
#include <strings.h>

static int read_status(const char *line, unsigned *ret)
{
    unsigned status = 0;

    /* lws answers by 1.0 before it has made up its mind about an upgrade. */
    if (strncmp(line, "HTTP/1.1 ", 9) != 0 && strncmp(line, "HTTP/1.0 ", 9) != 0)
        return -EPROTO;
    for (int i = 9; i < 12; i++) {
        if (line[i] < '0' || line[i] > '9')
            return -EPROTO;
        status = status * 10 + (unsigned)(line[i] - '0');
    }
    *ret = status;
    return 0;
}

static int read_length(const char *text, size_t length, size_t *ret)
{
    size_t sum = 0;

    if (!length)
        return -EPROTO;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || sum > MAX_REPLY_BYTES)
            return -EPROTO;
        sum = sum * 10 + (size_t)(text[i] - '0');
    }
    *ret = sum;
    return sum > MAX_REPLY_BYTES ? -EMSGSIZE : 0;
}

static bool is_word(const char *text, size_t length, const char *word)
{
    return length == strlen(word) && strncasecmp(text, word, length) == 0;
}

static int read_header(const char *line, size_t length, struct http_head *ret)
{
    const char *colon = memchr(line, ':', length), *value;
    size_t name_bytes;

    if (!colon || colon == line)
        return -EPROTO;
    name_bytes = (size_t)(colon - line);
    value = colon + 1;
    while (value < line + length && *value == ' ')
        value++;
    length = (size_t)(line + length - value);
    if (is_word(line, name_bytes, "content-length")) {
        if (ret->has_length)
            return -EPROTO;
        ret->has_length = true;
        return read_length(value, length, &ret->body_bytes);
    }
    if (is_word(line, name_bytes, "transfer-encoding"))
        return -EPROTO;
    if (is_word(line, name_bytes, "upgrade"))
        ret->is_upgrade = is_word(value, length, "websocket");
    if (is_word(line, name_bytes, "connection"))
        ret->is_close = is_word(value, length, "close");
    return 0;
}

static int read_head(const char *text, struct http_head *ret)
{
    const char *line = text, *end = text + ret->head_bytes - 2, *next;
    int r = read_status(line, &ret->status);

    next = r == 0 ? strstr(line, "\r\n") : NULL;
    for (line = next ? next + 2 : end; r == 0 && line < end; line = next + 2) {
        next = strstr(line, "\r\n");
        r = read_header(line, (size_t)(next - line), ret);
    }
    return r;
}

int api_http_read_head(struct inbox *inbox, const struct wire *wire, struct http_head *ret)
{
    hv_autofree char *head = NULL;
    const char *end;
    ssize_t count;

    *ret = (struct http_head){ 0 };
    while (!(end = inbox->length ? memmem(inbox->bytes, inbox->length, "\r\n\r\n", 4) : NULL)) {
        count = api_inbox_fill(inbox, wire, MAX_HEAD_BYTES);
        if (count <= 0)
            return count < 0 ? (int)count : -ECONNRESET;
    }
    ret->head_bytes = (size_t)(end - inbox->bytes) + 4;
    head = strndup(inbox->bytes, ret->head_bytes);
    if (!head)
        return -ENOMEM;
    if (strlen(head) != ret->head_bytes || ret->head_bytes < 16)
        return -EPROTO;
    return read_head(head, ret);
}

int api_http_read(struct inbox *inbox, const struct wire *wire, struct http_head *ret)
{
    ssize_t count;
    int r = api_http_read_head(inbox, wire, ret);

    if (r < 0)
        return r;
    if (!ret->has_length)
        return -EPROTO;
    while (inbox->length < ret->head_bytes + ret->body_bytes) {
        count = api_inbox_fill(inbox, wire, MAX_REPLY_BYTES + MAX_HEAD_BYTES);
        if (count <= 0)
            return count < 0 ? (int)count : -ECONNRESET;
    }
    return 0;
}

int api_http_refusal(const struct inbox *inbox, const struct http_head *head,
                     struct api_error **reterr)
{
    int length = (int)head->body_bytes;
    enum api_error_code code = head->status == 403   ? API_E_ACCESS_DENIED
                               : head->status == 413 ? API_E_TOO_LARGE
                                                     : API_E_FAILED;

    while (length > 0 && inbox->bytes[head->head_bytes + (size_t)length - 1] == '\n')
        length--;
    return api_error_set(reterr, code, "client.http", NULL, "The service refused (HTTP %u): %.*s",
                         head->status, length, inbox->bytes + head->head_bytes);
}
