/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker without a guest: it speaks schemas/worker and does what a test tells it.
 *
 * Words in the definition's cmdline say how it starts: fail=FIELD (last words and status 1), silent
 * (never answers Hello), die (ends at once), slow=MS (becomes ready late), deaf (answers Hello and
 * nothing else), refuse=METHOD, flood (writes to COM1 without end), lie (names another VM),
 * saving=MS (takes so long to save), unsaved (fails at it after that), unrestored (fails to go on
 * from it). Lines typed into COM1 are echoed and obeyed: off, triple, crash, reset, exit N, kill,
 * abort, stop (says that it stopped but stays), deaf.
 */
#include "tests/lib/fake_worker.h"

#include "hvcore/base/clock.h"
#include "hvcore/base/crc32c.h"
#include "hvcore/base/own.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define PATH      "/org/hvstack/Worker1"
#define INTERFACE "org.hvstack.Worker1"

enum { FD_CONTROL = 3, FD_DEFINITION = 4, FD_STATUS = 5, MAX_PEERS = 16, RING_BYTES = 64 << 10 };

struct fake {
    sd_event *event;
    sd_bus *peers[MAX_PEERS];
    bool has_greeted[MAX_PEERS];
    struct json_doc *doc;
    const char *state, *cause;
    uint64_t epoch, sequence;
    bool is_deaf;
    int readers[MAX_PEERS];
    char ring[RING_BYTES];
    uint64_t written;
    char line[128];
    size_t line_length;
};

static struct fake fake;

static const char *text_of(const char *key)
{
    const struct json_value *value = json_get(json_doc_root(fake.doc), key);

    return value && value->type == JSON_STRING ? value->text : "";
}

static uint64_t number_of(const char *key)
{
    const struct json_value *value = json_get(json_doc_root(fake.doc), key);
    uint64_t number = 0;

    if (value)
        (void)json_u64(value, &number);
    return number;
}

/* The rest of the word of the cmdline that begins so, or NULL. */
const char *fake_word(const char *prefix)
{
    static char word[64];
    const char *at = strstr(text_of("cmdline"), prefix);

    if (!at)
        return NULL;
    at += strlen(prefix);
    (void)snprintf(word, sizeof(word), "%.*s", (int)strcspn(at, " "), at);
    return word;
}

static void write_words(const char *more, uint32_t exit_status)
{
    uint8_t slot[2048] = { 0 };
    char *text = (char *)slot + 24;
    const uint32_t magic = 0x4c575648, version = 1;
    uint32_t length, crc;

    length = (uint32_t)snprintf(text, sizeof(slot) - 24,
                                "{\"incarnation\":\"%s\",\"state\":\"%s\",\"cause\":\"%s\","
                                "\"exit_status\":%u,\"time_ns\":1%s}",
                                text_of("incarnation"), fake.state, fake.cause, exit_status, more);
    crc = hv_crc32c(0, text, length);
    fake.sequence++;
    memcpy(slot, &magic, 4);
    memcpy(slot + 4, &version, 4);
    memcpy(slot + 8, &fake.sequence, 8);
    memcpy(slot + 16, &length, 4);
    memcpy(slot + 20, &crc, 4);
    (void)!pwrite(FD_STATUS, slot, sizeof(slot), (off_t)(fake.sequence % 2 * sizeof(slot)));
}

