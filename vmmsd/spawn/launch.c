/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/spawn/launch.h"

#include "api/gen/tables.h"
#include "vmmsd/spawn/launch_priv.h"
#include "vmmsd/spawn/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <systemd/sd-journal.h>

enum {
    FREE_FDS = 64, /* sources stay clear of the numbers that the worker gets */
    FD_LOG = 2,
    FD_CONTROL = 3,
    FD_DEFINITION = 4,
    FD_STATUS = 5,
    FD_FIRST_EXTRA = 6,
    STATUS_BYTES = 4096,
    LOG_MAX_BYTES = 1 << 20
};

/* What the worker inherits, by purpose; -1: not there. */
struct inheritance {
    int null, log, control, definition, status;
    struct vmms_extras extras;
    int first_free; /* the lowest number that a source may have */
};

char *vmms_path_socket(const char *runtime_dir, const char *vm_id)
{
    char *path;

    return asprintf(&path, "%s/vms/%s/worker.sock", runtime_dir, vm_id) < 0 ? NULL : path;
}

char *vmms_path_state(const char *state_dir, const char *vm_id, const char *name)
{
    char *path;

    return asprintf(&path, "%s/vms/%s/%s", state_dir, vm_id, name) < 0 ? NULL : path;
}

static int make_directory(const char *base, const char *vm_id)
{
    hv_autofree char *all = NULL, *one = NULL;

    if (asprintf(&all, "%s/vms", base) < 0 || asprintf(&one, "%s/vms/%s", base, vm_id) < 0)
        return -ENOMEM;
    if ((mkdir(all, 0700) < 0 && errno != EEXIST) || (mkdir(one, 0700) < 0 && errno != EEXIST))
        return -errno;
    return 0;
}

/* Move a descriptor out of the range that the worker's numbers lie in. Takes fd. */
static int move_up(const struct inheritance *in, int fd)
{
    int moved, saved;

    if (fd < 0 || fd >= in->first_free)
        return fd;
    moved = fcntl(fd, F_DUPFD_CLOEXEC, in->first_free);
    saved = errno;
    hv_close(fd);
    errno = saved;
    return moved;
}

/* A journal that does not read must not hold up a VM: what does not fit is lost. */
static int open_journal(void)
{
    hv_autofd int fd = sd_journal_stream_fd("vmwp", LOG_INFO, 1);

    if (fd < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return -1;
    return HV_TAKE_FD(fd);
}

static int open_log(const char *state_dir, const char *vm_id)
{
    hv_autofree char *path = vmms_path_state(state_dir, vm_id, "worker.log");
    hv_autofree char *old = vmms_path_state(state_dir, vm_id, "worker.log.1");
    struct stat st;

    if (!path || !old)
        return -ENOMEM;
    if (stat(path, &st) == 0 && st.st_size > LOG_MAX_BYTES)
        (void)rename(path, old);
    return open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static int open_status(const char *state_dir, const char *vm_id)
{
    hv_autofree char *path = vmms_path_state(state_dir, vm_id, "worker.status");
    hv_autofd int fd = -1;

    if (!path)
        return -ENOMEM;
    fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || ftruncate(fd, STATUS_BYTES) < 0)
        return -1;
    return HV_TAKE_FD(fd);
}

static int open_listener(const char *runtime_dir, const char *vm_id)
{
    hv_autofree char *path = vmms_path_socket(runtime_dir, vm_id);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    hv_autofd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (!path || fd < 0)
        return -1;
    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    (void)unlink(path);
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 16) < 0)
        return -1;
    return HV_TAKE_FD(fd);
}

static int fail(struct vmms_launch *launch, enum api_error_code code, const char *field,
                const char *what, int errnum)
{
    return api_error_set(&launch->error, code, "vm.start.launch", field,
                         "VM %s cannot be started: %s: %s.", launch->row.settings.name, what,
                         strerror(errnum));
}

/* Opened by us, with our rights, so that the worker needs none; checked again on the descriptor. */
static int open_input(struct vmms_launch *launch, const struct inheritance *in, const char *field,
                      const char *path, int *ret)
{
    struct stat st;

    *ret = -1;
    if (!path || !*path)
        return 0;
    *ret = vmms_file_open(path, false);
    if (*ret == -EMEDIUMTYPE)
        return api_error_set(&launch->error, API_E_INVALID_PARAMETER, "vm.start.file", field,
                             "VM %s cannot be started: %s is not a regular file.",
                             launch->row.settings.name, path);
    if (*ret < 0)
        return fail(launch, *ret == -ENOENT ? API_E_FILE_NOT_FOUND : API_E_INVALID_PARAMETER, field,
                    path, -*ret);
    if (fstat(*ret, &st) == 0 && st.st_size == 0)
        return api_error_set(&launch->error, API_E_INVALID_PARAMETER, "vm.start.file", field,
                             "VM %s cannot be started: %s, the file of %s, is empty.",
                             launch->row.settings.name, path, field);
    *ret = move_up(in, *ret);
    return *ret < 0 ? fail(launch, API_E_FAILED, field, path, errno) : 0;
}

