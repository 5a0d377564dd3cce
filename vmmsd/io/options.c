/* SPDX-License-Identifier: Apache-2.0 */
#include "vmmsd/io/options.h"

#include "hvcore/base/guid.h"
#include "vmmsd/io/config.h"

#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
    "vmmsd - keeps virtual machines: definitions, states, workers, the API\n"
    "\n"
    "  vmmsd [--config FILE] [--state-dir DIR] [--runtime-dir DIR] [--bus BUS]\n"
    "        [--listen HOST:PORT]... [--worker FILE]\n"
    "  vmmsd [--config FILE] --check-config\n"
    "  vmmsd [--config FILE] [--state-dir DIR] --restore-database [FILE]\n"
    "\n"
    "  --config FILE      read settings from FILE, then from FILE.d/*.conf; what\n"
    "                     stands on the command line counts more (the service uses\n"
    "                     /etc/hvstack/vmmsd.conf)\n"
    "  --check-config     say whether the configuration is right, and end\n"
    "  --state-dir DIR    database and files of VMs (default /var/lib/hvstack)\n"
    "  --runtime-dir DIR  sockets (default /run/hvstack); clients use DIR/vmms.sock\n"
    "  --bus BUS          serve the API on a message bus as well: system, session,\n"
    "                     or the address of one (unix:path=...); none, the default:\n"
    "                     not on any\n"
    "  --listen HOST:PORT serve the API over TLS as well, to clients with\n"
    "                     certificates (hvadm remote init); may be repeated. *:PORT\n"
    "                     is all addresses, [ADDRESS]:PORT an IPv6 one\n"
    "  --worker FILE      the worker program (default: vmwp beside this program)\n"
    "  --units WHEN       auto: a worker becomes a unit of systemd where vmmsd is\n"
    "                     one; no: never\n"
    "  --keep-events N    keep this many events, 1000 to 100000000 (default\n"
    "                     1000000)\n"
    "  --keep-days N      keep events for this many days, 1 to 36500 (default 30)\n"
    "  --keep-bytes N     keep this many bytes of events, 16777216 to 1099511627776\n"
    "                     (default 1073741824)\n"
    "  --restore-database [FILE]\n"
    "                     put a backup in the place of the database, and end: FILE,\n"
    "                     or the newest good one in DIR/backups; what was there is\n"
    "                     kept beside it\n"
    "  --boot-id UUID     take this for the id of the host's boot, which the kernel\n"
    "                     tells otherwise: with another one than last time, VMs are\n"
    "                     started by themselves\n"
    "  --log-level LEVEL  error, warning, info or debug (default info)\n"
    "  --version          print the version and end\n"
    "  --help             print this and end\n"
    "\n"
    "Directories are made when they are missing. Workers go on running when vmmsd\n"
    "ends, and are found again by the next one on the same directories. SIGHUP\n"
    "reads the configuration and the certificates of remote access anew; what can\n"
    "only change with a restart is named in the log.\n";

enum option_id {
    OPTION_CONFIG = 256,
    OPTION_CHECK_CONFIG,
    OPTION_STATE_DIR,
    OPTION_RUNTIME_DIR,
    OPTION_BUS,
    OPTION_LISTEN,
    OPTION_WORKER,
    OPTION_UNITS,
    OPTION_KEEP_EVENTS,
    OPTION_KEEP_DAYS,
    OPTION_KEEP_BYTES,
    OPTION_RESTORE,
    OPTION_BOOT_ID,
    OPTION_LOG_LEVEL,
    OPTION_VERSION,
    OPTION_HELP
};

