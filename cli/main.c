/* SPDX-License-Identifier: Apache-2.0 */
/* hvadm: asks, prints, decides nothing. */
#include "cli/help.h"

#include "api/rpc/json.h"
#include "api/rpc/nearest.h"
#include "api/rpc/utf8.h"

#include <fcntl.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define JOB_HELP                                                                                   \
    "  --no-wait           print the job's number and leave it to itself\n"                        \
    "  --key KEY           the same call with the same key makes no second job\n"                  \
    "  --reason TEXT       why, kept with the job\n"                                               \
    "  --plan              check everything, change nothing\n"

enum { MAX_SENTENCE_HEAD = 400, MAX_SENTENCE_TAIL = 200, PATIENCE_MS = 60000 };

/* For what is said before all words were understood. */
static bool is_json_wanted;

/* clang-format off */
const struct adm_command adm_commands[] = {
    { "vm", "create", "NAME [OPTION...]", "make a VM",
      "  --cpus N            virtual processors (1 to 64, default 1)\n"
      "  --memory SIZE       memory: 512M, 2G (default 512M)\n"
      "  --kernel FILE       kernel to boot\n"
      "  --initrd FILE       initial RAM disk\n"
      "  --cmdline TEXT      the kernel's command line\n"
      "  --backend B         auto, kvm or soft (default auto)\n"
      "  --disk FILE[,...]   a disk; also ,read-only ,format=F ,controller=N ,lun=N\n"
      "  --disk new=FILE,size=SIZE[,parent=FILE]  a disk whose image is made for it\n"
      "  --dvd FILE[,...]    a DVD drive with a medium; --dvd '' without\n"
      "  --debug-exit PORT   I/O port on which a test kernel ends with a status\n"
      "  --auto-start WHEN   when the host boots: nothing, if-running or always\n"
      "  --notes TEXT        free text\n"
      "  --set KEY=VALUE     any setting by its name\n"
      "  --plan              check everything, change nothing\n", adm_cmd_create },
    { "vm", "list", "[--state STATE] [--name PATTERN] [--group GROUP] [--ids]", "list VMs",
      "  --state STATE       only those that are off, starting, running, stopping,\n"
      "                      paused, saving, saved\n"
      "  --name PATTERN      only those whose name matches (* and ?)\n"
      "  --group GROUP       only those of a group, also through management groups\n"
      "  --ids               with their ids\n", adm_cmd_list },
    { "vm", "show", "VM [--security]", "tell all about a VM",
      "  --security          what holds for its worker, as the kernel tells\n", adm_cmd_show },
    { "vm", "set", "VM KEY=VALUE... | VM --unstage [KEY...]", "change settings; KEY= puts a setting back to its default",
      "  --stage             what can only be changed while off waits until it is off\n"
      "  --unstage           drop what waits: of these settings, or all of it\n"
      "  --plan              check everything, change nothing\n", adm_cmd_set },
    { "vm", "rename", "VM NEW", "give a VM another name", NULL, adm_cmd_rename },
    { "vm", "delete", "VM...", "delete VMs that are off or saved",
      "  --plan              check everything, change nothing\n", adm_cmd_delete },
    { "vm", "start", "VM... | --group GROUP", "start VMs; saved ones go on where they were",
      "  --group GROUP       all VMs of a group, also through management groups\n"
      "  --plan              check everything, change nothing\n", adm_cmd_power },
    { "vm", "off", "VM... | --group GROUP", "turn VMs off at once, without asking the guest",
      "  --group GROUP       all VMs of a group, also through management groups\n"
      "  --plan              check everything, change nothing\n", adm_cmd_power },
    { "vm", "pause", "VM... | --group GROUP", "let VMs stand still",
      "  --group GROUP       all VMs of a group, also through management groups\n"
      "  --plan              check everything, change nothing\n", adm_cmd_power },
    { "vm", "resume", "VM... | --group GROUP", "let paused VMs run on",
      "  --group GROUP       all VMs of a group, also through management groups\n"
      "  --plan              check everything, change nothing\n", adm_cmd_power },
    { "vm", "reset", "VM... | --group GROUP", "reset VMs hard: they boot anew",
      "  --group GROUP       all VMs of a group, also through management groups\n"
      "  --plan              check everything, change nothing\n", adm_cmd_power },
    { "vm", "save", "VM... | --group GROUP", "save VMs to files; vm start goes on from there",
      "  --group GROUP       all VMs of a group, also through management groups\n"
      "  --no-wait           print the number of the job and return\n"
      "  --plan              check everything, change nothing\n", adm_cmd_power },
    { "vm", "discard-state", "VM... | --group GROUP", "throw saved states away; the VMs are off then",
      "  --group GROUP       all VMs of a group, also through management groups\n"
      "  --plan              check everything, change nothing\n", adm_cmd_power },
    { "vm", "shutdown", "VM... | --group GROUP [--force] [--timeout S]", "ask guests to shut down; returns when they are off",
      "  --group GROUP       all VMs of a group, also through management groups\n"
      "  --force             also when the guest is locked or has unsaved work\n"
      "  --timeout S         wait so long at most (default 120)\n"
      "  --reason TEXT       what the guest is told\n"
      "  --no-wait           return when the guest has accepted\n"
      "  --plan              check everything, change nothing\n", adm_cmd_shutdown },
    { "vm", "reboot", "VM... | --group GROUP [--force] [--timeout S]", "ask guests to restart; returns when they begin anew",
      "  --group GROUP       all VMs of a group, also through management groups\n"
      "  --force             also when the guest is locked or has unsaved work\n"
      "  --timeout S         wait so long at most (default 120)\n"
      "  --reason TEXT       what the guest is told\n"
      "  --no-wait           return when the guest has accepted\n"
      "  --plan              check everything, change nothing\n", adm_cmd_shutdown },
    { "vm", "add", "VM disk FILE | VM dvd [FILE] | VM scsi", "add a disk, a DVD drive or a SCSI controller",
      "  --controller N      at which SCSI controller, 0 to 3 (default: with room)\n"
      "  --lun N             at which place, 0 to 63 (default: the first free)\n"
      "  --read-only         the guest cannot write to it\n"
      "  --format F          raw, vhd or vhdx (default: by the file's name)\n"
      "  --stage             what can only be done while off waits until it is off\n"
      "  --plan              check everything, change nothing\n", adm_cmd_add },
    { "vm", "remove", "VM disk|dvd|scsi ID|C:L", "take a device out; its file stays",
      "  --stage             what can only be done while off waits until it is off\n"
      "  --plan              check everything, change nothing\n", adm_cmd_remove },
    { "vm", "insert", "VM ID|C:L FILE", "put a medium into a DVD drive",
      "  --plan              check everything, change nothing\n", adm_cmd_insert },
    { "vm", "eject", "VM ID|C:L", "take the medium out of a DVD drive",
      "  --plan              check everything, change nothing\n", adm_cmd_eject },
    { "vm", "type", "VM TEXT [--enter] | VM --ctrl-alt-del", "type on a VM's keyboard",
      "  --enter             and press Enter after it\n"
      "  --ctrl-alt-del      press Ctrl-Alt-Del\n", adm_cmd_type },
    { "vm", "console", "VM [--log] [--port N]", "sit down at a VM's serial port; Ctrl-] leaves",
      "  --log               print what was kept, and end\n"
      "  --port N            1 for COM1 (default), 2 for COM2\n"
      "  --new               only what comes from now on\n", adm_cmd_console },
    { "vm", "wait", "VM --for WHAT [--timeout S]", "wait until a VM is so",
      "  --for WHAT          running, paused, saved, off, heartbeat (its guest\n"
      "                      answers) or ip (its guest has an address)\n"
      "  --timeout S         give up after so many seconds, with exit status 5\n", adm_cmd_wait },
    { "vm", "stats", "[VM...]", "tell counters of running VMs", NULL, adm_cmd_stats },
    { "apply", "", "-f FILE [--yes]", "make things as a document says, as one transaction",
      "  -f, --file FILE     the document, JSON; - for standard input: which VMs and\n"
      "                      groups there shall be (vms, absent, groups, absent_groups)\n"
      "  -y, --yes           do not ask\n"
      "  --plan              show what would be done and how it is taken back, and end\n"
      "  --no-wait           tell the number of its job, where it is one, and end\n",
      adm_cmd_apply },
    { "vhd", "create", "FILE [--size SIZE] [OPTION...]", "make a disk image",
      "  --size SIZE         size of the disk: 20G (may be missing with --parent)\n"
      "  --type TYPE         fixed, dynamic or differencing (default dynamic)\n"
      "  --parent FILE       image whose changes it is to hold\n"
      "  --format F          raw, vhd or vhdx (default: by the name)\n"
      "  --block-size SIZE   the unit in which it grows\n"
      "  --sector-size N     512 or 4096\n"
      "  --physical-sector-size N  512 or 4096\n" JOB_HELP, adm_cmd_vhd },
    { "vhd", "info", "FILE [--format F]", "tell what an image is, and its chain of parents",
      "  --format F          raw, vhd or vhdx (default: by the name)\n", adm_cmd_vhd_info },
    { "vhd", "check", "FILE [--format F]", "look for damage in an image and its parents",
      "  --format F          raw, vhd or vhdx (default: by the name)\n" JOB_HELP, adm_cmd_vhd },
    { "vhd", "convert", "FILE NEW [OPTION...]", "copy an image into another format or type",
      "  --format F          of FILE: raw, vhd or vhdx (default: by the name)\n"
      "  --to-format F       of NEW (default: by the name)\n"
      "  --type TYPE         fixed or dynamic (default dynamic; raw is fixed)\n"
      "  --block-size SIZE   the unit in which it grows\n" JOB_HELP, adm_cmd_vhd },
    { "vhd", "resize", "FILE --size SIZE", "change the size of an image's disk",
      "  --size SIZE         the new size\n"
      "  --format F          raw, vhd or vhdx (default: by the name)\n" JOB_HELP, adm_cmd_vhd },
    { "vhd", "merge", "FILE [--into ANCESTOR]", "write an image into its parent, and remove it",
      "  --into ANCESTOR     an ancestor further up; those between are removed as well\n" JOB_HELP,
      adm_cmd_vhd },
    { "vhd", "compact", "FILE [--mode quick|full]", "give an image's unused space back",
      "  --mode MODE         quick: known to be unused; full: zeroes as well (default)\n" JOB_HELP,
      adm_cmd_vhd },
    { "vhd", "reparent", "FILE --parent FILE [--force]", "tell an image where its parent is",
      "  --parent FILE       the parent\n"
      "  --force             also when it is another one than FILE was made for\n" JOB_HELP,
      adm_cmd_vhd },
    { "job", "list", "[--active] [--state STATE] [--limit N]", "list jobs, the newest first",
      "  --active            only those that have not ended\n"
      "  --state STATE       queued, running, finishing, done, cancelled or failed\n"
      "  --limit N           the most jobs to list (default 100)\n", adm_cmd_job_list },
    { "job", "show", "JOB", "tell all about a job", NULL, adm_cmd_job },
    { "job", "wait", "JOB [--timeout S]", "wait for a job; its error's exit status is hvadm's",
      "  --timeout S         give up after so many seconds, with exit status 5\n", adm_cmd_job },
    { "job", "cancel", "JOB [--no-wait]", "stop a job; what it has half made is removed",
      "  --no-wait           do not wait until it has stopped\n"
      "  --plan              check everything, change nothing\n", adm_cmd_job },
    { "group", "create", "NAME [--management] [--notes TEXT]", "make a group of VMs, or one of groups",
      "  --management        it holds groups, and by them their VMs\n"
      "  --notes TEXT        free text\n"
      "  --plan              check everything, change nothing\n", adm_cmd_group_create },
    { "group", "list", "", "list groups", NULL, adm_cmd_group_list },
    { "group", "show", "GROUP", "tell all about a group, and who is in it", NULL, adm_cmd_group_show },
    { "group", "set", "GROUP name=NEW|notes=TEXT...", "give a group another name or other notes",
      "  --plan              check everything, change nothing\n", adm_cmd_group_set },
    { "group", "delete", "GROUP...", "delete groups; who is in them stays",
      "  --plan              check everything, change nothing\n", adm_cmd_group_delete },
    { "group", "add", "GROUP VM... | GROUP GROUP...", "put VMs into a group, groups into a management group",
      "  --plan              check everything, change nothing\n", adm_cmd_group_members },
    { "group", "remove", "GROUP VM... | GROUP GROUP...", "take VMs or groups out of a group",
      "  --plan              check everything, change nothing\n", adm_cmd_group_members },
    { "guest", "show", "VM", "tell what is known of a running VM's guest", NULL, adm_cmd_guest_show },
    { "guest", "kvp", "VM [add|set PAIR...] | VM rm KEY...", "list, give and take back key-value pairs",
      "  add PAIR...         give the guest new pairs, KEY=VALUE each\n"
      "  set PAIR...         change pairs that were given\n"
      "  rm KEY...           take pairs back\n", adm_cmd_guest_kvp },
    { "guest", "cp", "VM FILE PATH", "copy a file into the guest",
      "  --overwrite         replace a file that is there\n"
      "  --create-path       make missing directories\n" JOB_HELP, adm_cmd_guest_cp },
    { "host", "show", "", "tell what this machine can do, and which backend is used and why", NULL,
      adm_cmd_host_show },
    { "host", "ping", "", "tell whether the service answers", NULL, adm_cmd_host_ping },
    { "host", "backup", "", "make a backup of the service's database now", NULL,
      adm_cmd_host_backup },
    { "top", "", "[--interval S] [--sort KEY] [--once]",
      "watch this host's VMs, by what they use",
      "  --interval S        seconds between two looks (2)\n"
      "  --sort KEY          cpu (default), memory, disk, exits or name; keys change it\n"
      "  --once              print the table and end, as without a terminal\n", adm_cmd_top },
    { "api", "", "[NOUN | NAME]", "read the reference of the management API", NULL, adm_cmd_api },
    { "host", "stop-vms", "", "stop all VMs as if the host went down; returns when they are off",
      "Each VM is stopped as its setting auto.stop says, the last started first;\n"
      "one that does not stop within its auto.stop_timeout is stopped harder.\n", adm_cmd_host_stop_vms },
    { "complete", "", "[-- WORD...]", "tell shells what may stand in the place of the last word",
      "What stands before it was typed already. Each is a line; :files means names of\n"
      "files. Where no service answers, nothing is told of it, and soon.\n", adm_cmd_complete },
    { "events", "", "[--since N] [--limit N] [--follow]", "tell what happened",
      "  --since N           from this number on\n"
      "  --limit N           the most events to print (default: all)\n"
      "  --follow            go on as things happen\n", adm_cmd_events },
    { "remote", "init", "[--name NAME]...", "make this host's authority for remote clients, and listen",
      "  --name NAME         a further name or address that clients will use\n",
      adm_cmd_remote_init },
    { "remote", "show", "", "tell how this host is reached from afar", NULL, adm_cmd_remote_show },
    { "remote", "invite", "NAME --role ROLE [--vm VM]... [--group G]... [--ttl TIME]",
      "make a token with which somebody becomes a remote client",
      "  --role ROLE         viewer, operator or administrator\n"
      "  --vm VM             only this VM is seen; may be repeated\n"
      "  --group G           only VMs that are in this group are seen; may be repeated\n"
      "  --ttl TIME          how long the token is good: 30m, 2h, 7d (default 1h)\n",
      adm_cmd_remote_invite },
    { "remote", "list", "", "list who may call from afar", NULL, adm_cmd_remote_list },
    { "remote", "revoke", "NAME...", "refuse remote clients from now on; their connections end", NULL,
      adm_cmd_remote_revoke },
    { "remote", "renew", "[service] [--name NAME]...",
      "make a new certificate: the host's on it, from afar one's own",
      "  service             the host's, also from afar\n"
      "  --name NAME         a further host name or address of the host\n", adm_cmd_remote_renew },
    { "remote", "enroll", "HOST:PORT TOKEN", "become a client of another host, by a token from there",
      "  Key and certificates stand in ~/.config/hvstack/HOST_PORT: ca.pem, client.pem.\n",
      adm_cmd_remote_enroll },
};
/* clang-format on */
const size_t adm_command_count = HV_ARRAY_SIZE(adm_commands);

