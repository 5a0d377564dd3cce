/* SPDX-License-Identifier: Apache-2.0 */
/* The host goes down: logind says so beforehand, and waits while its inhibitor is held, until the
 * VMs are stopped. Without a system bus, or without logind on it, nobody is asked to wait. */
#include "vmmsd/service/service_priv.h"

#include "vmmsd/io/bus.h"

#include <fcntl.h>
#include <string.h>

#define LOGIND "org.freedesktop.login1"

struct vmms_host_end {
    struct vmms_service *service;
    struct vmms_bus *bus;
    int inhibitor; /* -1: none */
};

static int inhibited(sd_bus_message *m, void *opaque, sd_bus_error *error)
{
    struct vmms_host_end *end = opaque;
    int fd;

    (void)error;
    if (sd_bus_message_is_method_error(m, NULL) || sd_bus_message_read(m, "h", &fd) < 0) {
        hv_log_printf(end->service->config.log, HV_LOG_INFO, NULL,
                      "logind lets nobody delay the host's shutdown; VMs are stopped when it "
                      "begins, and may be cut short.");
        return 1;
    }
    hv_close(end->inhibitor);
    end->inhibitor = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return 1;
}

static void inhibit(struct vmms_host_end *end)
{
    (void)sd_bus_call_method_async(vmms_bus_get(end->bus), NULL, LOGIND, "/org/freedesktop/login1",
                                   LOGIND ".Manager", "Inhibit", inhibited, end, "ssss", "shutdown",
                                   "hvstack", "Virtual machines are stopped.", "delay");
    vmms_bus_update(end->bus);
}

static int preparing(sd_bus_message *m, void *opaque, sd_bus_error *error)
{
    struct vmms_host_end *end = opaque;
    struct api_request request = { .method = API_METHOD_HOST_STOP_VMS };
    int begins = 0;

    (void)error;
    if (sd_bus_message_read(m, "b", &begins) < 0 || end->service->is_closing)
        return 0;
    if (!begins) {
        inhibit(end);
        return 0;
    }
    hv_log_printf(end->service->config.log, HV_LOG_INFO, NULL,
                  "The host goes down: VMs are stopped.");
    request.args.host_stop_vms.wait = true;
    vmms_core_call(end->service->core, VMMS_HOST_END_CALL, &request, "host");
    vmms_service_drain(end->service);
    return 0;
}

void vmms_host_end_answered(struct vmms_service *service)
{
    if (!service->host_end)
        return;
    hv_close(service->host_end->inhibitor);
    service->host_end->inhibitor = -1;
}

static void down(void *opaque, int r)
{
    struct vmms_host_end *end = opaque;

    hv_log_printf(end->service->config.log, HV_LOG_WARNING, NULL,
                  "The system bus is gone (%s): the host's shutdown will not be noticed.",
                  strerror(-r));
    end->bus = vmms_bus_close(end->bus);
}

static int open_bus(struct vmms_host_end *end)
{
    sd_bus *bus = NULL;
    int r = sd_bus_open_system(&bus);

    if (r < 0)
        return r;
    r = vmms_bus_attach(end->service->config.loop, bus, down, end, &end->bus);
    if (r < 0)
        return r;
    return sd_bus_match_signal_async(bus, NULL, LOGIND, "/org/freedesktop/login1",
                                     LOGIND ".Manager", "PrepareForShutdown", preparing, NULL, end);
}

/* Only the host's own service watches: others, on a private bus or none, are not its part. */
void vmms_host_end_open(struct vmms_service *service)
{
    struct vmms_host_end *end;
    int r;

    if (!service->config.bus || strcmp(service->config.bus, "system") != 0)
        return;
    end = calloc(1, sizeof(*end));
    hv_assert(end);
    end->service = service;
    end->inhibitor = -1;
    service->host_end = end;
    r = open_bus(end);
    if (r >= 0)
        inhibit(end);
    else
        hv_log_printf(service->config.log, HV_LOG_WARNING, NULL,
                      "The host's shutdown will not be noticed: %s.", strerror(-r));
}

void vmms_host_end_close(struct vmms_service *service)
{
    struct vmms_host_end *end = service->host_end;

    if (!end)
        return;
    end->bus = vmms_bus_close(end->bus);
    hv_close(end->inhibitor);
    end->inhibitor = -1;
}

void vmms_host_end_free(struct vmms_service *service)
{
    free(service->host_end);
    service->host_end = NULL;
}
