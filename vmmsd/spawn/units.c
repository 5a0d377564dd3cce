/* SPDX-License-Identifier: Apache-2.0 */
/* org.freedesktop.systemd1(5): StartTransientUnit, JobRemoved; systemd.resource-control(5). */
#include "vmmsd/spawn/units.h"

#include "hvcore/base/list.h"
#include "vmmsd/io/bus.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-login.h>

#define SYSTEMD           "org.freedesktop.systemd1"
#define SYSTEMD_PATH      "/org/freedesktop/systemd1"
#define SYSTEMD_MANAGER   "org.freedesktop.systemd1.Manager"
#define OVERHEAD_BYTES    (UINT64_C(256) << 20) /* program, devices, disks' tables and buffers */
#define OVERHEAD_VP_BYTES (UINT64_C(96) << 20)  /* soft: a VP's decoded blocks */

enum {
    DEADLINE_MS = 10000,
    RETRY_MS = 50, /* the unit of the VM's last worker is about to go */
    WORKER_TASKS = 128,
    PROCS_BYTES = 16384
};

struct vmms_units {
    uv_loop_t *loop;
    const struct hv_log *log;
    struct vmms_bus *bus; /* NULL: not connected now */
    struct hv_list placements;
};

struct vmms_placement {
    struct hv_list node;
    struct vmms_units *units;
    char name[VMMS_UNIT_NAME_BYTES];
    char *description;
    uint32_t pid;
    uint64_t memory_max;
    uint64_t tasks_max;
    vmms_placed_fn *done; /* NULL: nobody wants to know */
    void *opaque;
    sd_bus_slot *slot;
    char *job;
    uv_timer_t timer; /* the deadline */
    uv_timer_t retry;
    unsigned handles;
};

void vmms_unit_name(const char *vm_id, char ret[static VMMS_UNIT_NAME_BYTES])
{
    (void)snprintf(ret, VMMS_UNIT_NAME_BYTES, "hvstack-vm-%.36s.scope", vm_id);
}

bool vmms_units_is_managed(void)
{
    hv_autofree char *unit = NULL;
    size_t length;

    if (sd_booted() <= 0 || geteuid() != 0 || sd_pid_get_unit(0, &unit) < 0)
        return false;
    length = strlen(unit);
    return length > strlen(".service") && strncmp(unit, "user@", strlen("user@")) != 0 &&
           strcmp(unit + length - strlen(".service"), ".service") == 0;
}

void vmms_units_let_go(const struct hv_log *log)
{
    hv_autofree char *cgroup = NULL, *path = NULL, *text = calloc(1, PROCS_BYTES);
    hv_autofd int fd = -1;

    if (!text || sd_pid_get_cgroup(0, &cgroup) < 0 ||
        asprintf(&path, "/sys/fs/cgroup%s/cgroup.procs", cgroup) < 0)
        return;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, PROCS_BYTES - 1) <= 0)
        return;
    for (char *at = text, *end;; at = end) {
        long pid = strtol(at, &end, 10);

        if (end == at)
            return;
        if (pid > 1 && pid != getpid() && kill((pid_t)pid, SIGCONT) == 0)
            hv_log_printf(log, HV_LOG_INFO, NULL,
                          "Process %ld of an earlier vmmsd is still there, and runs on.", pid);
    }
}

/* The end of a placement */

static void handle_closed(uv_handle_t *handle)
{
    struct vmms_placement *placement = handle->data;

    if (--placement->handles > 0)
        return;
    free(placement->description);
    free(placement->job);
    free(placement);
}

static void drop(struct vmms_placement *placement)
{
    hv_list_remove(&placement->node);
    placement->slot = sd_bus_slot_unref(placement->slot);
    uv_close((uv_handle_t *)&placement->timer, handle_closed);
    uv_close((uv_handle_t *)&placement->retry, handle_closed);
}

static void finish(struct vmms_placement *placement, const char *why)
{
    vmms_placed_fn *done = placement->done;

    drop(placement);
    done(placement->opaque, why);
}

struct vmms_placement *vmms_placement_forget(struct vmms_placement *placement)
{
    if (placement)
        drop(placement);
    return NULL;
}