static void print_error(const struct api_error *error)
{
    hv_autofree char *message = adm_clean(error->message);
    hv_autofree char *hint = error->data.hint ? adm_clean(error->data.hint) : NULL;

    (void)fprintf(stderr, "hvadm: %s%s%s\n", message, hint ? " " : "", hint ? hint : "");
}

/* For programs: the object as the service gives it, on a line. */
static void print_json_error(const struct api_error *error)
{
    struct json_writer out = { 0 };
    hv_autofree char *text = NULL;

    api_error_write(error, &out);
    hv_assert(json_writer_take(&out, &text, NULL) == 0);
    (void)fprintf(stderr, "%s\n", text);
}

/* error: freed; NULL: out of memory. An exit status. */
static int say_error(struct api_error *error, bool is_json)
{
    int status = error ? api_error_info((int)error->code)->exit_status : 1;

    (void)fflush(stdout);
    if (is_json)
        print_json_error(error);
    else if (!error)
        (void)fprintf(stderr, "hvadm: out of memory\n");
    else
        print_error(error);
    api_error_free(error);
    return status;
}

int adm_fail(const struct adm *adm, struct api_error *error)
{
    return say_error(error, adm->is_json);
}

/* What was typed stands in sentences, and may be long or no text for a terminal. */
static char *shorten(char *clean)
{
    size_t length = strlen(clean), tail = length - MAX_SENTENCE_TAIL, head = MAX_SENTENCE_HEAD;
    char *text;

    if (length <= MAX_SENTENCE_HEAD + MAX_SENTENCE_TAIL)
        return clean;
    while (((unsigned char)clean[head] & 0xc0) == 0x80)
        head--;
    while (((unsigned char)clean[tail] & 0xc0) == 0x80)
        tail++;
    hv_assert(asprintf(&text, "%.*s[...]%s", (int)head, clean, clean + tail) > 0);
    free(clean);
    return text;
}