static const struct option names[] = {
    { "config", required_argument, NULL, OPTION_CONFIG },
    { "check-config", no_argument, NULL, OPTION_CHECK_CONFIG },
    { "state-dir", required_argument, NULL, OPTION_STATE_DIR },
    { "runtime-dir", required_argument, NULL, OPTION_RUNTIME_DIR },
    { "bus", required_argument, NULL, OPTION_BUS },
    { "listen", required_argument, NULL, OPTION_LISTEN },
    { "worker", required_argument, NULL, OPTION_WORKER },
    { "units", required_argument, NULL, OPTION_UNITS },
    { "keep-events", required_argument, NULL, OPTION_KEEP_EVENTS },
    { "keep-days", required_argument, NULL, OPTION_KEEP_DAYS },
    { "keep-bytes", required_argument, NULL, OPTION_KEEP_BYTES },
    { "restore-database", optional_argument, NULL, OPTION_RESTORE },
    { "boot-id", required_argument, NULL, OPTION_BOOT_ID },
    { "log-level", required_argument, NULL, OPTION_LOG_LEVEL },
    { "version", no_argument, NULL, OPTION_VERSION },
    { "help", no_argument, NULL, OPTION_HELP },
    { 0 },
};

/* The same in a file. */
static const struct setting {
    const char *section;
    const char *key;
    enum option_id option;
} settings[] = {
    { "service", "state-dir", OPTION_STATE_DIR }, { "service", "runtime-dir", OPTION_RUNTIME_DIR },
    { "service", "log-level", OPTION_LOG_LEVEL }, { "api", "bus", OPTION_BUS },
    { "api", "listen", OPTION_LISTEN },           { "workers", "program", OPTION_WORKER },
    { "workers", "units", OPTION_UNITS },         { "events", "keep-events", OPTION_KEEP_EVENTS },
    { "events", "keep-days", OPTION_KEEP_DAYS },  { "events", "keep-bytes", OPTION_KEEP_BYTES },
};

static int complain(struct hv_error **reterr, const char *what, const char *value)
{
    return hv_error_set(reterr, -EINVAL, "options.value", "%s%s.", what, value);
}

/* An absolute copy: the service changes its directory to nowhere in particular. */
static int take_path(const char *value, char **ret, struct hv_error **reterr)
{
    char here[PATH_MAX];

    free(*ret);
    *ret = NULL;
    if (!*value)
        return complain(reterr, "A directory or file name is empty", "");
    if (*value == '/')
        *ret = strdup(value);
    else if (!getcwd(here, sizeof(here)) || asprintf(ret, "%s/%s", here, value) < 0)
        *ret = NULL;
    return *ret ? 0 : -ENOMEM;
}

static int take_bus(const char *value, char **ret, struct hv_error **reterr)
{
    bool is_named = strcmp(value, "system") == 0 || strcmp(value, "session") == 0;

    free(*ret);
    *ret = NULL;
    if (strcmp(value, "none") == 0)
        return 0;
    if (!is_named && !strchr(value, ':'))
        return complain(reterr,
                        "bus is none, system, session or an address like unix:path=/run/x, not ",
                        value);
    *ret = strdup(value);
    return *ret ? 0 : -ENOMEM;
}

static void forget_listen(struct vmms_options *options)
{
    while (options->n_listen > 0)
        free(options->listen[--options->n_listen]);
}

/* Nothing: none of those so far. */
static int take_listen(const char *value, struct vmms_options *ret, struct hv_error **reterr)
{
    const char *colon = strrchr(value, ':'), *port = colon ? colon + 1 : "";
    bool is_number = *port && strlen(port) <= 5 && strspn(port, "0123456789") == strlen(port);
    unsigned long number = is_number ? strtoul(port, NULL, 10) : 0;

    if (!*value) {
        forget_listen(ret);
        return 0;
    }
    if (!number || number > 65535 || colon == value)
        return complain(reterr, "listen takes HOST:PORT, with a port from 1 to 65535, not ", value);
    if (ret->n_listen == VMMS_MAX_LISTEN)
        return complain(reterr, "listen stands too often; allowed are 8", "");
    ret->listen[ret->n_listen] = strdup(value);
    return ret->listen[ret->n_listen++] ? 0 : -ENOMEM;
}

static int take_number(const char *name, const char *value, uint64_t least, uint64_t most,
                       uint64_t *ret, struct hv_error **reterr)
{
    char *end;
    bool is_number = *value >= '0' && *value <= '9' && strlen(value) <= 18;
    uint64_t number = is_number ? strtoull(value, &end, 10) : 0;

    if (!is_number || *end || number < least || number > most)
        return hv_error_set(reterr, -EINVAL, "options.number",
                            "%s takes a number from %" PRIu64 " to %" PRIu64 ", not %.64s.", name,
                            least, most, value);
    *ret = number;
    return 0;
}