static void overdue(uv_timer_t *timer)
{
    finish(timer->data, "systemd did not answer in time");
}

/* The connection */

static void bus_down(void *opaque, int r)
{
    struct vmms_units *units = opaque;

    units->bus = vmms_bus_close(units->bus);
    HV_LIST_FOREACH (node, &units->placements)
        finish(HV_LIST_ENTRY(node, struct vmms_placement, node), "the message bus went away");
}

static int job_removed(sd_bus_message *m, void *opaque, sd_bus_error *error)
{
    struct vmms_units *units = opaque;
    const char *job, *result;
    char why[128];

    if (sd_bus_message_read(m, "uoss", NULL, &job, NULL, &result) < 0)
        return 0;
    HV_LIST_FOREACH (node, &units->placements) {
        struct vmms_placement *placement = HV_LIST_ENTRY(node, struct vmms_placement, node);

        if (!placement->job || strcmp(placement->job, job) != 0)
            continue;
        (void)snprintf(why, sizeof(why), "systemd's job ended with \"%.32s\"", result);
        finish(placement, strcmp(result, "done") == 0 ? NULL : why);
        break;
    }
    return 0;
}

/* Without a subscriber systemd sends no signals. Sent in order, so both hold before the first
 * unit is asked for. */
static int subscribe(struct vmms_units *units)
{
    sd_bus *bus = vmms_bus_get(units->bus);
    int r = sd_bus_match_signal_async(bus, NULL, SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER,
                                      "JobRemoved", job_removed, NULL, units);

    if (r < 0)
        return r;
    return sd_bus_call_method_async(bus, NULL, SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER, "Subscribe",
                                    NULL, NULL, NULL);
}

static int connect_bus(struct vmms_units *units)
{
    sd_bus *bus = NULL;
    int r;

    if (units->bus)
        return 0;
    r = sd_bus_open_system(&bus);
    if (r >= 0)
        r = vmms_bus_attach(units->loop, bus, bus_down, units, &units->bus);
    if (r >= 0)
        r = subscribe(units);
    if (r < 0)
        units->bus = vmms_bus_close(units->bus);
    return r;
}

/* Asking */

static int append_limits(sd_bus_message *m, const struct vmms_placement *placement)
{
    int r = sd_bus_message_append(m, "(sv)", "MemoryMax", "t", placement->memory_max);

    /* No swap limit: what a guest has touched may well go there. No OOM group: it is one process.
     */
    return r < 0 ? r : sd_bus_message_append(m, "(sv)", "TasksMax", "t", placement->tasks_max);
}

static int append_properties(sd_bus_message *m, const struct vmms_placement *placement)
{
    int r = sd_bus_message_open_container(m, 'a', "(sv)");

    if (r >= 0)
        r = sd_bus_message_append(m, "(sv)", "Description", "s", placement->description);
    if (r >= 0)
        r = sd_bus_message_append(m, "(sv)", "Slice", "s", "hvstack.slice");
    if (r >= 0)
        r = sd_bus_message_append(m, "(sv)", "PIDs", "au", 1, placement->pid);
    /* A failed one would keep the VM's next unit from being made. */
    if (r >= 0)
        r = sd_bus_message_append(m, "(sv)", "CollectMode", "s", "inactive-or-failed");
    /* When the host goes down this order is reversed: first the service, which may save VMs. */
    if (r >= 0)
        r = sd_bus_message_append(m, "(sv)", "Before", "as", 1, "vmmsd.service");
    if (r >= 0)
        r = append_limits(m, placement);
    return r < 0 ? r : sd_bus_message_close_container(m);
}

static void ask_again(uv_timer_t *timer);

static int unit_answered(sd_bus_message *m, void *opaque, sd_bus_error *ret_error)
{
    struct vmms_placement *placement = opaque;
    const sd_bus_error *error = sd_bus_message_get_error(m);
    const char *job;
    char why[256];

    placement->slot = sd_bus_slot_unref(placement->slot);
    if (sd_bus_error_has_name(error, SYSTEMD ".UnitExists")) {
        (void)uv_timer_start(&placement->retry, ask_again, RETRY_MS, 0);
    } else if (error) {
        (void)snprintf(why, sizeof(why), "systemd refused: %.200s",
                       error->message ? error->message : error->name);
        finish(placement, why);
    } else if (sd_bus_message_read(m, "o", &job) >= 0) {
        placement->job = strdup(job);
    }
    return 1;
}