int adm_usage(const char *verb, const char *format, ...)
{
    struct api_error *error = NULL;
    hv_autofree char *text = NULL;
    va_list args;

    va_start(args, format);
    text = shorten(adm_clean_text(format, args));
    va_end(args);
    (void)api_error_set(&error, API_E_INVALID_PARAMETER, "client.usage", NULL, "%s", text);
    if (error)
        api_error_hint(error, "See hvadm help%s%s.", *verb ? " " : "", verb);
    (void)say_error(error, is_json_wanted);
    return ADM_USAGE;
}

const char *adm_refused_word(char *const *argv)
{
    const char *next = argv[optind];
    /* Of letters behind one dash it reads one after the other, and goes on after the last. */
    bool is_among_letters =
        next && next[0] == '-' && next[1] && next[1] != '-' && optopt && strchr(next + 1, optopt);

    return is_among_letters ? next : argv[optind - 1];
}

int adm_bad_option(const char *verb, char *const *argv)
{
    return adm_usage(verb,
                     "The option %s is not known or lacks its value; a name that begins with a "
                     "dash stands after --.",
                     adm_refused_word(argv));
}

int adm_read_words(const char *verb, int *argc, char ***argv)
{
    static const struct option none[] = { { 0 } };

    opterr = 0;
    if (getopt_long(*argc, *argv, "", none, NULL) != -1)
        return adm_bad_option(verb, *argv);
    *argc -= optind - 1;
    *argv += optind - 1;
    return 0;
}

