/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/io/manager.h"

#include "hvcore/base/clock.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

static bool take_socket(struct vmms_sockets *sockets, int fd, const char *name)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    char host[VMMS_ADDRESS_BYTES - 16], port[8];

    if (strcmp(name, "rpc") == 0 && sockets->rpc < 0 &&
        sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) > 0) {
        sockets->rpc = fd;
        return true;
    }
    if (strcmp(name, "tls") != 0 || sockets->n_tls == VMMS_MAX_SOCKETS ||
        sd_is_socket_inet(fd, AF_UNSPEC, SOCK_STREAM, 1, 0) <= 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0 ||
        getnameinfo((struct sockaddr *)&address, length, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return false;
    (void)snprintf(sockets->addresses[sockets->n_tls], VMMS_ADDRESS_BYTES,
                   strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
    sockets->tls[sockets->n_tls++] = fd;
    return true;
}

void vmms_sockets_take(struct vmms_sockets *ret, const struct hv_log *log)
{
    char **names = NULL;
    int count = sd_listen_fds_with_names(1, &names);

    *ret = (struct vmms_sockets){ .rpc = -1 };
    for (int i = 0; i < count; i++) {
        if (!take_socket(ret, SD_LISTEN_FDS_START + i, names[i])) {
            hv_log_printf(
                log, HV_LOG_WARNING, NULL,
                "A socket that was handed over is not used: \"%.64s\" is not \"rpc\" (one "
                "Unix stream socket) nor \"tls\" (TCP sockets), or does not listen.",
                names[i]);
            (void)close(SD_LISTEN_FDS_START + i);
        }
        free(names[i]);
    }
    free(names);
}

void vmms_manager_ready(const char *status)
{
    (void)sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

/* systemd before 253 does not read the time; it is what tells later ones that we began after they
 * had asked. */
void vmms_manager_reloading(void)
{
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=Reading the configuration anew.",
                     (unsigned long long)(hv_clock_monotonic_ns() / 1000));
}

void vmms_manager_stopping(void)
{
    (void)sd_notify(0, "STOPPING=1\nSTATUS=Ending; running VMs run on.");
}

static void fell_due(uv_timer_t *timer)
{
    struct vmms_watchdog *watchdog = timer->data;

    watchdog->is_due = true;
}

/* libuv calls it after everything that had come in was handled. */
static void turned(uv_check_t *check)
{
    struct vmms_watchdog *watchdog = check->data;

    if (!watchdog->is_due)
        return;
    watchdog->is_due = false;
    (void)sd_notify(0, "WATCHDOG=1");
}

void vmms_watchdog_start(struct vmms_watchdog *watchdog, uv_loop_t *loop)
{
    uint64_t interval_us;

    (void)uv_timer_init(loop, &watchdog->timer);
    (void)uv_check_init(loop, &watchdog->check);
    watchdog->timer.data = watchdog->check.data = watchdog;
    if (sd_watchdog_enabled(0, &interval_us) <= 0)
        return;
    (void)uv_timer_start(&watchdog->timer, fell_due, 0, interval_us / 2000);
    (void)uv_check_start(&watchdog->check, turned);
}

void vmms_watchdog_close(struct vmms_watchdog *watchdog)
{
    uv_close((uv_handle_t *)&watchdog->timer, NULL);
    uv_close((uv_handle_t *)&watchdog->check, NULL);
}