static int ask(struct vmms_placement *placement)
{
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    struct vmms_units *units = placement->units;
    sd_bus *bus = vmms_bus_get(units->bus);
    int r = sd_bus_message_new_method_call(bus, &m, SYSTEMD, SYSTEMD_PATH, SYSTEMD_MANAGER,
                                           "StartTransientUnit");

    if (r >= 0)
        r = sd_bus_message_append(m, "ss", placement->name, "fail");
    if (r >= 0)
        r = append_properties(m, placement);
    if (r >= 0)
        r = sd_bus_message_append(m, "a(sa(sv))", 0);
    if (r >= 0)
        r = sd_bus_call_async(bus, &placement->slot, m, unit_answered, placement,
                              (uint64_t)DEADLINE_MS * 1000);
    vmms_bus_update(units->bus);
    return r;
}

static void ask_again(uv_timer_t *timer)
{
    struct vmms_placement *placement = timer->data;

    if (ask(placement) < 0)
        finish(placement, "systemd cannot be asked");
}

static bool is_there(const struct vmms_placement *placement)
{
    hv_autofree char *unit = NULL;

    return sd_pid_get_unit((pid_t)placement->pid, &unit) >= 0 && strcmp(unit, placement->name) == 0;
}

static struct vmms_placement *make(struct vmms_units *units, const struct vmms_unit *unit)
{
    struct vmms_placement *placement = calloc(1, sizeof(*placement));

    hv_assert(placement);
    placement->units = units;
    placement->pid = (uint32_t)unit->pid;
    placement->memory_max = unit->memory_bytes + OVERHEAD_BYTES + unit->cpus * OVERHEAD_VP_BYTES;
    placement->tasks_max = WORKER_TASKS + unit->cpus;
    vmms_unit_name(unit->vm_id, placement->name);
    if (asprintf(&placement->description, "hvstack VM %s", unit->vm_name) < 0)
        placement->description = NULL;
    hv_assert(placement->description);
    (void)uv_timer_init(units->loop, &placement->timer);
    (void)uv_timer_init(units->loop, &placement->retry);
    placement->timer.data = placement->retry.data = placement;
    placement->handles = 2;
    hv_list_append(&units->placements, &placement->node);
    return placement;
}

int vmms_units_place(struct vmms_units *units, const struct vmms_unit *unit, vmms_placed_fn *done,
                     void *opaque, struct vmms_placement **ret)
{
    struct vmms_placement *placement = make(units, unit);
    int r;

    if (is_there(placement)) {
        drop(placement);
        return 0;
    }
    r = connect_bus(units);
    if (r >= 0)
        r = ask(placement);
    if (r < 0) {
        hv_log_printf(units->log, HV_LOG_WARNING, NULL,
                      "VM %s gets no unit of its own: systemd cannot be reached (%s).",
                      unit->vm_name, strerror(-r));
        drop(placement);
        return 0;
    }
    placement->done = done;
    placement->opaque = opaque;
    (void)uv_timer_start(&placement->timer, overdue, DEADLINE_MS, 0);
    *ret = placement;
    return 1;
}

int vmms_units_new(uv_loop_t *loop, const struct hv_log *log, struct vmms_units **ret)
{
    struct vmms_units *units = calloc(1, sizeof(*units));

    if (!units)
        return -ENOMEM;
    units->loop = loop;
    units->log = log;
    hv_list_init(&units->placements);
    *ret = units;
    return 0;
}

void vmms_units_close(struct vmms_units *units)
{
    if (!units)
        return;
    HV_LIST_FOREACH (node, &units->placements)
        drop(HV_LIST_ENTRY(node, struct vmms_placement, node));
    units->bus = vmms_bus_close(units->bus);
}

void vmms_units_free(struct vmms_units *units)
{
    free(units);
}
