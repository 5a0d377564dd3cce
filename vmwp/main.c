/* SPDX-License-Identifier: Apache-2.0 */
/* vmwp: one process, one VM. */
#include "hvcore/partition.h"
#include "vmwp/worker/image.h"
#include "vmwp/worker/probe.h"
#include "vmwp/worker/run.h"
#include "vmwp/worker/vm.h"

#include <ctype.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
    "vmwp: runs one virtual machine in this process\n"
    "\n"
    "  vmwp --vm       as vmmsd starts it: descriptors 2 to 6 and up, see schemas/worker\n"
    "  vmwp --image    work on disk images, as vmmsd asks for it on descriptor 3\n"
    "  vmwp --probe    print what this host can do, as JSON\n"
    "  vmwp --run --kernel FILE [OPTION]...\n"
    "                  run a VM right here: COM1 on standard input and output\n"
    "  vmwp --help, --version\n"
    "\n"
    "Options of --run:\n"
    "  --kernel FILE           bzImage, ELF with a PVH note, or Multiboot 1 image\n"
    "  --initrd FILE           initial RAM disk\n"
    "  --cmdline TEXT          kernel command line\n"
    "  --cpus N                1 to 64 (1)\n"
    "  --memory SIZE           64M to 64G (512M)\n"
    "  --backend NAME          auto, kvm or soft (auto)\n"
    "  --debug-exit PORT       a write of V to this port ends with status (V << 1) | 1\n"
    "  --on-reset WHAT         stop or reset (stop)\n"
    "  --on-triple-fault WHAT  stop or reset (stop)\n"
    "  --timeout SECONDS       end after this time\n"
    "  --stats                 print counters on standard error at the end\n"
    "  --verbose               log on standard error\n"
    "On a terminal, Ctrl-] ends the VM.\n"
    "\n"
    "Exit status of --run: 0 the guest powered off; an odd one is the guest's debug exit;\n"
    "2 wrong arguments; 30 the VM could not be started; 32 triple fault; 34 the guest reset\n"
    "itself (with --on-reset stop); 36 internal error; 38 timeout; 40 ended from outside.\n";

enum option_code {
    OPTION_VM = 1,
    OPTION_IMAGE,
    OPTION_PROBE,
    OPTION_RUN,
    OPTION_HELP,
    OPTION_VERSION,
    OPTION_KERNEL,
    OPTION_INITRD,
    OPTION_CMDLINE,
    OPTION_CPUS,
    OPTION_MEMORY,
    OPTION_BACKEND,
    OPTION_DEBUG_EXIT,
    OPTION_ON_RESET,
    OPTION_ON_TRIPLE_FAULT,
    OPTION_TIMEOUT,
    OPTION_STATS,
    OPTION_VERBOSE,
};

/* clang-format off */
static const struct option options[] = {
    { "vm",              no_argument,       NULL, OPTION_VM },
    { "image",           no_argument,       NULL, OPTION_IMAGE },
    { "probe",           no_argument,       NULL, OPTION_PROBE },
    { "run",             no_argument,       NULL, OPTION_RUN },
    { "help",            no_argument,       NULL, OPTION_HELP },
    { "version",         no_argument,       NULL, OPTION_VERSION },
    { "kernel",          required_argument, NULL, OPTION_KERNEL },
    { "initrd",          required_argument, NULL, OPTION_INITRD },
    { "cmdline",         required_argument, NULL, OPTION_CMDLINE },
    { "cpus",            required_argument, NULL, OPTION_CPUS },
    { "memory",          required_argument, NULL, OPTION_MEMORY },
    { "backend",         required_argument, NULL, OPTION_BACKEND },
    { "debug-exit",      required_argument, NULL, OPTION_DEBUG_EXIT },
    { "on-reset",        required_argument, NULL, OPTION_ON_RESET },
    { "on-triple-fault", required_argument, NULL, OPTION_ON_TRIPLE_FAULT },
    { "timeout",         required_argument, NULL, OPTION_TIMEOUT },
    { "stats",           no_argument,       NULL, OPTION_STATS },
    { "verbose",         no_argument,       NULL, OPTION_VERBOSE },
    { NULL,              0,                 NULL, 0 },
};
/* clang-format on */

struct arguments {
    enum option_code mode; /* OPTION_VM to OPTION_VERSION, or 0 */
    bool has_run_option;
    struct wp_run_config run;
};

static int usage(const char *what, const char *value)
{
    (void)fprintf(stderr, "vmwp: %s%s%s\nvmwp --help shows the options.\n", what, value ? ": " : "",
                  value ? value : "");
    return -EINVAL;
}

/* A number in [min, max], decimal or 0x, with an optional binary suffix K, M, G (iB). */
static bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    static const char suffixes[] = "KMG";
    unsigned long long number;
    char *end;
    unsigned shift = 0;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    number = strtoull(text, &end, 0);
    if (errno != 0)
        return false;
    if (*end) {
        const char *suffix = strchr(suffixes, toupper((unsigned char)*end));

        if (!suffix || (strcmp(end + 1, "") != 0 && strcmp(end + 1, "iB") != 0))
            return false;
        shift = 10 * (unsigned)(suffix - suffixes + 1);
    }
    if (number > UINT64_MAX >> shift || number << shift < min || number << shift > max)
        return false;
    *ret = number << shift;
    return true;
}