static void say(const void *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        fake.ring[fake.written++ % RING_BYTES] = ((const char *)bytes)[i];
    for (int i = 0; i < MAX_PEERS; i++) {
        if (fake.readers[i] > 0)
            (void)send(fake.readers[i], bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
}

void fake_signal(const char *name, int (*fill)(sd_bus_message *m, const char *text),
                 const char *text)
{
    for (int i = 0; i < MAX_PEERS; i++) {
        sd_bus_message *m = NULL;

        if (!fake.peers[i])
            continue;
        (void)sd_bus_message_new_signal(fake.peers[i], &m, PATH, INTERFACE, name);
        (void)fill(m, text);
        (void)sd_bus_send(fake.peers[i], m, NULL);
        (void)sd_bus_flush(fake.peers[i]);
        sd_bus_message_unref(m);
    }
}

static int fill_state(sd_bus_message *m, const char *exit_status)
{
    int r = sd_bus_message_append(m, "ss", fake.state, fake.cause);

    return r < 0 ? r
                 : sd_bus_message_append(m, "a{sv}", 1, "exit_status", "u",
                                         (uint32_t)strtoul(exit_status, NULL, 10));
}

void fake_change(const char *state, const char *cause, uint32_t exit_status)
{
    char text[16];

    fake.state = state;
    fake.cause = cause;
    write_words("", exit_status);
    (void)snprintf(text, sizeof(text), "%u", exit_status);
    fake_signal("StateChanged", fill_state, text);
}

const struct json_value *fake_definition(void)
{
    return json_doc_root(fake.doc);
}

sd_event *fake_event(void)
{
    return fake.event;
}

void fake_print(const char *format, ...)
{
    char line[6000];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    say(line, strlen(line));
}

void fake_stop(const char *cause, uint32_t exit_status)
{
    fake_change("stopped", cause, exit_status);
    exit(0);
}

static void obey(const char *line)
{
    if (strcmp(line, "off") == 0)
        fake_stop("guest_power_off", 0);
    else if (strcmp(line, "triple") == 0)
        fake_stop("triple_fault", 0);
    else if (strcmp(line, "crash") == 0)
        fake_change("running", "triple_fault", 0);
    else if (strcmp(line, "reset") == 0) {
        fake_guest_obey(line);
        fake_change("running", "guest_reset", 0);
    } else if (strncmp(line, "exit ", 5) == 0)
        fake_stop("debug_exit", (uint32_t)strtoul(line + 5, NULL, 10));
    else if (strcmp(line, "kill") == 0)
        __builtin_trap(); /* the first process of a namespace cannot signal itself to death */
    else if (strcmp(line, "abort") == 0)
        exit(3);
    else if (strcmp(line, "stop") == 0)
        fake_change("stopped", "guest_power_off", 0);
    else if (strcmp(line, "deaf") == 0)
        fake.is_deaf = true;
    else
        fake_guest_obey(line);
}

static void type(const char *bytes, size_t length)
{
    say(bytes, length);
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] != '\n' && fake.line_length + 1 < sizeof(fake.line)) {
            fake.line[fake.line_length++] = bytes[i];
            continue;
        }
        fake.line[fake.line_length] = '\0';
        fake.line_length = 0;
        obey(fake.line);
    }
}

static int typed(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    int *reader = userdata;
    char bytes[512];
    ssize_t count = read(fd, bytes, sizeof(bytes));

    if (count > 0) {
        type(bytes, (size_t)count);
        return 0;
    }
    (void)close(fd);
    *reader = 0;
    (void)sd_event_source_set_enabled(source, SD_EVENT_OFF);
    return 0;
}

static int flood(sd_event_source *source, uint64_t usec, void *userdata)
{
    static const char line[] = "flood flood flood flood flood flood flood flood flood flood\n";

    for (int i = 0; i < 200; i++)
        say(line, sizeof(line) - 1);
    (void)sd_event_source_set_time_relative(source, 2000);
    (void)sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
    return 0;
}

/* Is this call to go unanswered, or refused? Returns 1 when it has been dealt with. */
int fake_intercept(sd_bus_message *m)
{
    const char *refused = fake_word("refuse=");

    if (fake.is_deaf || fake_word("deaf"))
        return 1;
    if (refused && strcmp(refused, sd_bus_message_get_member(m)) == 0) {
        (void)sd_bus_reply_method_errorf(m, "org.hvstack.Error.Failed", "The fake refuses %s.",
                                         refused);
        return 1;
    }
    return 0;
}

/* As the host knows us: our own number is that in a namespace of our own. */
static uint32_t outer_pid(void)
{
    char text[16] = { 0 };

    return readlink("/proc/self", text, sizeof(text) - 1) > 0 ? (uint32_t)atoi(text) : 0;
}

