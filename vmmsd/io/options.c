/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/io/options.h"

#include "hvcore/base/guid.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
    "vmmsd - keeps virtual machines: definitions, states, workers, the API\n"
    "\n"
    "  vmmsd [--state-dir DIR] [--runtime-dir DIR] [--bus BUS] [--listen HOST:PORT]...\n        "
    "[--worker FILE]\n"
    "\n"
    "  --state-dir DIR    database and files of VMs (default /var/lib/hvstack)\n"
    "  --runtime-dir DIR  sockets (default /run/hvstack); clients use DIR/vmms.sock\n"
    "  --bus BUS          serve the API on a message bus as well: system, session, or the\n"
    "                     address of one (unix:path=...); none, the default: not on any\n"
    "  --listen HOST:PORT serve the API over TLS as well, to clients with certificates (hvadm "
    "remote\n"
    "                     init); may be repeated. *:PORT is all addresses, [ADDRESS]:PORT an IPv6 "
    "one\n"
    "  --worker FILE      the worker program (default: vmwp beside this program)\n"
    "  --boot-id UUID     take this for the id of the host's boot, which the kernel tells "
    "otherwise:\n"
    "                     with another one than last time, VMs are started by themselves\n"
    "  --log-level LEVEL  error, warning, info or debug (default info)\n"
    "  --version          print the version and end\n"
    "  --help             print this and end\n"
    "\n"
    "Directories are made when they are missing. Workers go on running when vmmsd ends, and are\n"
    "found again by the next one on the same directories.\n";

enum option_id {
    OPTION_STATE_DIR = 256,
    OPTION_RUNTIME_DIR,
    OPTION_BUS,
    OPTION_LISTEN,
    OPTION_WORKER,
    OPTION_BOOT_ID,
    OPTION_LOG_LEVEL,
    OPTION_VERSION,
    OPTION_HELP
};

static const struct option names[] = {
    { "state-dir", required_argument, NULL, OPTION_STATE_DIR },
    { "runtime-dir", required_argument, NULL, OPTION_RUNTIME_DIR },
    { "bus", required_argument, NULL, OPTION_BUS },
    { "listen", required_argument, NULL, OPTION_LISTEN },
    { "worker", required_argument, NULL, OPTION_WORKER },
    { "boot-id", required_argument, NULL, OPTION_BOOT_ID },
    { "log-level", required_argument, NULL, OPTION_LOG_LEVEL },
    { "version", no_argument, NULL, OPTION_VERSION },
    { "help", no_argument, NULL, OPTION_HELP },
    { 0 },
};

static int complain(const char *what, const char *value)
{
    (void)fprintf(stderr, "vmmsd: %s%s. See vmmsd --help.\n", what, value);
    return -EINVAL;
}

/* An absolute copy: the service changes its directory to nowhere in particular. */
static int take_path(const char *value, char **ret)
{
    char here[PATH_MAX];

    free(*ret);
    *ret = NULL;
    if (!*value)
        return complain("a directory or file name is empty", "");
    if (*value == '/')
        *ret = strdup(value);
    else if (!getcwd(here, sizeof(here)) || asprintf(ret, "%s/%s", here, value) < 0)
        *ret = NULL;
    return *ret ? 0 : -ENOMEM;
}

static int take_bus(const char *value, char **ret)
{
    bool is_named = strcmp(value, "system") == 0 || strcmp(value, "session") == 0;

    free(*ret);
    *ret = NULL;
    if (strcmp(value, "none") == 0)
        return 0;
    if (!is_named && !strchr(value, ':'))
        return complain("--bus is none, system, session or an address like unix:path=/run/x, not ",
                        value);
    *ret = strdup(value);
    return *ret ? 0 : -ENOMEM;
}

static int take_listen(const char *value, struct vmms_options *ret)
{
    const char *colon = strrchr(value, ':'), *port = colon ? colon + 1 : "";
    bool is_number = *port && strlen(port) <= 5 && strspn(port, "0123456789") == strlen(port);
    unsigned long number = is_number ? strtoul(port, NULL, 10) : 0;

    if (!number || number > 65535 || colon == value)
        return complain("--listen takes HOST:PORT, with a port from 1 to 65535, not ", value);
    if (ret->n_listen == VMMS_MAX_LISTEN)
        return complain("--listen stands too often; allowed are 8", "");
    ret->listen[ret->n_listen] = strdup(value);
    return ret->listen[ret->n_listen++] ? 0 : -ENOMEM;
}

