/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks and guest of the fake worker.
 *
 * Words in the definition's cmdline: guest=notready|locked|refuse|ignore say how a shutdown is
 * taken, many (as much as a hostile worker can say of its guest). Lines typed into COM1: beat WORD,
 * os TEXT, ip ADDRESS, panic TEXT, ioerror ID, storm, garble, tell (what the definition says). What
 * is done is printed on COM1.
 */
#include "tests/lib/fake_worker.h"

#include "hvcore/base/own.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define ERROR "org.hvstack.Worker1.Error."

enum { MAX_DISKS = 300, MAX_PAIRS = 64, ACT_US = 100000 };

struct disk {
    char id[40];
    int fd; /* of the image; holds its lock */
};

static struct disk disks[MAX_DISKS];
static struct {
    char key[256], value[1100];
} pairs[MAX_PAIRS];
static char heartbeat[32] = "no_contact", os[200], address[200];
static bool is_reboot;

/* Disks */

static const char *text_of(const struct json_value *object, const char *key)
{
    const struct json_value *value = json_get(object, key);

    return value && value->type == JSON_STRING ? value->text : "";
}

static uint64_t number_of(const struct json_value *object, const char *key)
{
    uint64_t number = 0;

    if (json_get(object, key))
        (void)json_u64(json_get(object, key), &number);
    return number;
}

static struct disk *disk_of(const char *id)
{
    for (int i = 0; i < MAX_DISKS; i++) {
        if (strcmp(disks[i].id, id) == 0)
            return &disks[i];
    }
    return NULL;
}

static long long size_of(int fd)
{
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 ? (long long)st.st_size : -1;
}

static bool is_writable(int fd)
{
    return fd >= 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR;
}

static void take_disk(const struct json_value *value)
{
    const struct json_value *image = json_get(value, "chain")->first;
    struct disk *disk = disk_of("");

    (void)snprintf(disk->id, sizeof(disk->id), "%s", text_of(value, "id"));
    disk->fd = image ? (int)number_of(image, "fd") : -1;
}

void fake_guest_begin(void)
{
    for (const struct json_value *at = json_get(fake_definition(), "scsi")->first; at;
         at = at->next)
        take_disk(at);
}

static void tell_disk(const struct json_value *value)
{
    const struct json_value *image = json_get(value, "chain")->first;
    int fd = image ? (int)number_of(image, "fd") : -1;

    fake_print("disk %llu:%llu %s %s %lld %s %s\n",
               (unsigned long long)number_of(value, "controller"),
               (unsigned long long)number_of(value, "lun"), text_of(value, "kind"),
               text_of(value, "format"), size_of(fd), is_writable(fd) ? "rw" : "ro",
               image ? text_of(image, "path") : "-");
}

static void tell_definition(void)
{
    const struct json_value *services = json_get(fake_definition(), "services");

    for (const struct json_value *at = json_get(fake_definition(), "controllers")->first; at;
         at = at->next)
        fake_print("controller %llu %s\n", (unsigned long long)number_of(at, "number"),
                   text_of(at, "instance"));
    for (const struct json_value *at = json_get(fake_definition(), "scsi")->first; at;
         at = at->next)
        tell_disk(at);
    fake_print("services");
    for (const struct json_value *at = services->first; at; at = at->next)
        fake_print(" %s=%d", at->key, at->boolean);
    fake_print("\n");
}

/* The descriptor of the first image of an a(sh), kept; -1: there is none. */
static int keep_first(sd_bus_message *m)
{
    int fd, kept = -1;
    const char *path;

    (void)sd_bus_message_enter_container(m, 'a', "(sh)");
    while (sd_bus_message_read(m, "(sh)", &path, &fd) > 0) {
        if (kept < 0)
            kept = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    }
    (void)sd_bus_message_exit_container(m);
    return kept;
}

int fake_add_disk(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct disk *disk = disk_of("");
    const char *key, *type, *text;

    if (fake_intercept(m))
        return 1;
    (void)sd_bus_message_enter_container(m, 'a', "{sv}");
    while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
        (void)sd_bus_message_read(m, "s", &key);
        (void)sd_bus_message_peek_type(m, NULL, &type);
        if (strcmp(key, "id") == 0 && sd_bus_message_read(m, "v", "s", &text) >= 0)
            (void)snprintf(disk->id, sizeof(disk->id), "%s", text);
        else
            (void)sd_bus_message_skip(m, "v");
        (void)sd_bus_message_exit_container(m);
    }
    (void)sd_bus_message_exit_container(m);
    disk->fd = keep_first(m);
    fake_print("added %s %lld %s\n", disk->id, size_of(disk->fd),
               is_writable(disk->fd) ? "rw" : "ro");
    return sd_bus_reply_method_return(m, "");
}

int fake_remove_disk(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct disk *disk;
    const char *id;

    if (fake_intercept(m))
        return 1;
    (void)sd_bus_message_read(m, "s", &id);
    disk = disk_of(id);
    if (!disk)
        return sd_bus_reply_method_errorf(m, ERROR "NotFound", "no such disk");
    fake_print("removed %s\n", id);
    hv_close(disk->fd);
    *disk = (struct disk){ 0 };
    return sd_bus_reply_method_return(m, "");
}

