/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker that was taken over, at the other end of the service's channel: answers of any type,
 * late, twice, to questions nobody asked, errors of any name, signals, calls, plain bytes. Each
 * question has one answer, what is told is bounded and can be shown, and no descriptor stays
 * behind.
 *
 * Input: a byte (odd: Hello gets no good answer by itself), then commands of one byte with
 * operands.
 */
#include "tests/fuzz/bus_arguments.h"
#include "vmmsd/spawn/process.h"
#include "vmmsd/spawn/security.h"
#include "vmmsd/spawn/worker_priv.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

#define VM          "00000000-0000-4000-8000-000000000001"
#define INCARNATION "00000000-0000-4000-8000-000000000002"

enum { MAX_STEPS = 100, MAX_HEARD = 64, MAX_TURNS = 200, WORKER_PID = 7 };

static struct world {
    uv_loop_t loop;
    struct vmms_spawner *spawner;
    char folder[32];
    int listener;
    int process; /* what stands for its pidfd */
    int far_fd;
    sd_bus *far;
    sd_bus_message *heard[MAX_HEARD]; /* what it was asked */
    size_t n_heard;
    bool is_obstinate; /* no answer to Hello but what the input says */
    unsigned asked, answered;
} world;

/* Processes: there are none */

int vmms_pidfd_open(int pid)
{
    hv_assert(pid == WORKER_PID);
    world.process = eventfd(0, EFD_CLOEXEC);
    return world.process;
}

int vmms_pidfd_kill(int pidfd, int number)
{
    return eventfd_write(pidfd, 1);
}

uint64_t vmms_pid_start(int pid)
{
    return 1;
}

void vmms_pid_usage(int pid, uint64_t *ret_cpu_ns, uint64_t *ret_rss_bytes)
{
    *ret_cpu_ns = *ret_rss_bytes = 0;
}

bool vmms_pidfd_reap(int pidfd, siginfo_t *ret)
{
    return false;
}

void vmms_exit_phrase(const siginfo_t *info, bool is_known, char *ret, size_t room)
{
    (void)snprintf(ret, room, "ended");
}

int vmms_process_spawn(const struct vmms_program *program)
{
    return -ENOSYS;
}

void vmms_kill_child(int pid)
{
}

/* What is told */

static void check_text(const char *text, size_t max)
{
    hv_assert(!text || (strlen(text) <= max && utf8_is_valid(text, strlen(text))));
}

static void check_error(struct api_error *error)
{
    if (error)
        check_text(error->message, 4096);
    api_error_free(error);
}

static void fact(void *opaque, const char *vm_id, struct vmms_fact *fact)
{
    hv_assert(strcmp(vm_id, VM) == 0);
    world.answered += fact->kind == VMMS_FACT_ANSWER;
    check_text(fact->state, VMMS_WORKER_TEXT_MAX);
    check_text(fact->cause, VMMS_WORKER_TEXT_MAX);
    check_text(fact->backend, VMMS_WORKER_TEXT_MAX);
    check_text(fact->backend_reason, VMMS_WORKER_TEXT_MAX);
    check_text(fact->device, VMMS_WORKER_TEXT_MAX);
    check_text(fact->os, VMMS_WORKER_TEXT_MAX);
    check_text(fact->message, 4096);
    check_error(HV_TAKE_PTR(fact->error));
    hv_assert(fact->bytes_done <= fact->bytes_total);
    vmms_fact_free(fact);
}

static void greeted(void *opaque, const struct vmms_row *row)
{
}

static void gone(void *opaque, const char *vm_id)
{
}

static void have_stats(void *opaque, struct api_vm_stats *stats, struct api_error *error)
{
    hv_assert(!stats != !error);
    world.answered++;
    if (stats)
        api_vm_stats_fini(stats);
    check_error(error);
}

static void have_guest(void *opaque, struct api_guest *guest, struct api_error *error)
{
    hv_assert(!guest != !error);
    world.answered++;
    for (size_t i = 0; guest && i < guest->n_kvp; i++) {
        check_text(guest->kvp[i].key, 1024);
        check_text(guest->kvp[i].value, 4096);
    }
    if (guest) {
        hv_assert(guest->n_kvp <= 1024 && guest->n_services <= 16 && guest->n_addresses <= 64);
        api_guest_fini(guest);
    }
    check_error(error);
}