int adm_connect(struct adm *adm)
{
    struct api_error *error = NULL;

    if (adm->client)
        return 0;
    return api_client_open(adm->address, &adm->client, &error) < 0 ? adm_fail(adm, error) : 0;
}

void adm_put_bounds(const struct adm *adm, struct json_writer *out)
{
    if (adm->key) {
        json_key(out, "idempotency_key");
        json_put_string(out, adm->key);
    }
    if (adm->deadline_ms) {
        json_key(out, "deadline_ms");
        json_put_u64(out, adm->deadline_ms);
    }
}

void adm_begin_params(const struct adm *adm, struct json_writer *out, const char *vm)
{
    json_begin_object(out);
    if (vm) {
        json_key(out, "vm");
        json_put_string(out, vm);
    }
    if (adm->is_plan) {
        json_key(out, "plan");
        json_put_bool(out, true);
    }
    if (adm->is_queue) {
        json_key(out, "queue");
        json_put_bool(out, true);
    }
    if (adm->plan_id) {
        json_key(out, "plan_id");
        json_put_string(out, adm->plan_id);
    }
    adm_put_bounds(adm, out);
}

char *adm_end_params(struct json_writer *out)
{
    char *text;

    json_end_object(out);
    hv_assert(json_writer_take(out, &text, NULL) == 0);
    return text;
}