int fake_change_medium(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    struct disk *disk;
    const char *id;

    if (fake_intercept(m))
        return 1;
    (void)sd_bus_message_read(m, "s", &id);
    disk = disk_of(id);
    if (!disk)
        return sd_bus_reply_method_errorf(m, ERROR "NotFound", "no such disk");
    hv_close(disk->fd);
    disk->fd = keep_first(m);
    fake_print("medium %s %lld\n", id, size_of(disk->fd));
    return sd_bus_reply_method_return(m, "");
}

/* The guest */

static int act(sd_event_source *source, uint64_t usec, void *userdata)
{
    if (!is_reboot)
        fake_stop("guest_power_off", 0);
    fake_change("running", "guest_reset", 0);
    return 0;
}

int fake_guest_shutdown(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *kind, *reason, *how = fake_word("guest=");
    int force;

    if (fake_intercept(m))
        return 1;
    (void)sd_bus_message_read(m, "sbs", &kind, &force, &reason);
    fake_print("%s force=%d reason=%s\n", kind, force, reason);
    if (how && strcmp(how, "notready") == 0)
        return sd_bus_reply_method_errorf(m, ERROR "GuestNotReady", "The service is not there.");
    if (how && strcmp(how, "locked") == 0 && !force)
        return sd_bus_reply_method_errorf(m, ERROR "GuestLocked", "The guest is locked.");
    if (how && strcmp(how, "refuse") == 0)
        return sd_bus_reply_method_errorf(m, ERROR "Failed", "The guest said no.");
    is_reboot = strcmp(kind, "reboot") == 0;
    if (!how || strcmp(how, "ignore") != 0)
        (void)sd_event_add_time_relative(fake_event(), NULL, CLOCK_MONOTONIC, ACT_US, 0, act, NULL);
    return sd_bus_reply_method_return(m, "");
}

/* As much as a hostile worker could say; or nothing. */
static void put_flood(sd_bus_message *m, const char *types, const char *contents, int count)
{
    (void)sd_bus_message_open_container(m, 'a', contents);
    for (int i = 0; i < (fake_word("many") ? count : 0); i++) {
        if (strcmp(types, "s") == 0)
            (void)sd_bus_message_append(m, "s", "10.0.0.1");
        else
            (void)sd_bus_message_append(m, types, "guest", "key", "value");
    }
}

