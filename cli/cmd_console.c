/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/adm.h"

#include "api/rpc/json.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>

enum { ESCAPE = 0x1d /* Ctrl-] */, INPUT_BYTES = 4096 };

struct console_options {
    const char *vm;
    uint32_t port;
    bool is_log;
    bool is_new;
};

static char *console_params(const struct adm *adm, const struct console_options *options)
{
    struct json_writer params = { 0 };

    adm_begin_params(adm, &params, options->vm);
    json_key(&params, "port");
    json_put_u64(&params, options->port);
    if (options->is_log) {
        json_key(&params, "encoding");
        json_put_string(&params, "base64");
    } else if (options->is_new) {
        json_key(&params, "from");
        json_put_u64(&params, UINT64_MAX);
    }
    return adm_end_params(&params);
}

static int write_all(int fd, const char *bytes, size_t length)
{
    ssize_t count;

    while (length) {
        count = write(fd, bytes, length);
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        bytes += count;
        length -= (size_t)count;
    }
    return 0;
}

static int digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)(at - digits) : -1;
}

/* Base64 in place. Returns the bytes. */
static size_t decode(char *text)
{
    size_t out = 0;
    uint32_t bits = 0;
    int count = 0;

    for (const char *at = text; digit(*at) >= 0; at++) {
        bits = bits << 6 | (uint32_t)digit(*at);
        count += 6;
        if (count >= 8) {
            count -= 8;
            text[out++] = (char)(bits >> count);
        }
    }
    return out;
}

static int print_log(struct adm *adm, const struct console_options *options)
{
    union api_result result;
    int r;

    if (adm->is_json)
        return adm_call(adm, API_METHOD_VM_CONSOLE_LOG, console_params(adm, options), NULL);
    r = adm_get(adm, API_METHOD_VM_CONSOLE_LOG, console_params(adm, options), &result);
    if (r)
        return r;
    (void)fwrite(result.console_log.data, 1, decode(result.console_log.data), stdout);
    api_console_log_fini(&result.console_log);
    return 0;
}

/* The terminal, raw while we sit at the console, and put back however we leave. */
static struct termios saved_terminal;

static void restore_terminal(void)
{
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &saved_terminal);
}

static void killed(int number)
{
    restore_terminal();
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static bool make_terminal_raw(void)
{
    struct termios raw;

    if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &saved_terminal) < 0)
        return false;
    raw = saved_terminal;
    cfmakeraw(&raw);
    (void)signal(SIGTERM, killed);
    (void)signal(SIGHUP, killed);
    return tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
}

/* Returns 1 when the user wants to leave, 0, or a negative errno. *is_open: stdin has more. */
static int take_input(struct api_stream *stream, bool is_terminal, bool *is_open)
{
    char bytes[INPUT_BYTES], *escape;
    ssize_t count = read(STDIN_FILENO, bytes, sizeof(bytes));
    size_t length;
    int r = 0;

    if (count < 0 && errno == EINTR)
        return 0;
    if (count <= 0) {
        *is_open = false;
        return is_terminal ? 1 : 0;
    }
    escape = is_terminal ? memchr(bytes, ESCAPE, (size_t)count) : NULL;
    length = escape ? (size_t)(escape - bytes) : (size_t)count;
    if (length)
        r = api_stream_send(stream, bytes, length);
    return r < 0 ? r : escape != NULL;
}

/* Everything that can be had without blocking. Returns as api_stream_next. */
static int take_output(struct api_stream *stream)
{
    struct api_message message;
    int r;

    do {
        r = api_stream_next(stream, &message);
        /* The one text message of an open console is its end. */
        if (r == API_STREAM_MESSAGE && !message.is_binary)
            return API_STREAM_END;
        if (r == API_STREAM_MESSAGE && write_all(STDOUT_FILENO, message.bytes, message.length) < 0)
            return -EPIPE;
    } while ((r == API_STREAM_MESSAGE || r == API_STREAM_NOTHING) && api_stream_is_ready(stream));
    return r;
}

static int sit(struct api_stream *stream, bool is_terminal)
{
    struct pollfd fds[] = { { .fd = api_stream_fd(stream), .events = POLLIN },
                            { .fd = STDIN_FILENO, .events = POLLIN } };
    bool is_open = true;
    int r = api_stream_is_ready(stream) ? take_output(stream) : API_STREAM_NOTHING;

    while (r >= 0 && r != API_STREAM_END) {
        fds[1].fd = is_open ? STDIN_FILENO : -1;
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return -errno;
        if (fds[1].revents) {
            r = take_input(stream, is_terminal, &is_open);
            if (r != 0)
                return r < 0 ? r : 0;
        }
        if (fds[0].revents)
            r = take_output(stream);
    }
    return r;
}

static int attend(struct adm *adm, const struct console_options *options)
{
    HV_CLEANUP(api_stream_closep) struct api_stream *stream = NULL;
    HV_CLEANUP(api_reply_fini) struct api_reply reply = { 0 };
    hv_autofree char *params = console_params(adm, options);
    struct api_error *error = NULL;
    bool is_terminal;
    int r = adm_connect(adm);

    if (r)
        return r;
    if (api_stream_open(adm->client, API_METHOD_VM_CONSOLE, params, &stream, &reply, &error) < 0)
        return adm_fail(adm, error);
    is_terminal = make_terminal_raw();
    if (is_terminal)
        (void)fprintf(stderr, "Console of %s; Ctrl-] leaves.\r\n", options->vm);
    r = sit(stream, is_terminal);
    if (is_terminal) {
        restore_terminal();
        (void)fprintf(stderr, "\n%s\n",
                      r == API_STREAM_END ? "The VM is off." : "Left the console.");
    }
    if (r >= 0)
        return 0;
    api_error_set(&error, API_E_NOT_AVAILABLE, "client.lost", NULL,
                  "The connection to the console of %s broke: %s.", options->vm, strerror(-r));
    return adm_fail(adm, error);
}

int adm_cmd_console(struct adm *adm, int argc, char **argv)
{
    static const struct option names[] = { { "log", no_argument, NULL, 'l' },
                                           { "new", no_argument, NULL, 'n' },
                                           { "port", required_argument, NULL, 'p' },
                                           { 0 } };
    struct console_options options = { .port = 1 };
    int id;

    opterr = 0;
    while ((id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (id) {
        case 'l': options.is_log = true; break;
        case 'n': options.is_new = true; break;
        case 'p':
            if (strcmp(optarg, "1") != 0 && strcmp(optarg, "2") != 0)
                return adm_usage("vm console", "--port is 1 for COM1 or 2 for COM2, not \"%s\".",
                                 optarg);
            options.port = (uint32_t)(optarg[0] - '0');
            break;
        default: return adm_bad_option("vm console", argv);
        }
    }
    if (argc - optind != 1)
        return adm_usage("vm console", "One VM is expected.");
    options.vm = argv[optind];
    return options.is_log ? print_log(adm, &options) : attend(adm, &options);
}