/* A plan that is refused fails as the call would. */
static int fail_refused(const struct adm *adm, enum api_method method, union api_result *result)
{
    struct api_error *error = adm_plan_error(adm_plan_of(method, result));

    if (!error)
        return 0;
    api_record_fini(api_methods[method].result, result);
    return adm_fail(adm, error);
}

int adm_get(struct adm *adm, enum api_method method, char *params, union api_result *ret)
{
    struct api_error *error = NULL;
    int r = adm_connect(adm);

    if (r == 0 && api_client_get(adm->client, method, params, ret, &error) < 0)
        r = adm_fail(adm, error);
    else if (r == 0)
        r = fail_refused(adm, method, ret);
    free(params);
    return r;
}

/* Of a plan that was printed as it is, or NULL. */
static int json_status(const struct json_value *plan)
{
    const struct json_value *errors = json_get(plan, "errors");
    uint64_t code;

    if (!errors || !errors->first || json_u64(json_get(errors->first, "code"), &code) < 0)
        return 0;
    return api_error_info((int)code)->exit_status;
}

static int call_json(struct adm *adm, enum api_method method, const char *params)
{
    HV_CLEANUP(api_reply_fini) struct api_reply reply = { 0 };
    struct api_error *error = NULL;
    int r = adm_connect(adm);

    if (r)
        return r;
    if (api_client_call(adm->client, method, params, &reply, &error) < 0)
        return adm_fail(adm, error);
    adm_print_json(reply.result);
    return json_status(json_get(reply.result, "plan"));
}