int fake_get_guest(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    HV_CLEANUP(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

    if (fake_intercept(m))
        return 1;
    (void)sd_bus_message_new_method_return(m, &reply);
    (void)sd_bus_message_append(reply, "a{sv}", 5, "heartbeat", "s", heartbeat, "heartbeat_age_ms",
                                "t", (uint64_t)1234, "kvp_age_ms", "t", (uint64_t)77, "os", "s", os,
                                "nonsense", "s", "to be skipped");
    (void)sd_bus_message_append(reply, "a(ssu)", 3, "heartbeat", "ok", 0x30000u, "kvp",
                                "no_contact", 0u, "nonsense", "ok", 1u);
    put_flood(reply, "(sss)", "(sss)", 5000);
    (void)sd_bus_message_append(reply, "(sss)", "guest_intrinsic", "OSName", os);
    for (int i = 0; i < MAX_PAIRS; i++) {
        if (*pairs[i].key)
            (void)sd_bus_message_append(reply, "(sss)", "host", pairs[i].key, pairs[i].value);
    }
    (void)sd_bus_message_close_container(reply);
    put_flood(reply, "s", "s", 5000);
    if (*address)
        (void)sd_bus_message_append(reply, "s", address);
    (void)sd_bus_message_close_container(reply);
    return sd_bus_send(NULL, reply, NULL);
}

int fake_set_storage_hold(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    if (fake_intercept(m))
        return 1;
    return sd_bus_reply_method_return(m, "");
}

int fake_set_services(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *name;
    int on;

    if (fake_intercept(m))
        return 1;
    fake_print("switched");
    (void)sd_bus_message_enter_container(m, 'a', "{sb}");
    while (sd_bus_message_read(m, "{sb}", &name, &on) > 0)
        fake_print(" %s=%d", name, on);
    fake_print("\n");
    return sd_bus_reply_method_return(m, "");
}

int fake_set_pairs(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *key, *value;
    int at = 0;

    if (fake_intercept(m))
        return 1;
    memset(pairs, 0, sizeof(pairs));
    (void)sd_bus_message_enter_container(m, 'a', "(ss)");
    while (at < MAX_PAIRS && sd_bus_message_read(m, "(ss)", &key, &value) > 0) {
        (void)snprintf(pairs[at].key, sizeof(pairs[at].key), "%s", key);
        (void)snprintf(pairs[at].value, sizeof(pairs[at].value), "%s", value);
        at++;
    }
    if (at)
        fake_print("pairs %d\n", at);
    if (fake_word("kvp=fail"))
        return sd_bus_reply_method_errorf(m, ERROR "Failed", "The guest said no.");
    return sd_bus_reply_method_return(m, "b", fake_word("kvp=later") == NULL);
}

static int fill_progress(sd_bus_message *m, const char *text)
{
    return sd_bus_message_append(m, "tt", UINT64_C(1), UINT64_C(4));
}

static sd_bus_message *copying; /* one that goes on until it is cancelled */

int fake_copy_file(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *path, *how = fake_word("copy=");
    uint64_t bytes;
    uint32_t flags;
    char head[16] = "";
    int fd;

    if (fake_intercept(m))
        return 1;
    (void)sd_bus_message_read(m, "htsu", &fd, &bytes, &path, &flags);
    if (how && strcmp(how, "full") == 0)
        return sd_bus_reply_method_errorf(m, ERROR "DiskFull", "The guest has no room.");
    if (how && strcmp(how, "endless") == 0) {
        copying = sd_bus_message_ref(m);
        fake_print("copying\n");
        fake_signal("CopyProgress", fill_progress, "");
        return 1;
    }
    (void)!pread(fd, head, sizeof(head) - 1, 0);
    fake_print("copied %llu %s flags=%u %s\n", (unsigned long long)bytes, path, flags, head);
    return sd_bus_reply_method_return(m, "t", bytes);
}

int fake_cancel_copy(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    if (fake_intercept(m))
        return 1;
    fake_print("copy cancelled\n");
    if (copying)
        (void)sd_bus_reply_method_errorf(copying, ERROR "Cancelled", "It was cancelled.");
    copying = sd_bus_message_unref(copying);
    return sd_bus_reply_method_return(m, "");
}

int fake_type_text(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const char *text;

    if (fake_intercept(m))
        return 1;
    (void)sd_bus_message_read(m, "s", &text);
    fake_print("typed %s\n", text);
    return sd_bus_reply_method_return(m, "");
}

int fake_type_keys(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
    const void *codes;
    size_t count;

    if (fake_intercept(m))
        return 1;
    (void)sd_bus_message_read_array(m, 'y', &codes, &count);
    fake_print("keys");
    for (size_t i = 0; i < count; i++)
        fake_print(" %02x", ((const uint8_t *)codes)[i]);
    fake_print("\n");
    return sd_bus_reply_method_return(m, "");
}

/* Signals */

static int fill_guest(sd_bus_message *m, const char *text)
{
    int r = sd_bus_message_append(m, "a{sv}", 2, "heartbeat", "s", heartbeat, "os", "s", os);

    return r < 0 ? r : sd_bus_message_append(m, "as", *address ? 1 : 0, address);
}

static int fill_crash(sd_bus_message *m, const char *text)
{
    int r = sd_bus_message_append(m, "ttttt", (uint64_t)0xdead, (uint64_t)1, (uint64_t)2,
                                  (uint64_t)3, UINT64_MAX);

    return r < 0 ? r : sd_bus_message_append_array(m, 'y', text, strlen(text));
}

static int fill_error(sd_bus_message *m, const char *text)
{
    return sd_bus_message_append(m, "ss", text, "The host's disk is broken.");
}

/* Signals whose arguments are another's. */
static void garble(void)
{
    fake_signal("GuestChanged", fill_error, "x");
    fake_signal("GuestCrashed", fill_guest, "x");
    fake_signal("DeviceError", fill_crash, "x");
    fake_signal("StateChanged", fill_crash, "x");
    fake_signal("Nonsense", fill_guest, "x");
}

static bool take(const char *line, const char *word, char *ret, size_t room)
{
    size_t length = strlen(word);

    if (strncmp(line, word, length) != 0)
        return false;
    (void)snprintf(ret, room, "%s", line + length);
    return true;
}

void fake_guest_greet(void)
{
    fake_signal("GuestChanged", fill_guest, "");
}

void fake_guest_obey(const char *line)
{
    char text[200];

    if (strcmp(line, "reset") == 0) {
        (void)snprintf(heartbeat, sizeof(heartbeat), "no_contact");
        os[0] = address[0] = '\0';
    }
    if (take(line, "beat ", heartbeat, sizeof(heartbeat)) || take(line, "os ", os, sizeof(os)) ||
        take(line, "ip ", address, sizeof(address)))
        fake_signal("GuestChanged", fill_guest, "");
    else if (take(line, "panic ", text, sizeof(text)))
        fake_signal("GuestCrashed", fill_crash, text);
    else if (take(line, "ioerror ", text, sizeof(text)))
        fake_signal("DeviceError", fill_error, text);
    else if (strcmp(line, "garble") == 0)
        garble();
    else if (strcmp(line, "tell") == 0)
        tell_definition();
    for (int i = 0; strcmp(line, "storm") == 0 && i < 500; i++) {
        (void)snprintf(heartbeat, sizeof(heartbeat), "%s", i % 2 ? "ok" : "lost");
        fake_signal("GuestChanged", fill_guest, "");
    }
}