static void have_console(void *opaque, int fd, uint64_t start)
{
    world.answered++;
    hv_close(fd);
}

static void have_done(void *opaque, uint64_t number, struct api_error *error)
{
    world.answered++;
    check_error(error);
}

static void progress(void *opaque, uint64_t done, uint64_t total)
{
}

/* The worker's end */

static void put_hello(sd_bus_message *m)
{
    hv_assert(sd_bus_message_append(m, "a{sv}", 4, "vm_id", "s", VM, "incarnation", "s",
                                    INCARNATION, "pid", "u", WORKER_PID, "state", "s",
                                    "running") >= 0);
}

static void hear(sd_bus_message *m)
{
    sd_bus_message *answer = NULL;

    if (!world.is_obstinate && sd_bus_message_is_method_call(m, WORKER_INTERFACE, "Hello")) {
        hv_assert(sd_bus_message_new_method_return(m, &answer) >= 0);
        put_hello(answer);
        (void)sd_bus_send(world.far, answer, NULL);
        sd_bus_message_unref(answer);
    }
    if (world.n_heard < MAX_HEARD)
        world.heard[world.n_heard++] = sd_bus_message_ref(m);
}

static void accept_far(void)
{
    int fd = accept4(world.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    world.far_fd = fd;
    hv_assert(sd_bus_new(&world.far) >= 0 && sd_bus_set_fd(world.far, fd, fd) >= 0);
    hv_assert(sd_bus_set_server(
                  world.far, 1,
                  SD_ID128_MAKE(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)) >= 0);
    hv_assert(sd_bus_set_anonymous(world.far, 1) >= 0 && sd_bus_negotiate_fds(world.far, 1) >= 0);
    hv_assert(sd_bus_start(world.far) >= 0);
}

/* Both ends, until neither has more to say. */
static void turn(void)
{
    sd_bus_message *m;
    int r, busy = 1;

    if (!world.far)
        accept_far();
    for (unsigned i = 0; i < MAX_TURNS && busy; i++) {
        busy = 0;
        m = NULL;
        while (world.far && (r = sd_bus_process(world.far, &m)) > 0) {
            busy = 1;
            if (m)
                hear(m);
            m = sd_bus_message_unref(m);
        }
        for (unsigned j = 0; j < 3; j++)
            (void)uv_run(&world.loop, UV_RUN_NOWAIT);
    }
}

static void send_message(sd_bus_message *m)
{
    if (sd_bus_send(world.far, m, NULL) >= 0)
        (void)sd_bus_flush(world.far);
    sd_bus_message_unref(m);
}

/* Commands */

static struct hv_cursor take_part(struct hv_cursor *in)
{
    static uint8_t bytes[255];
    uint8_t n = hv_cursor_u8(in);

    n = n > hv_cursor_left(in) ? (uint8_t)hv_cursor_left(in) : n;
    hv_cursor_bytes(in, bytes, n);
    return hv_cursor(bytes, n);
}

static sd_bus_message *question(struct hv_cursor *in)
{
    uint8_t which = hv_cursor_u8(in);

    return world.n_heard ? world.heard[world.n_heard - 1 - which % world.n_heard] : NULL;
}

static void ask_verb(struct hv_cursor *in)
{
    static const enum vmms_worker_verb verbs[] = {
        VMMS_WORKER_START,     VMMS_WORKER_PAUSE,        VMMS_WORKER_RESUME,
        VMMS_WORKER_TURN_OFF,  VMMS_WORKER_SHUT_DOWN,    VMMS_WORKER_REBOOT,
        VMMS_WORKER_SET_PAIRS, VMMS_WORKER_SET_SERVICES, VMMS_WORKER_HOLD_STORAGE,
        VMMS_WORKER_SAVE,      VMMS_WORKER_REMOVE_DISK,  VMMS_WORKER_RESET
    };
    struct vmms_effect effect = { .verb = verbs[hv_cursor_u8(in) % HV_ARRAY_SIZE(verbs)] };

    (void)snprintf(effect.row.id, sizeof(effect.row.id), VM);
    effect.device.id = (char *)"d";
    world.asked += vmms_worker_find(world.spawner, VM, NULL) != NULL;
    vmms_spawner_ask(world.spawner, &effect);
}

static void ask_stats(struct hv_cursor *in)
{
    world.asked++;
    vmms_spawner_stats(world.spawner, VM, have_stats, NULL);
}

static void ask_guest(struct hv_cursor *in)
{
    world.asked++;
    vmms_spawner_guest(world.spawner, VM, have_guest, NULL);
}

static void ask_console(struct hv_cursor *in)
{
    world.asked++;
    vmms_spawner_open_console(world.spawner, VM, 1, 0, have_console, NULL);
}

static void ask_order(struct hv_cursor *in)
{
    const uint8_t kind = hv_cursor_u8(in);
    const struct vmms_order copy = { .kind = VMMS_ORDER_COPY_FILE,
                                     .fd = world.listener,
                                     .text = "/f",
                                     .progress = progress },
                            text = { .kind = VMMS_ORDER_TYPE_TEXT, .text = "x" };

    world.asked++;
    vmms_spawner_order(world.spawner, VM, kind & 1 ? &copy : &text, have_done, NULL);
}

static void reply(struct hv_cursor *in)
{
    sd_bus_message *call = question(in), *m = NULL;
    struct hv_cursor part = take_part(in);

    if (!call || sd_bus_message_new_method_return(call, &m) < 0)
        return;
    bus_arguments_fill(m, &part);
    send_message(m);
}

static void reply_error(struct hv_cursor *in)
{
    static const char *const names[] = { WORKER_ERROR "DiskFull", WORKER_ERROR "Nonsense",
                                         SD_BUS_ERROR_NO_REPLY, SD_BUS_ERROR_UNKNOWN_METHOD,
                                         "a.b" };
    sd_bus_message *call = question(in), *m = NULL;
    const char *name = names[hv_cursor_u8(in) % HV_ARRAY_SIZE(names)];
    struct hv_cursor part = take_part(in);

    if (!call ||
        sd_bus_message_new_method_error(call, &m, &SD_BUS_ERROR_MAKE_CONST(name, NULL)) < 0)
        return;
    bus_arguments_fill(m, &part);
    send_message(m);
}

/* To a question with that number, asked or not. */
static void reply_to_number(struct hv_cursor *in)
{
    uint8_t number = hv_cursor_u8(in);
    struct hv_cursor part = take_part(in);
    sd_bus_message *call = NULL, *m = NULL;

    hv_assert(sd_bus_message_new_method_call(world.far, &call, NULL, "/", "a.b", "C") >= 0);
    hv_assert(sd_bus_message_seal(call, number ? number : 1, 0) >= 0);
    if (sd_bus_message_new_method_return(call, &m) >= 0) {
        bus_arguments_fill(m, &part);
        send_message(m);
    }
    sd_bus_message_unref(call);
}

static void say_signal(struct hv_cursor *in)
{
    static const char *const names[] = { "StateChanged", "SaveProgress", "Figures",
                                         "GuestChanged", "GuestCrashed", "DeviceError",
                                         "CopyProgress" };
    const char *name = names[hv_cursor_u8(in) % HV_ARRAY_SIZE(names)];
    struct hv_cursor part = take_part(in);
    sd_bus_message *m = NULL;

    if (sd_bus_message_new_signal(world.far, &m, WORKER_PATH, WORKER_INTERFACE, name) < 0)
        return;
    bus_arguments_fill(m, &part);
    send_message(m);
}

static void call_back(struct hv_cursor *in)
{
    static const char *const members[] = { "Ping", "GetMachineId", "Hello" };
    const char *member = members[hv_cursor_u8(in) % HV_ARRAY_SIZE(members)];
    struct hv_cursor part = take_part(in);
    sd_bus_message *m = NULL;

    if (sd_bus_message_new_method_call(world.far, &m, NULL, "/", "org.freedesktop.DBus.Peer",
                                       member) < 0)
        return;
    bus_arguments_fill(m, &part);
    send_message(m);
}

static void say_bytes(struct hv_cursor *in)
{
    struct hv_cursor part = take_part(in);
    uint8_t bytes[255];
    size_t n = hv_cursor_left(&part);

    hv_cursor_bytes(&part, bytes, n);
    if (sd_bus_is_open(world.far) > 0)
        (void)send(world.far_fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void hang_up(struct hv_cursor *in)
{
    int how = hv_cursor_u8(in) & 1 ? SHUT_WR : SHUT_RDWR;

    if (sd_bus_is_open(world.far) > 0)
        (void)shutdown(world.far_fd, how);
}

static void end_process(struct hv_cursor *in)
{
    if (vmms_worker_find(world.spawner, VM, NULL))
        (void)eventfd_write(world.process, 1);
}

static void just_turn(struct hv_cursor *in)
{
}

static void (*const steps[])(struct hv_cursor *in) = {
    just_turn,   ask_verb,        ask_stats,  ask_guest, ask_console, ask_order, reply,
    reply_error, reply_to_number, say_signal, call_back, say_bytes,   hang_up,   end_process
};

/* Beginning and end */

static const char *path(const char *name)
{
    static char text[160];

    (void)snprintf(text, sizeof(text), "%s/%s", world.folder, name);
    return text;
}

static void listen_there(void)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    (void)snprintf(world.folder, sizeof(world.folder), "/tmp/fuzz-worker.XXXXXX");
    hv_assert(mkdtemp(world.folder));
    hv_assert(mkdir(path("vms"), 0700) == 0 && mkdir(path("vms/" VM), 0700) == 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%.100s",
                   path("vms/" VM "/worker.sock"));
    world.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    hv_assert(bind(world.listener, (const struct sockaddr *)&address, sizeof(address)) == 0);
    hv_assert(listen(world.listener, 16) == 0);
}

static void remove_folder(void)
{
    static const char *const files[] = { "worker.sock", "saved-state.part", "saved-state" };
    char name[80];

    for (size_t i = 0; i < HV_ARRAY_SIZE(files); i++) {
        (void)snprintf(name, sizeof(name), "vms/" VM "/%s", files[i]);
        (void)unlink(path(name));
    }
    hv_assert(rmdir(path("vms/" VM)) == 0 && rmdir(path("vms")) == 0 && rmdir(world.folder) == 0);
}

static void begin(void)
{
    const struct vmms_spawner_config config = { .loop = &world.loop,
                                                .worker_path = "/nonexistent",
                                                .state_dir = world.folder,
                                                .runtime_dir = world.folder,
                                                .epoch = 1,
                                                .fact = fact,
                                                .greeted = greeted,
                                                .gone = gone };
    struct vmms_row row = { .pid = WORKER_PID,
                            .pid_start = 1,
                            .settings = { .name = (char *)"web" } };

    (void)snprintf(row.id, sizeof(row.id), VM);
    (void)snprintf(row.incarnation, sizeof(row.incarnation), INCARNATION);
    (void)snprintf(row.secret, sizeof(row.secret), "secret");
    hv_assert(uv_loop_init(&world.loop) == 0);
    hv_assert(vmms_spawner_new(&config, &world.spawner) == 0);
    vmms_spawner_adopt(world.spawner, &row);
}

static void end(void)
{
    vmms_spawner_close(world.spawner);
    while (uv_run(&world.loop, UV_RUN_DEFAULT))
        ;
    hv_assert(world.asked == world.answered);
    vmms_spawner_free(world.spawner);
    hv_assert(uv_loop_close(&world.loop) == 0);
    for (size_t i = 0; i < world.n_heard; i++)
        sd_bus_message_unref(world.heard[i]);
    sd_bus_close_unref(world.far);
}

/* Pipes are none of ours: libFuzzer speaks by them with a program that knows functions' names. */
static unsigned count_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    struct dirent *entry;
    char to[16] = "";
    unsigned n = 0;

    hv_assert(folder);
    while ((entry = readdir(folder))) {
        if (readlinkat(dirfd(folder), entry->d_name, to, sizeof(to) - 1) < 5 ||
            memcmp(to, "pipe:", 5) != 0)
            n++;
    }
    (void)closedir(folder);
    return n;
}

static void live(const uint8_t *bytes, size_t n)
{
    struct hv_cursor in = hv_cursor(bytes, n);

    world = (struct world){ .far_fd = -1, .process = -1, .is_obstinate = hv_cursor_u8(&in) & 1 };
    listen_there();
    begin();
    turn();
    for (unsigned i = 0; i < MAX_STEPS && hv_cursor_left(&in) > 0; i++) {
        uint8_t step = hv_cursor_u8(&in) % HV_ARRAY_SIZE(steps);

        if (world.far || step < 6)
            steps[step](&in);
        turn();
    }
    end();
    hv_close(world.listener);
    remove_folder();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    static unsigned before;

    if (!before) {
        live(NULL, 0); /* libuv has descriptors for the process's life */
        before = count_descriptors();
    }
    live(bytes, n);
    hv_assert(count_descriptors() == before);
    return 0;
}