/* The file may stand behind a blank, too. */
static int take_restore(const char *value, struct vmms_options *ret, struct hv_error **reterr)
{
    if (value)
        return take_path(value, &ret->restore, reterr);
    free(ret->restore);
    ret->restore = strdup("");
    return ret->restore ? 0 : -ENOMEM;
}

static int take_level(const char *value, enum hv_log_level *ret, struct hv_error **reterr)
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
    return complain(reterr, "log-level is error, warning, info or debug, not ", value);
}

static int take_units(const char *value, bool *ret, struct hv_error **reterr)
{
    if (strcmp(value, "auto") != 0 && strcmp(value, "no") != 0)
        return complain(reterr, "units is auto or no, not ", value);
    *ret = strcmp(value, "auto") == 0;
    return 0;
}

static int take_boot_id(const char *value, char **ret, struct hv_error **reterr)
{
    struct hv_guid guid;

    free(*ret);
    *ret = NULL;
    if (hv_guid_parse(value, &guid) < 0)
        return complain(reterr, "boot-id takes a UUID, not ", value);
    *ret = calloc(1, HV_GUID_TEXT_BYTES);
    if (!*ret)
        return -ENOMEM;
    hv_guid_format(&guid, *ret);
    return 0;
}

/* Where the worker program lies: beside us, installed, or in the build directory. */
static int find_worker(char **ret, struct hv_error **reterr)
{
    static const char *const places[] = { "vmwp", "../libexec/hvstack/vmwp", "../vmwp/vmwp" };
    char self[PATH_MAX], *slash;
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (length < 0)
        return complain(reterr, "Where this program lies cannot be told; use --worker", "");
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
    return complain(reterr, "There is no worker program; use --worker. Looked last at ", *ret);
}

static int take_option(int id, const char *value, struct vmms_options *ret,
                       struct hv_error **reterr)
{
    switch (id) {
    case OPTION_STATE_DIR: return take_path(value, &ret->state_dir, reterr);
    case OPTION_RUNTIME_DIR: return take_path(value, &ret->runtime_dir, reterr);
    case OPTION_WORKER: return take_path(value, &ret->worker, reterr);
    case OPTION_UNITS: return take_units(value, &ret->wants_units, reterr);
    case OPTION_LOG_LEVEL: return take_level(value, &ret->log_level, reterr);
    case OPTION_LISTEN: return take_listen(value, ret, reterr);
    case OPTION_KEEP_EVENTS:
        return take_number("keep-events", value, 1000, 100000000, &ret->events_kept, reterr);
    case OPTION_KEEP_DAYS:
        return take_number("keep-days", value, 1, 36500, &ret->days_kept, reterr);
    case OPTION_KEEP_BYTES:
        return take_number("keep-bytes", value, UINT64_C(1) << 24, UINT64_C(1) << 40,
                           &ret->bytes_kept, reterr);
    case OPTION_RESTORE: return take_restore(value, ret, reterr);
    case OPTION_BOOT_ID: return take_boot_id(value, &ret->boot_id, reterr);
    case OPTION_BUS: return take_bus(value, &ret->bus, reterr);
    default: return 0; /* read before */
    }
}

/* What else there could be, for who has mistyped. */
static int say_unknown(const char *section, const char *key, struct hv_error **reterr)
{
    char known[256] = "";
    bool has_section = false;
    size_t length = 0;

    for (size_t i = 0; i < HV_ARRAY_SIZE(settings); i++)
        has_section |= strcmp(settings[i].section, section) == 0;
    for (size_t i = 0; i < HV_ARRAY_SIZE(settings); i++) {
        const char *word = has_section ? settings[i].key : settings[i].section;

        if (has_section ? strcmp(settings[i].section, section) != 0
                        : i > 0 && strcmp(settings[i - 1].section, word) == 0)
            continue;
        length += (size_t)snprintf(known + length, sizeof(known) - length, "%s%s",
                                   length ? ", " : "", word);
    }
    return has_section ? hv_error_set(reterr, -EINVAL, "options.key",
                                      "There is no key \"%.64s\" in [%s]; there are: %s.", key,
                                      section, known)
                       : hv_error_set(reterr, -EINVAL, "options.section",
                                      "There is no section [%s]; there are: %s.", section, known);
}

