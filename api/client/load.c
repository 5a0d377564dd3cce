/* SPDX-License-Identifier: Apache-2.0 */
/* Where the TLS module lies: beside us, installed, or in the build directory. */
#include "api/client/tls.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

int api_tls_load(const struct api_tls_ops **ret, struct api_error **reterr)
{
    static const char *const places[] = { "hvadm-tls.so", "../libexec/hvstack/hvadm-tls.so",
                                          "../api/client/hvadm-tls.so" };
    char self[PATH_MAX], path[PATH_MAX + 64], *slash;
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    const struct api_tls_ops *ops = NULL;
    void *module;

    self[length > 0 ? length : 0] = '\0';
    slash = strrchr(self, '/');
    for (size_t i = 0; slash && !ops && i < HV_ARRAY_SIZE(places); i++) {
        (void)snprintf(path, sizeof(path), "%.*s/%s", (int)(slash - self), self, places[i]);
        module = access(path, R_OK) == 0 ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
        ops = module ? dlsym(module, API_TLS_SYMBOL) : NULL;
    }
    if (!ops)
        return api_error_set(reterr, API_E_NOT_SUPPORTED, "client.tls", NULL,
                             "The part that speaks TLS, hvadm-tls.so, is not installed.");
    *ret = ops;
    return 0;
}