static int seal_text(const char *text)
{
    hv_autofd int fd = memfd_create("definition", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    size_t length = strlen(text);

    if (fd < 0 || write(fd, text, length) != (ssize_t)length || lseek(fd, 0, SEEK_SET) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return -1;
    return HV_TAKE_FD(fd);
}

static void close_inheritance(struct inheritance *in)
{
    int *fds[] = { &in->null, &in->log, &in->control, &in->definition, &in->status };

    for (size_t i = 0; i < HV_ARRAY_SIZE(fds); i++)
        *fds[i] = hv_close(*fds[i]);
    for (size_t i = 0; i < VMMS_EXTRAS; i++)
        in->extras.fds[i] = hv_close(in->extras.fds[i]);
    for (size_t i = 0; i < in->extras.n_disks; i++)
        vmms_disk_close(&in->extras.disks[i]);
    free(in->extras.disks);
}

/* The numbers that kernel, initrd, kvm and a saved state get: consecutive, -1 for what is not
 * there; then disks.
 */
static void number_extras(struct vmms_extras *extras)
{
    int next = FD_FIRST_EXTRA;

    for (size_t i = 0; i < VMMS_EXTRAS; i++)
        extras->numbers[i] = extras->fds[i] >= 0 ? next++ : -1;
    extras->first_disk_number = next;
}

/* The numbers that the worker's descriptors may have end below this. */
static int first_free(const struct vmms_launch *launch)
{
    int needed = FD_FIRST_EXTRA + VMMS_EXTRAS;

    for (size_t i = 0; i < launch->n_disks; i++)
        needed += (int)launch->disks[i].n_chain;
    return needed > FREE_FDS ? needed : FREE_FDS;
}

static int move_disks_up(struct vmms_launch *launch, struct inheritance *in)
{
    for (size_t i = 0; i < in->extras.n_disks; i++) {
        struct vmms_disk *disk = &in->extras.disks[i];

        for (size_t k = 0; k < disk->n_chain; k++) {
            disk->chain[k].fd = move_up(in, disk->chain[k].fd);
            if (disk->chain[k].fd < 0)
                return fail(launch, API_E_FAILED, NULL, disk->chain[k].path, errno);
        }
    }
    return 0;
}

static int make_directories(struct vmms_launch *launch)
{
    int r = make_directory(launch->state_dir, launch->row.id);

    if (r == 0)
        r = make_directory(launch->runtime_dir, launch->row.id);
    return r < 0 ? fail(launch, r == -ENOSPC ? API_E_DISK_FULL : API_E_FAILED, NULL,
                        "its directory cannot be made", -r)
                 : 0;
}

static int open_saved(struct vmms_launch *launch, struct inheritance *in)
{
    int fd = vmms_saved_open(launch->state_dir, launch->row.id);

    in->extras.fds[VMMS_EXTRA_RESTORE] = fd < 0 ? -1 : move_up(in, fd);
    return in->extras.fds[VMMS_EXTRA_RESTORE] < 0
               ? fail(launch, API_E_FAILED, NULL, "its saved state cannot be opened",
                      fd < 0 ? -fd : errno)
               : 0;
}

static int open_extras(struct vmms_launch *launch, struct inheritance *in)
{
    const struct api_settings *settings = &launch->row.settings;
    int *fds = in->extras.fds, r = move_disks_up(launch, in);

    if (r == 0)
        r = open_input(launch, in, "boot.kernel", settings->boot_kernel, &fds[VMMS_EXTRA_KERNEL]);
    if (r == 0)
        r = open_input(launch, in, "boot.initrd", settings->boot_initrd, &fds[VMMS_EXTRA_INITRD]);
    if (r == 0 && settings->backend != API_BACKEND_CHOICE_SOFT)
        fds[VMMS_EXTRA_KVM] = move_up(in, open("/dev/kvm", O_RDWR | O_CLOEXEC));
    if (r == 0 && launch->row.saved == VMMS_SAVED_KEPT)
        r = open_saved(launch, in);
    number_extras(&in->extras);
    return r;
}

static int collect(struct vmms_launch *launch, struct inheritance *in)
{
    hv_autofree char *text = NULL;
    int r = make_directories(launch);

    if (r == 0)
        r = open_extras(launch, in);
    if (r < 0)
        return r;
    text = vmms_launch_definition(launch, &in->extras);
    in->null = move_up(in, open("/dev/null", O_RDWR | O_CLOEXEC));
    in->log = launch->is_unit ? move_up(in, open_journal()) : -1;
    if (in->log < 0)
        in->log = move_up(in, open_log(launch->state_dir, launch->row.id));
    in->status = move_up(in, open_status(launch->state_dir, launch->row.id));
    in->definition = text ? move_up(in, seal_text(text)) : -1;
    if (in->null < 0 || in->log < 0 || in->status < 0 || in->definition < 0)
        return fail(launch, errno == ENOSPC ? API_E_DISK_FULL : API_E_FAILED, NULL,
                    "its files cannot be made", errno);
    in->control = move_up(in, open_listener(launch->runtime_dir, launch->row.id));
    if (in->control < 0)
        return fail(launch, API_E_FAILED, NULL, "its control socket cannot be made", errno);
    return 0;
}

/* Own descriptors in the order in which the worker expects them (schemas/worker). */
static int spawn(const char *path, const struct inheritance *in, int *ret_pid)
{
    char *const argv[] = { (char *)"vmwp", (char *)"--vm", NULL };
    const struct vmms_extras *extras = &in->extras;
    hv_autofree int *fds = NULL;
    struct vmms_program program = { .path = path, .argv = argv };
    int pid;

    fds = calloc((size_t)in->first_free, sizeof(*fds));
    if (!fds)
        return -ENOMEM;
    fds[0] = fds[1] = in->null;
    fds[FD_LOG] = in->log;
    fds[FD_CONTROL] = in->control;
    fds[FD_DEFINITION] = in->definition;
    fds[FD_STATUS] = in->status;
    for (size_t i = 0; i < VMMS_EXTRAS; i++) {
        if (extras->numbers[i] >= 0)
            fds[extras->numbers[i]] = extras->fds[i];
    }
    program.fds = fds;
    program.count = extras->first_disk_number;
    for (size_t i = 0; i < extras->n_disks; i++) {
        for (size_t k = 0; k < extras->disks[i].n_chain; k++)
            fds[program.count++] = extras->disks[i].chain[k].fd;
    }
    pid = vmms_process_spawn(&program);
    if (pid < 0)
        return pid;
    *ret_pid = pid;
    return 0;
}

int vmms_launch_run(struct vmms_launch *launch)
{
    struct inheritance in = {
        .null = -1,
        .log = -1,
        .control = -1,
        .definition = -1,
        .status = -1,
        .extras = { .fds = { -1, -1, -1, -1 }, .disks = launch->disks, .n_disks = launch->n_disks },
        .first_free = first_free(launch)
    };
    int r;

    launch->disks = NULL;
    launch->n_disks = 0;
    launch->pidfd = launch->status_fd = -1;
    r = collect(launch, &in);
    if (r == 0) {
        r = spawn(launch->worker_path, &in, &launch->pid);
        if (r < 0)
            r = fail(launch, API_E_NOT_AVAILABLE, NULL, launch->worker_path, -r);
    }
    if (r == 0) {
        launch->pidfd = vmms_pidfd_open(launch->pid);
        if (launch->is_unit && launch->pidfd >= 0)
            (void)vmms_pidfd_kill(launch->pidfd, SIGSTOP);
        launch->pid_start = vmms_pid_start(launch->pid);
        launch->status_fd = HV_TAKE_FD(in.status);
        if (launch->pidfd < 0) {
            r = fail(launch, API_E_FAILED, NULL, "its process cannot be watched", errno);
            vmms_kill_child(launch->pid);
            launch->status_fd = hv_close(launch->status_fd);
        }
    }
    close_inheritance(&in);
    return r;
}

static int remove_directory(const char *base, const char *vm_id, const char *const *names)
{
    hv_autofree char *directory = NULL;
    hv_autofd int fd = -1;

    if (asprintf(&directory, "%s/vms/%s", base, vm_id) < 0)
        return -ENOMEM;
    fd = open(directory, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    for (; *names; names++) {
        if (unlinkat(fd, *names, 0) < 0 && errno != ENOENT)
            return -errno;
    }
    return rmdir(directory) == 0 || errno == ENOENT ? 0 : -errno;
}

int vmms_remove_files(const char *state_dir, const char *runtime_dir, const char *vm_id)
{
    static const char *const state[] = { "worker.log", "worker.log.1",  "worker.status",
                                         VMMS_SAVED,   VMMS_SAVED_PART, VMMS_SAVED_OLD,
                                         NULL };
    static const char *const runtime[] = { "worker.sock", NULL };
    struct hv_guid guid;
    int r;

    if (hv_guid_parse(vm_id, &guid) < 0)
        return -EINVAL;
    r = remove_directory(runtime_dir, vm_id, runtime);
    return r < 0 ? r : remove_directory(state_dir, vm_id, state);
}