static int take_setting(void *opaque, const char *section, const char *key, const char *value,
                        struct hv_error **reterr)
{
    for (size_t i = 0; i < HV_ARRAY_SIZE(settings); i++) {
        if (strcmp(settings[i].section, section) == 0 && strcmp(settings[i].key, key) == 0)
            return take_option((int)settings[i].option, value, opaque, reterr);
    }
    return say_unknown(section, key, reterr);
}

/* One pass over the command line; the first looks only for what comes before the file. */
static int read_words(int argc, char **argv, bool is_first, struct vmms_options *ret,
                      bool *ret_is_check, struct hv_error **reterr)
{
    bool has_listen = false;
    int id, r = 0;

    optind = 0;
    opterr = is_first;
    while (r == 0 && (id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (id == '?')
            return complain(reterr, "An option is wrong", "");
        if (!is_first && id == OPTION_LISTEN && !has_listen) {
            forget_listen(ret);
            has_listen = true;
        }
        if (!is_first)
            r = take_option(id, optarg, ret, reterr);
        else if (id == OPTION_CONFIG)
            r = take_path(optarg, &ret->config, reterr);
        else if (id == OPTION_VERSION || id == OPTION_HELP)
            return fputs(id == OPTION_HELP ? help : "vmmsd " HV_VERSION "\n", stdout) < 0 ? -EIO
                                                                                          : 1;
        *ret_is_check |= id == OPTION_CHECK_CONFIG;
    }
    if (r == 0 && !is_first && ret->restore && !*ret->restore && optind < argc)
        r = take_path(argv[optind++], &ret->restore, reterr);
    if (r == 0 && !is_first && optind < argc)
        r = complain(reterr, "An argument is not understood: ", argv[optind]);
    return r;
}

static int fill_in(struct vmms_options *ret, struct hv_error **reterr)
{
    int r = 0;

    if (!ret->state_dir)
        r = take_path("/var/lib/hvstack", &ret->state_dir, reterr);
    if (r == 0 && !ret->runtime_dir)
        r = take_path("/run/hvstack", &ret->runtime_dir, reterr);
    if (r == 0 && !ret->worker && !ret->restore)
        r = find_worker(&ret->worker, reterr);
    return r;
}

int vmms_options_read(int argc, char **argv, struct vmms_options *ret, struct hv_error **reterr)
{
    bool is_check = false;
    int r;

    *ret = (struct vmms_options){ .log_level = HV_LOG_INFO, .wants_units = true };
    r = read_words(argc, argv, true, ret, &is_check, reterr);
    if (r == 0 && ret->config)
        r = vmms_config_read(ret->config, take_setting, ret, reterr);
    if (r == 0)
        r = read_words(argc, argv, false, ret, &is_check, reterr);
    if (r == 0)
        r = fill_in(ret, reterr);
    if (r != 0 || !is_check)
        return r;
    (void)printf("The configuration is right%s%s.\n", ret->config ? ": " : "",
                 ret->config ? ret->config : "");
    return 1;
}

void vmms_options_take_listen(struct vmms_options *options, struct vmms_options *from)
{
    forget_listen(options);
    memcpy(options->listen, from->listen, sizeof(options->listen));
    options->n_listen = from->n_listen;
    from->n_listen = 0;
}

void vmms_options_fini(struct vmms_options *options)
{
    free(options->config);
    free(options->state_dir);
    free(options->bus);
    free(options->boot_id);
    forget_listen(options);
    free(options->runtime_dir);
    free(options->worker);
    free(options->restore);
    *options = (struct vmms_options){ 0 };
}
