/* SPDX-License-Identifier: Apache-2.0 */
/* Where the modules lie that an address may ask for: beside us, installed, or in the build
 * directory. */
#include "api/client/dbus.h"
#include "api/client/tls.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static const void *load(const char *file, const char *symbol)
{
    static const char *const places[] = { "", "../libexec/hvstack/", "../api/client/" };
    char self[PATH_MAX], path[PATH_MAX + 64], *slash;
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    const void *ops = NULL;
    void *module;

    self[length > 0 ? length : 0] = '\0';
    slash = strrchr(self, '/');
    for (size_t i = 0; slash && !ops && i < HV_ARRAY_SIZE(places); i++) {
        (void)snprintf(path, sizeof(path), "%.*s/%s%s", (int)(slash - self), self, places[i], file);
        module = access(path, R_OK) == 0 ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
        ops = module ? dlsym(module, symbol) : NULL;
    }
    return ops;
}

int api_tls_load(const struct api_tls_ops **ret, struct api_error **reterr)
{
    *ret = load("hvadm-tls.so", API_TLS_SYMBOL);
    if (!*ret)
        return api_error_set(reterr, API_E_NOT_SUPPORTED, "client.tls", NULL,
                             "The part that speaks TLS, hvadm-tls.so, is not installed.");
    return 0;
}

int api_dbus_load(const struct api_dbus_ops **ret, struct api_error **reterr)
{
    *ret = load("hvadm-dbus.so", API_DBUS_SYMBOL);
    if (!*ret)
        return api_error_set(reterr, API_E_NOT_SUPPORTED, "client.dbus", NULL,
                             "The part that speaks D-Bus, hvadm-dbus.so, is not installed.");
    return 0;
}