static int hello(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *secret;
    uint64_t epoch;
    int r;

    if (fake_word("silent"))
        return 1;
    if (sd_bus_message_read(m, "st", &secret, &epoch) < 0)
        return -EINVAL;
    if (strcmp(secret, text_of("secret")) != 0 || epoch < fake.epoch)
        return sd_bus_reply_method_errorf(m, SD_BUS_ERROR_ACCESS_DENIED, "not you");
    fake.epoch = epoch;
    r = sd_bus_reply_method_return(
        m, "a{sv}", 8, "vm_id", "s",
        fake_word("lie") ? "00000000-0000-4000-8000-000000000000" : text_of("vm_id"), "incarnation",
        "s", text_of("incarnation"), "pid", "u", outer_pid(), "version", "u", 1u, "backend", "s",
        "soft", "backend_reason", "s", "It is a fake.", "state", "s", fake.state, "cause", "s",
        fake.cause);
    fake_guest_greet();
    return r;
}

static void say_restored(void);

static int verb(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *name = sd_bus_message_get_member(m);

    if (fake_intercept(m))
        return 1;
    if (strcmp(name, "TurnOff") == 0) {
        (void)sd_bus_reply_method_return(m, "");
        (void)sd_bus_flush(sd_bus_message_get_bus(m));
        fake_stop("turn_off", 0);
    }
    if (strcmp(name, "Start") == 0) {
        say("hello from the fake\n", 20);
        say_restored();
        fake_guest_begin();
        fake_change("running", "start", 0);
    } else if (strcmp(name, "Pause") == 0) {
        fake_change("paused", "pause", 0);
    } else if (strcmp(name, "Resume") == 0) {
        fake_change("running", "resume", 0);
    } else {
        say("reset\n", 6);
        fake_change("running", "reset", 0);
    }
    return sd_bus_reply_method_return(m, "");
}

/* A save under way. */
static struct {
    sd_bus_message *m;
    int fd;
    uint64_t done, total; /* told */
    uint64_t step_usec;
} saving = { .fd = -1 };

static int saved(sd_event_source *source, uint64_t usec, void *userdata)
{
    sd_bus_message *m = HV_TAKE_PTR(saving.m);

    if (!m)
        return 0; /* cancelled */
    if (fake_word("unsaved")) {
        fake_change("running", "save_failed", 0);
        (void)sd_bus_reply_method_errorf(m, "org.hvstack.Worker1.Error.DiskFull", "no room");
    } else {
        (void)!pwrite(saving.fd, "fake state", 10, 0);
        (void)sd_bus_reply_method_return(m, "");
        (void)sd_bus_flush(sd_bus_message_get_bus(m));
        fake_stop("save", 0);
    }
    saving.fd = hv_close(saving.fd);
    sd_bus_message_unref(m);
    return 0;
}

static int cancel_save(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    sd_bus_message *asked = HV_TAKE_PTR(saving.m);

    if (fake_intercept(m))
        return 1;
    if (asked) {
        fake_change("running", "save_failed", 0);
        (void)sd_bus_reply_method_errorf(asked, "org.hvstack.Worker1.Error.Cancelled", "cancelled");
        saving.fd = hv_close(saving.fd);
        sd_bus_message_unref(asked);
    }
    return sd_bus_reply_method_return(m, "");
}

static int fill_progress(sd_bus_message *m, const char *text)
{
    return sd_bus_message_append(m, "tt", saving.done, saving.total);
}

