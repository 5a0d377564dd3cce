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
    uint64_t from; /* position to begin at; UINT64_MAX: nothing that is kept */
};

/* Somebody at a console. */
struct seat {
    struct console_options *options; /* options->from: behind what was seen */
    struct api_stream *stream;
    bool is_terminal;
    bool is_told;   /* that it has ended */
    bool is_denied; /* because it may not be seen any more */
    bool is_unread; /* what it says cannot be written */
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
    } else if (options->from) {
        json_key(&params, "from");
        json_put_u64(&params, options->from);
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

/* The one text message of an open console is its end, and says why. */
static int take_note(struct seat *seat, const struct api_message *note)
{
    HV_CLEANUP(json_doc_freep) struct json_doc *doc = NULL;
    struct json_fault fault;

    if (json_parse(note->bytes, note->length, &json_limits_reply, &doc, &fault) == 0)
        seat->is_denied = json_is_text(json_get(json_get(json_doc_root(doc), "params"), "reason"),
                                       "access_denied");
    seat->is_told = true;
    return API_STREAM_END;
}

/* Everything that can be had without blocking. Returns as api_stream_next. */
static int take_output(struct seat *seat)
{
    struct api_message message;
    int r;

    do {
        r = api_stream_next(seat->stream, &message);
        if (r == API_STREAM_MESSAGE && !message.is_binary)
            return take_note(seat, &message);
        if (r == API_STREAM_MESSAGE &&
            write_all(STDOUT_FILENO, message.bytes, message.length) < 0) {
            seat->is_unread = true;
            return -EPIPE;
        }
        seat->options->from += r == API_STREAM_MESSAGE ? message.length : 0;
    } while ((r == API_STREAM_MESSAGE || r == API_STREAM_NOTHING) &&
             api_stream_is_ready(seat->stream));
    return r;
}

/* Returns 0: the user has left; API_STREAM_END; negative errno. */
static int sit(struct seat *seat)
{
    struct pollfd fds[] = { { .fd = api_stream_fd(seat->stream), .events = POLLIN },
                            { .fd = STDIN_FILENO, .events = POLLIN } };
    bool is_open = true;
    int r = api_stream_is_ready(seat->stream) ? take_output(seat) : API_STREAM_NOTHING;

    while (r >= 0 && r != API_STREAM_END) {
        fds[1].fd = is_open ? STDIN_FILENO : -1;
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return -errno;
        if (fds[1].revents) {
            r = take_input(seat->stream, seat->is_terminal, &is_open);
            if (r != 0)
                return r < 0 ? r : 0;
        }
        if (fds[0].revents)
            r = take_output(seat);
    }
    return r;
}

/* What it ended with: 0, or -EINVAL with *reterr. A bus has no words for the end of a VM. */
static int conclude(const struct adm *adm, const struct seat *seat, int r,
                    struct api_error **reterr)
{
    const char *vm = seat->options->vm;
    bool is_off = r == API_STREAM_END && (seat->is_told || !api_client_has_streams(adm->client));

    if (seat->is_denied)
        return api_error_set(reterr, API_E_ACCESS_DENIED, "client.console", NULL,
                             "The console of %s may not be seen any more.", vm);
    if (seat->is_unread)
        return api_error_set(reterr, API_E_FAILED, "client.console", NULL,
                             "What the console of %s says cannot be written.", vm);
    if (r != 0 && !is_off)
        return api_error_set(reterr, API_E_NOT_AVAILABLE, "client.lost", NULL,
                             "The connection to the console of %s broke: %s.", vm,
                             r < 0 ? strerror(-r) : "it was closed");
    if (seat->is_terminal)
        (void)fprintf(stderr, "\n%s\n", is_off ? "The VM is off." : "Left the console.");
    return 0;
}

static int attend_once(struct adm *adm, struct console_options *options,
                       struct adm_absence *absence, struct api_error **reterr)
{
    HV_CLEANUP(api_stream_closep) struct api_stream *stream = NULL;
    HV_CLEANUP(api_reply_fini) struct api_reply reply = { 0 };
    hv_autofree char *params = console_params(adm, options);
    struct seat seat = { .options = options };
    int r;

    if (api_stream_open(adm->client, API_METHOD_VM_CONSOLE, params, &stream, &reply, reterr) < 0)
        return -EINVAL;
    seat.stream = stream;
    (void)json_u64(json_get(reply.result, "from"), &options->from);
    adm_service_is_there(absence);
    seat.is_terminal = make_terminal_raw();
    if (seat.is_terminal)
        (void)fprintf(stderr, "Console of %s; Ctrl-] leaves.\r\n", options->vm);
    r = sit(&seat);
    if (seat.is_terminal)
        restore_terminal();
    return conclude(adm, &seat, r, reterr);
}

static int attend(struct adm *adm, struct console_options *options)
{
    struct adm_absence absence = { 0 };
    struct api_error *error = NULL;
    int r = adm_connect(adm);

    if (r)
        return r;
    do {
        r = attend_once(adm, options, &absence, &error);
    } while (r < 0 && adm_await_service(adm, &absence, UINT64_MAX, &error));
    return r < 0 ? adm_fail(adm, error) : 0;
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
        case 'n': options.from = UINT64_MAX; break;
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