int adm_call(struct adm *adm, enum api_method method, char *params,
             void (*print)(const union api_result *result))
{
    union api_result result;
    int r;

    if (adm->is_json) {
        r = call_json(adm, method, params);
        free(params);
        return r;
    }
    r = adm_get(adm, method, params, &result);
    if (r)
        return r;
    if (adm->is_plan && adm_plan_of(method, &result))
        adm_print_plan(adm_plan_of(method, &result));
    else if (print)
        print(&result);
    api_record_fini(api_methods[method].result, &result);
    return 0;
}

static bool take_flag(struct adm *adm, const char *word)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {
        { "--json", &adm->is_json },
        { "--plan", &adm->is_plan },
        { "--no-wait", &adm->is_no_wait },
        { "--queue", &adm->is_queue },
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(flags); i++) {
        if (strcmp(word, flags[i].name) == 0)
            return *flags[i].flag = true;
    }
    return false;
}

/* "--NAME VALUE" or "--NAME=VALUE" at argv[at]. Returns how many words that are, 0: it is not that
 * option. */
static int read_valued(const char *name, char *const *argv, int at, const char **ret)
{
    size_t length = strlen(name);
    char end = strncmp(argv[at], name, length) == 0 ? argv[at][length] : 'x';

    if (end == '=')
        *ret = argv[at] + length + 1;
    else if (!end)
        *ret = argv[at + 1] ? argv[at + 1] : "";
    return end == '=' ? 1 : end ? 0 : 2;
}

/* Returns how many words were taken, or -ADM_USAGE. */
static int take_valued(struct adm *adm, char *const *argv, int at)
{
    const char *patience = NULL, *deadline = NULL;
    const struct {
        const char *name, *what;
        const char **value;
    } options[] = {
        { "--connect", "an address", &adm->address },
        { "--plan-id", "the id of a plan", &adm->plan_id },
        { "--idempotency-key", "a key", &adm->key },
        { "--patience", "a number of seconds", &patience },
        { "--deadline", "a number of seconds", &deadline },
    };
    int count = 0;

    for (size_t i = 0; !count && i < HV_ARRAY_SIZE(options); i++) {
        count = read_valued(options[i].name, argv, at, options[i].value);
        if (count && !**options[i].value)
            return -adm_usage("", "%s needs %s.", options[i].name, options[i].what);
    }
    if (patience && !adm_parse_seconds(patience, &adm->patience_ms))
        return -adm_usage("", "--patience is a number of seconds, not \"%s\".", patience);
    if (deadline && (!adm_parse_seconds(deadline, &adm->deadline_ms) || !adm->deadline_ms))
        return -adm_usage("", "--deadline is a number of seconds, not \"%s\".", deadline);
    return count;
}

/* Options that may stand anywhere before "--": taken out of argv. Returns an exit status. */
static int take_globals(struct adm *adm, int *argc, char **argv)
{
    int kept = 1, taken;

    for (int i = 1; i < *argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            while (i < *argc)
                argv[kept++] = argv[i++];
            break;
        }
        if (take_flag(adm, argv[i]))
            continue;
        taken = take_valued(adm, argv, i);
        if (taken < 0)
            return -taken;
        if (taken)
            i += taken - 1;
        else
            argv[kept++] = argv[i];
    }
    argv[kept] = NULL;
    *argc = kept;
    return 0;
}