/* Told again and again, until it is over. */
static int save_on(sd_event_source *source, uint64_t usec, void *userdata)
{
    if (!saving.m || saving.done == saving.total)
        return 0;
    saving.done++;
    fake_signal("SaveProgress", fill_progress, NULL);
    (void)sd_event_source_set_time_relative(source, saving.step_usec);
    return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int save(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *word = fake_word("saving=");
    uint64_t usec = word ? strtoull(word, NULL, 10) * 1000 : 0;
    bool has_steps;
    int fd;

    if (fake_intercept(m))
        return 1;
    if (sd_bus_message_read(m, "h", &fd) < 0)
        return -EINVAL;
    saving.m = sd_bus_message_ref(m);
    saving.fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    fake_change("saving", "save", 0);
    saving.done = 1;
    word = fake_word("steps=");
    has_steps = word != NULL;
    saving.total = has_steps ? strtoull(word, NULL, 10) : 4;
    saving.step_usec = usec / saving.total;
    fake_signal("SaveProgress", fill_progress, NULL);
    if (has_steps)
        (void)sd_event_add_time_relative(fake.event, NULL, CLOCK_MONOTONIC, saving.step_usec, 0,
                                         save_on, NULL);
    (void)sd_event_add_time_relative(fake.event, NULL, CLOCK_MONOTONIC, usec, 0, saved, NULL);
    return 1;
}

/* What it goes on from. */
static void say_restored(void)
{
    const struct json_value *fd = json_get(json_doc_root(fake.doc), "restore_fd");
    char text[32] = "";
    uint64_t number;

    if (!fd || json_u64(fd, &number) < 0)
        return;
    (void)!pread((int)number, text, sizeof(text) - 1, 0);
    fake_print("goes on from %s\n", text);
}

static void say_kept(int fd, uint64_t from)
{
    for (; from < fake.written; from++)
        (void)send(fd, &fake.ring[from % RING_BYTES], 1, MSG_NOSIGNAL);
}

static int open_console(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    uint64_t from, oldest = fake.written > RING_BYTES ? fake.written - RING_BYTES : 0;
    uint32_t port;
    int pair[2], r, slot = 0;

    if (fake_intercept(m))
        return 1;
    if (sd_bus_message_read(m, "ut", &port, &from) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -EINVAL;
    from = from > fake.written ? fake.written : from < oldest ? oldest : from;
    r = sd_bus_reply_method_return(m, "ht", pair[1], port == 1 ? from : 0);
    (void)close(pair[1]);
    while (port == 1 && slot < MAX_PEERS - 1 && fake.readers[slot] > 0)
        slot++;
    if (port == 1) {
        say_kept(pair[0], from);
        fake.readers[slot] = pair[0];
        (void)sd_event_add_io(fake.event, NULL, pair[0], 1 /* EPOLLIN */, typed,
                              &fake.readers[slot]);
    }
    return r;
}

static int get_stats(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    if (fake_intercept(m))
        return 1;
    return sd_bus_reply_method_return(m, "a{sv}", 3, "vcpu_time_ns", "t", (uint64_t)12345, "exits",
                                      "t", (uint64_t)7, "ram_bytes", "t",
                                      number_of("memory_bytes"));
}

static const sd_bus_vtable vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD("Hello", "st", "a{sv}", hello, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Start", "", "", verb, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Pause", "", "", verb, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Resume", "", "", verb, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Reset", "", "", verb, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("TurnOff", "", "", verb, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("Save", "h", "", save, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("CancelSave", "", "", cancel_save, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("OpenConsole", "ut", "ht", open_console, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("GetStats", "", "a{sv}", get_stats, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("AddDisk", "a{sv}a(sh)", "", fake_add_disk, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("RemoveDisk", "s", "", fake_remove_disk, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("ChangeMedium", "sa(sh)", "", fake_change_medium, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("GuestShutdown", "sbs", "", fake_guest_shutdown, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("GetGuest", "", "a{sv}a(ssu)a(sss)as", fake_get_guest,
                  SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("SetServices", "a{sb}", "", fake_set_services, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("SetPairs", "a(ss)", "b", fake_set_pairs, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("SetStorageHold", "b", "", fake_set_storage_hold, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("CopyFile", "htsu", "t", fake_copy_file, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("CancelCopy", "", "", fake_cancel_copy, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("TypeText", "s", "", fake_type_text, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_METHOD("TypeKeys", "ay", "", fake_type_keys, SD_BUS_VTABLE_UNPRIVILEGED),
    SD_BUS_VTABLE_END
};

static int peer_left(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    sd_bus **peer = userdata;

    *peer = sd_bus_close_unref(*peer);
    return 0;
}

static int accepted(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
    int connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), slot = 0;
    sd_id128_t id;

    while (slot < MAX_PEERS - 1 && fake.peers[slot])
        slot++;
    (void)sd_id128_randomize(&id);
    (void)sd_bus_new(&fake.peers[slot]);
    (void)sd_bus_set_fd(fake.peers[slot], connection, connection);
    (void)sd_bus_set_server(fake.peers[slot], 1, id);
    (void)sd_bus_set_anonymous(fake.peers[slot], 1);
    (void)sd_bus_negotiate_fds(fake.peers[slot], 1);
    (void)sd_bus_add_object_vtable(fake.peers[slot], NULL, PATH, INTERFACE, vtable, NULL);
    (void)sd_bus_match_signal(fake.peers[slot], NULL, NULL, "/org/freedesktop/DBus/Local",
                              "org.freedesktop.DBus.Local", "Disconnected", peer_left,
                              &fake.peers[slot]);
    (void)sd_bus_start(fake.peers[slot]);
    (void)sd_bus_attach_event(fake.peers[slot], fake.event, 0);
    return 0;
}

static void read_definition(void)
{
    struct json_fault fault;
    struct stat st;
    char *text;

    hv_assert(fstat(FD_DEFINITION, &st) == 0);
    text = malloc((size_t)st.st_size);
    hv_assert(text && pread(FD_DEFINITION, text, (size_t)st.st_size, 0) == st.st_size);
    hv_assert(json_parse(text, (size_t)st.st_size, &json_limits_request, &fake.doc, &fault) == 0);
    free(text);
}

static int probe(void)
{
    (void)puts("{\"backend\":\"soft\",\"reason\":\"It is a fake.\",\"has_kvm\":false,"
               "\"kvm_is_fast\":false,\"kvm_ns_per_iteration\":0.5,\"cpu_model\":\"fake\","
               "\"version\":\"0\"}");
    return 0;
}

static void start_up(void)
{
    char words[160];
    const char *word = fake_word("fail=");

    fake.state = "starting";
    fake.cause = "";
    if (fake_word("die"))
        exit(5);
    if (word) {
        (void)snprintf(
            words, sizeof(words),
            ",\"code\":\"vm.fake.failed\",\"field\":\"%s\",\"message\":\"It was told to.\"", word);
        write_words(words, 0);
        exit(1);
    }
    if (fake_word("unrestored") && json_get(json_doc_root(fake.doc), "restore_fd")) {
        write_words(",\"code\":\"vm.saved_state.damaged\",\"message\":\"It is damaged.\"", 0);
        exit(1);
    }
    word = fake_word("slow=");
    if (word)
        (void)usleep((useconds_t)atol(word) * 1000);
    fake.state = "ready";
    write_words("", 0);
}

/* Work on images is not faked: the real program stands at its place in the build. */
static int be_the_real_one(void)
{
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 64);
    char *slash;

    path[length > 0 ? length : 0] = '\0';
    slash = strrchr(path, '/');
    (void)snprintf(slash ? slash : path, 64, "/../../vmwp/vmwp");
    (void)execl(path, "vmwp", "--image", NULL);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--probe") == 0)
        return probe();
    if (argc == 2 && strcmp(argv[1], "--image") == 0)
        return be_the_real_one();
    read_definition();
    (void)signal(SIGPIPE, SIG_IGN);
    start_up();
    fake.epoch = number_of("epoch");
    (void)sd_event_new(&fake.event);
    (void)sd_event_add_io(fake.event, NULL, FD_CONTROL, 1 /* EPOLLIN */, accepted, NULL);
    if (fake_word("flood"))
        (void)sd_event_add_time_relative(fake.event, NULL, CLOCK_MONOTONIC, 50000, 0, flood, NULL);
    return sd_event_loop(fake.event) < 0;
}