static int set_fd(int *fd, const char *path)
{
    *fd = hv_close(*fd);
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0) {
        (void)fprintf(stderr, "vmwp: %s cannot be opened: %s\n", path, strerror(errno));
        return -EIO;
    }
    return 0;
}

static int set_number(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    return parse_number(text, min, max, ret) ? 0 : usage(name, text);
}

static int set_on_end(enum wp_on_end *ret, const char *text)
{
    if (strcmp(text, "stop") == 0)
        *ret = WP_ON_END_STOP;
    else if (strcmp(text, "reset") == 0)
        *ret = WP_ON_END_RESET;
    else
        return usage("not stop or reset", text);
    return 0;
}

static int set_cmdline(struct wp_definition *definition, const char *text)
{
    if (strlen(text) > WP_CMDLINE_MAX_BYTES)
        return usage("the kernel command line is longer than 2047 bytes", NULL);
    (void)snprintf(definition->cmdline, sizeof(definition->cmdline), "%s", text);
    return 0;
}

/* clang-format off */
static int set_run_option(struct wp_run_config *run, int code, const char *value)
{
    struct wp_definition *d = &run->definition;
    uint64_t n;
    int r = 0;

    switch (code) {
    case OPTION_KERNEL:          return set_fd(&d->kernel_fd, value);
    case OPTION_INITRD:          return set_fd(&d->initrd_fd, value);
    case OPTION_CMDLINE:         return set_cmdline(d, value);
    case OPTION_ON_RESET:        return set_on_end(&d->on_reset, value);
    case OPTION_ON_TRIPLE_FAULT: return set_on_end(&d->on_triple_fault, value);
    case OPTION_STATS:           run->wants_stats = true; return 0;
    case OPTION_VERBOSE:         run->is_verbose = true; return 0;
    case OPTION_BACKEND:
        return hv_backend_parse(value, &d->backend) < 0
                   ? usage("not a backend (auto, kvm, soft)", value) : 0;
    case OPTION_CPUS:
        r = set_number("not 1 to 64 processors", value, 1, HV_MAX_VPS, &n);
        d->cpu_count = r < 0 ? 0 : (unsigned)n;
        return r;
    case OPTION_MEMORY:
        return set_number("not a memory size from 64M to 64G", value, WP_MEMORY_MIN_BYTES,
                          WP_MEMORY_MAX_BYTES, &d->memory_bytes);
    case OPTION_DEBUG_EXIT:
        r = set_number("not a port", value, 1, UINT16_MAX, &n);
        d->debug_exit_port = r < 0 ? 0 : (uint16_t)n;
        return r;
    case OPTION_TIMEOUT:
        r = set_number("not a number of seconds", value, 1, 1000000, &n);
        run->timeout_s = r < 0 ? 0 : (unsigned)n;
        return r;
    default:
        return usage("wrong arguments", NULL);
    }
}
/* clang-format on */

static int parse(int argc, char **argv, struct arguments *ret)
{
    int code;

    while ((code = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (code == '?')
            return usage("wrong arguments", NULL);
        if (code <= OPTION_VERSION) {
            if (ret->mode)
                return usage("more than one mode", NULL);
            ret->mode = (enum option_code)code;
            continue;
        }
        ret->has_run_option = true;
        if (set_run_option(&ret->run, code, optarg) < 0)
            return -EINVAL;
    }
    if (optind != argc)
        return usage("not an option", argv[optind]);
    if (!ret->mode)
        return usage("say what to do", NULL);
    if (ret->has_run_option && ret->mode != OPTION_RUN)
        return usage("an option that only --run has", NULL);
    if (ret->mode == OPTION_RUN && ret->run.definition.kernel_fd < 0)
        return usage("--run wants --kernel FILE", NULL);
    return 0;
}

static int run_direct(struct wp_run_config *run)
{
    struct wp_definition *definition = &run->definition;
    int status;

    if (definition->backend != HV_BACKEND_SOFT)
        definition->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    status = wp_run(run);
    definition->kvm_fd = hv_close(definition->kvm_fd);
    definition->kernel_fd = hv_close(definition->kernel_fd);
    definition->initrd_fd = hv_close(definition->initrd_fd);
    return status;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {
        .run.definition = { .kernel_fd = -1,
                            .initrd_fd = -1,
                            .kvm_fd = -1,
                            .restore_fd = -1,
                            .cpu_count = 1,
                            .memory_bytes = UINT64_C(512) << 20 },
    };

    (void)signal(SIGPIPE, SIG_IGN);
    if (parse(argc, argv, &arguments) < 0)
        return WP_RUN_USAGE;
    switch (arguments.mode) {
    case OPTION_VM: return wp_vm_main(HV_VERSION);
    case OPTION_IMAGE: return wp_image_main(HV_VERSION);
    case OPTION_PROBE: return wp_probe_print(HV_VERSION);
    case OPTION_RUN: return run_direct(&arguments.run);
    case OPTION_VERSION: (void)printf("vmwp %s\n", HV_VERSION); return 0;
    default: (void)fputs(help, stdout); return 0;
    }
}