static int no_such_command(const char *noun, const char *verb)
{
    struct nearest nearest;
    bool is_noun = false;

    for (size_t i = 0; i < adm_command_count; i++)
        is_noun = is_noun || strcmp(adm_commands[i].noun, noun) == 0;
    nearest_init(&nearest, is_noun && verb ? verb : noun);
    for (size_t i = 0; i < adm_command_count; i++) {
        if (!is_noun)
            nearest_offer(&nearest, adm_commands[i].noun);
        else if (verb && strcmp(adm_commands[i].noun, noun) == 0)
            nearest_offer(&nearest, adm_commands[i].verb);
    }
    if (is_noun && !verb)
        return adm_usage(noun, "What about %s? A verb is missing.", noun);
    return adm_usage(is_noun ? noun : "", "There is no \"%s%s%s\"%s%s%s.", noun, is_noun ? " " : "",
                     is_noun ? verb : "", nearest.count ? "; perhaps " : "",
                     nearest.count ? nearest.names[0] : "", nearest.count ? " was meant" : "");
}

static int dispatch(struct adm *adm, int argc, char **argv)
{
    for (size_t i = 0; i < adm_command_count; i++) {
        const struct adm_command *command = &adm_commands[i];
        int words = *command->verb ? 2 : 1;

        if (strcmp(command->noun, argv[1]) != 0)
            continue;
        if (words == 2 && argc > 2 && strcmp(argv[2], "--help") == 0)
            return adm_help(adm, command->noun, NULL);
        if (words == 2 && (argc < 3 || strcmp(command->verb, argv[2]) != 0))
            continue;
        for (int at = words + 1; at < argc && strcmp(argv[at], "--") != 0; at++) {
            if (strcmp(argv[at], "--help") == 0)
                return adm_help(adm, command->noun, *command->verb ? command->verb : NULL);
        }
        return command->run(adm, argc - words, argv + words);
    }
    return no_such_command(argv[1], argc > 2 ? argv[2] : NULL);
}

/* What travels is JSON: a word that isn't text would arrive as another one. */
static int refuse_no_text(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!utf8_is_valid(argv[i], strlen(argv[i])))
            return adm_usage("", "Word %d of the command is not valid UTF-8.", i);
    }
    return 0;
}

/* The socket is root's; who may not open it may still have rights from polkit. */
static const char *default_address(void)
{
    return access("/run/hvstack/vmms.sock", W_OK) < 0 && errno == EACCES
               ? "dbus:system"
               : "unix:/run/hvstack/vmms.sock";
}

/* What could not be written must not look like success. */
static int finish_output(int status)
{
    bool has_failed = ferror(stdout) != 0;

    errno = 0;
    if (fflush(stdout) == 0 && !has_failed)
        return status;
    (void)fprintf(stderr, "hvadm: The output cannot be written%s%s.\n", errno ? ": " : "",
                  errno ? strerror(errno) : "");
    return status ? status : 1;
}

/* A connection must not take the place of an output that is closed, and be written to. */
static void fill_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)open("/dev/null", (fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
    }
}

static bool has_json(char *const *argv)
{
    while (*++argv && strcmp(*argv, "--") != 0) {
        if (strcmp(*argv, "--json") == 0)
            return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    const char *address = getenv("HVADM_CONNECT");
    struct adm adm = { .address = address && *address ? address : default_address(),
                       .patience_ms = PATIENCE_MS };
    int status;

    fill_descriptors();
    (void)setlocale(LC_CTYPE, "C.UTF-8"); /* which characters are how wide; nothing else */
    is_json_wanted = has_json(argv);
    status = refuse_no_text(argc, argv);
    if (!status)
        status = take_globals(&adm, &argc, argv);
    if (status)
        return status;
    if (argc < 2)
        return adm_usage("", "What is to be done?");
    if (strcmp(argv[1], "--version") == 0)
        (void)puts("hvadm " HV_VERSION);
    else if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0)
        status = adm_help(&adm, argc > 2 ? argv[2] : NULL, argc > 3 ? argv[3] : NULL);
    else
        status = dispatch(&adm, argc, argv);
    api_client_close(adm.client);
    return finish_output(status);
}