static int take_level(const char *value, enum hv_log_level *ret)
{
    static const struct {
        const char *name;
        enum hv_log_level level;
    } levels[] = { { "error", HV_LOG_ERROR },
                   { "warning", HV_LOG_WARNING },
                   { "info", HV_LOG_INFO },
                   { "debug", HV_LOG_DEBUG } };

    for (size_t i = 0; i < HV_ARRAY_SIZE(levels); i++) {
        if (strcmp(levels[i].name, value) == 0) {
            *ret = levels[i].level;
            return 0;
        }
    }
    return complain("--log-level is error, warning, info or debug, not ", value);
}

static int take_boot_id(const char *value, char **ret)
{
    struct hv_guid guid;

    free(*ret);
    *ret = NULL;
    if (hv_guid_parse(value, &guid) < 0)
        return complain("--boot-id takes a UUID, not ", value);
    *ret = calloc(1, HV_GUID_TEXT_BYTES);
    if (!*ret)
        return -ENOMEM;
    hv_guid_format(&guid, *ret);
    return 0;
}

/* Where the worker program lies: beside us, installed, or in the build directory. */
static int find_worker(char **ret)
{
    static const char *const places[] = { "vmwp", "../libexec/hvstack/vmwp", "../vmwp/vmwp" };
    char self[PATH_MAX], *slash;
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (length < 0)
        return complain("where this program lies cannot be told; use --worker", "");
    self[length] = '\0';
    slash = strrchr(self, '/');
    slash[1] = '\0';
    for (size_t i = 0; i < HV_ARRAY_SIZE(places); i++) {
        free(*ret);
        if (asprintf(ret, "%s%s", self, places[i]) < 0) {
            *ret = NULL;
            return -ENOMEM;
        }
        if (access(*ret, X_OK) == 0)
            return 0;
    }
    return complain("there is no worker program; use --worker. Looked last at ", *ret);
}

static int take_option(int id, const char *value, struct vmms_options *ret)
{
    switch (id) {
    case OPTION_STATE_DIR: return take_path(value, &ret->state_dir);
    case OPTION_RUNTIME_DIR: return take_path(value, &ret->runtime_dir);
    case OPTION_WORKER: return take_path(value, &ret->worker);
    case OPTION_LOG_LEVEL: return take_level(value, &ret->log_level);
    case OPTION_LISTEN: return take_listen(value, ret);
    case OPTION_BOOT_ID: return take_boot_id(value, &ret->boot_id);
    case OPTION_BUS: return take_bus(value, &ret->bus);
    case OPTION_VERSION: (void)puts("vmmsd " HV_VERSION); return 1;
    case OPTION_HELP: (void)fputs(help, stdout); return 1;
    default: return complain("an option is wrong", "");
    }
}

int vmms_options_read(int argc, char **argv, struct vmms_options *ret)
{
    int id, r = 0;

    *ret = (struct vmms_options){ .log_level = HV_LOG_INFO };
    while (r == 0 && (id = getopt_long(argc, argv, "", names, NULL)) != -1)
        r = take_option(id, optarg, ret);
    if (r == 0 && optind < argc)
        r = complain("an argument is not understood: ", argv[optind]);
    if (r == 0 && !ret->state_dir)
        r = take_path("/var/lib/hvstack", &ret->state_dir);
    if (r == 0 && !ret->runtime_dir)
        r = take_path("/run/hvstack", &ret->runtime_dir);
    if (r == 0 && !ret->worker)
        r = find_worker(&ret->worker);
    return r;
}

void vmms_options_fini(struct vmms_options *options)
{
    free(options->state_dir);
    free(options->bus);
    free(options->boot_id);
    for (size_t i = 0; i < options->n_listen; i++)
        free(options->listen[i]);
    free(options->runtime_dir);
    free(options->worker);
    *options = (struct vmms_options){ 0 };
}
