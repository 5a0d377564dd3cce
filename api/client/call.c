/* SPDX-License-Identifier: Apache-2.0 */
#include "api/client/client_priv.h"

#include "api/gen/tables.h"
#include "api/rpc/json.h"
#include "api/rpc/writer.h"

#include <stdio.h>
#include <string.h>

void api_reply_fini(struct api_reply *reply)
{
    json_doc_free(reply->doc);
    *reply = (struct api_reply){ 0 };
}

char *api_call_text(enum api_method method, const char *params)
{
    struct json_writer out = { 0 };
    char *text;

    json_begin_object(&out);
    json_key(&out, "jsonrpc");
    json_put_string(&out, "2.0");
    json_key(&out, "id");
    json_put_u64(&out, 1);
    json_key(&out, "method");
    json_put_string(&out, api_methods[method].name);
    if (params) {
        json_key(&out, "params");
        json_put_raw(&out, params, strlen(params));
    }
    json_end_object(&out);
    return json_writer_take(&out, &text, NULL) < 0 ? NULL : text;
}

static int malformed(struct api_error **reterr)
{
    return api_error_set(reterr, API_E_FAILED, "client.answer", NULL,
                         "The service's answer cannot be understood.");
}

int api_call_answer(const char *text, size_t length, struct api_reply *ret,
                    struct api_error **reterr)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    const struct json_value *root, *error;
    struct api_error *theirs = NULL;
    struct json_fault fault;

    if (json_parse(text, length, &json_limits_reply, &doc, &fault) < 0)
        return malformed(reterr);
    root = json_doc_root(doc);
    error = json_get(root, "error");
    if (error) {
        if (api_error_read(error, &theirs) < 0)
            return malformed(reterr);
        if (reterr && !*reterr)
            *reterr = theirs;
        else
            api_error_free(theirs);
        return -EINVAL;
    }
    ret->result = json_get(root, "result");
    if (!ret->result)
        return malformed(reterr);
    ret->doc = HV_TAKE_PTR(doc);
    return 0;
}

int api_client_open(const char *uri, struct api_client **ret, struct api_error **reterr)
{
    const char *path = strncmp(uri, "unix:", 5) == 0 ? uri + 5 : uri;
    struct api_client *client;

    if (strncmp(uri, "https://", 8) == 0)
        return api_remote_open(uri + 8, ret, reterr);
    if (*path != '/' && strncmp(uri, "dbus:", 5) != 0)
        return api_error_set(reterr, API_E_INVALID_PARAMETER, "client.uri", "connect",
                             "\"%.100s\" is no address of the service; unix:/PATH, dbus:system, "
                             "dbus:session and https://HOST:PORT are.",
                             uri);
    client = calloc(1, sizeof(*client));
    if (!client)
        return -ENOMEM;
    client->wire.fd = -1;
    if (*path == '/')
        client->path = strdup(path);
    else
        client->bus = strdup(uri + 5);
    if (!client->path && !client->bus)
        client = api_client_close(client);
    *ret = client;
    return client ? 0 : -ENOMEM;
}

struct api_client *api_client_close(struct api_client *client)
{
    if (!client)
        return NULL;
    api_wire_close(&client->wire);
    if (client->dbus)
        client->dbus_ops->close(client->dbus);
    free(client->bus);
    free(client->path);
    free(client->address);
    free(client->host);
    free(client->port);
    free(client->fingerprint);
    api_identity_fini(&client->identity);
    free(client->inbox.bytes);
    free(client);
    return NULL;
}

bool api_client_has_streams(const struct api_client *client)
{
    return !client->bus;
}

static int send_request(struct api_client *client, const char *body)
{
    hv_autofree char *request = NULL;
    int length = asprintf(&request,
                          "POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                          "application/json\r\nContent-Length: %zu\r\n\r\n%s",
                          strlen(body), body);

    if (length < 0) {
        request = NULL;
        return -ENOMEM;
    }
    return api_wire_write(&client->wire, request, (size_t)length);
}

static int lost(struct api_client *client, int r, struct api_error **reterr)
{
    api_wire_close(&client->wire);
    client->inbox.length = 0;
    return api_error_set(reterr, API_E_STATUS_UNKNOWN, "client.lost", NULL,
                         "The connection to the service broke: %s.", strerror(-r));
}

int api_client_open_bus(struct api_client *client, struct api_error **reterr)
{
    int r = 0;

    if (!client->dbus_ops)
        r = api_dbus_load(&client->dbus_ops, reterr);
    if (r == 0 && !client->dbus)
        r = client->dbus_ops->open(client->bus, &client->dbus, reterr);
    return r;
}

static int call_dbus(struct api_client *client, enum api_method method, const char *params,
                     struct api_reply *ret, struct api_error **reterr)
{
    hv_autofree char *answer = NULL;
    int r = api_client_open_bus(client, reterr);

    if (r == 0)
        r = client->dbus_ops->call(client->dbus, api_methods[method].name, params, &answer, reterr);
    return r < 0 ? r : api_call_answer(answer, strlen(answer), ret, reterr);
}

int api_client_call(struct api_client *client, enum api_method method, const char *params,
                    struct api_reply *ret, struct api_error **reterr)
{
    hv_autofree char *body = api_call_text(method, params);
    struct http_head head;
    int r;

    *ret = (struct api_reply){ 0 };
    if (!body)
        return -ENOMEM;
    if (client->bus)
        return call_dbus(client, method, params, ret, reterr);
    if (client->wire.fd < 0) {
        r = api_wire_connect(client, &client->wire, reterr);
        if (r < 0)
            return r;
    }
    r = send_request(client, body);
    /* A service that refuses early answers before it has read all: the answer counts. */
    if (r == 0 || r == -EPIPE || r == -ECONNRESET)
        r = api_http_read(&client->inbox, &client->wire, &head);
    if (r < 0)
        return lost(client, r, reterr);
    r = head.status == 200
            ? api_call_answer(client->inbox.bytes + head.head_bytes, head.body_bytes, ret, reterr)
            : api_http_refusal(&client->inbox, &head, reterr);
    api_inbox_drop(&client->inbox, head.head_bytes + head.body_bytes);
    if (head.is_close || head.status != 200) {
        api_wire_close(&client->wire);
        client->inbox.length = 0;
    }
    return r;
}

int api_client_get(struct api_client *client, enum api_method method, const char *params,
                   union api_result *ret, struct api_error **reterr)
{
    HV_CLEANUP(api_reply_fini) struct api_reply reply = { 0 };
    int r = api_client_call(client, method, params, &reply, reterr);

    if (r < 0)
        return r;
    return api_record_read(api_methods[method].result, reply.result, NULL, ret, reterr);
}
