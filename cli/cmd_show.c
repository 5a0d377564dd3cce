/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/adm.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A setting's value for people, freed by the caller; NULL: it is not given. */
static char *setting_text(const struct api_settings *settings, size_t index)
{
    const struct api_field *field = &api_record_settings.fields[index];
    const char *at = (const char *)settings + field->offset, *word = NULL;
    char text[64] = "";

    if (!api_record_has(field, index, settings))
        return NULL;
    switch (field->kind) {
    case API_KIND_U32: (void)snprintf(text, sizeof(text), "%" PRIu32, *(const uint32_t *)at); break;
    case API_KIND_U64:
        if (field->is_bytes)
            adm_format_bytes(*(const uint64_t *)at, text, sizeof(text));
        else
            (void)snprintf(text, sizeof(text), "%" PRIu64, *(const uint64_t *)at);
        break;
    case API_KIND_ENUM: word = field->enumeration->values[*(const int *)at]; break;
    case API_KIND_BOOL: word = *(const bool *)at ? "true" : "false"; break;
    case API_KIND_TEXT: word = **(char *const *)at ? *(char *const *)at : "-"; break;
    default: break;
    }
    return strdup(word ? word : text);
}

static void print_setting(struct adm_sheet *out, const struct api_settings *settings, size_t index)
{
    const char *name = api_record_settings.fields[index].name;
    hv_autofree char *text = setting_text(settings, index);

    if (text && strcmp(name, "name") != 0)
        adm_put_pair(out, name, "%s", text);
}

static void print_pending_device(struct adm_sheet *out, const char *what,
                                 const struct api_device *device)
{
    if (device->kind == API_DEVICE_KIND_SCSI)
        adm_put_pair(out, "when off", "%s scsi %" PRIu32, what, device->controller);
    else
        adm_put_pair(out, "when off", "%s %s %" PRIu32 ":%" PRIu32 " %s", what,
                     api_enum_device_kind.values[device->kind], device->controller, device->lun,
                     device->path ? device->path : "");
}

static void print_pending(struct adm_sheet *out, const struct api_pending_config *pending)
{
    for (size_t i = 0; i < api_record_settings.n_fields; i++) {
        hv_autofree char *text = setting_text(&pending->settings, i);

        if (text)
            adm_put_pair(out, "when off", "%s = %s", api_record_settings.fields[i].name, text);
    }
    for (size_t i = 0; i < pending->n_add; i++)
        print_pending_device(out, "add", &pending->add[i]);
    for (size_t i = 0; i < pending->n_remove; i++)
        print_pending_device(out, "remove", &pending->remove[i]);
}

static void print_device(struct adm_sheet *out, const struct api_device *device)
{
    const char *kind = api_enum_device_kind.values[device->kind];
    char title[32];

    if (device->kind == API_DEVICE_KIND_SCSI) {
        (void)snprintf(title, sizeof(title), "%s %" PRIu32, kind, device->controller);
        adm_put_pair(out, title, "%s", device->id);
        return;
    }
    (void)snprintf(title, sizeof(title), "%s %" PRIu32 ":%" PRIu32, kind, device->controller,
                   device->lun);
    if (device->path)
        adm_put_pair(out, title, "%s (%s%s)", device->path,
                     api_enum_image_format.values[device->format],
                     device->read_only ? ", read-only" : "");
    else
        adm_put_pair(out, title, "empty");
}

static void print_guest(struct adm_sheet *out, const struct api_vm *vm)
{
    if (vm->has & API_VM_HAS_HEARTBEAT)
        adm_put_pair(out, "heartbeat", "%s", api_enum_heartbeat.values[vm->heartbeat]);
    if (vm->guest_os && *vm->guest_os)
        adm_put_pair(out, "guest", "%s", vm->guest_os);
    for (size_t i = 0; i < vm->n_guest_addresses; i++)
        adm_put_pair(out, "address", "%s", vm->guest_addresses[i]);
}

/* What is out of the ordinary; the rest is told in other words. */
static void print_status(struct adm_sheet *out, const struct api_vm *vm)
{
    static const char *const told[] = { "degraded", "predictive_failure", "merging_disks" };

    for (size_t i = 0; i < vm->n_operational_status; i++) {
        for (size_t k = 0; k < HV_ARRAY_SIZE(told); k++) {
            if (strcmp(vm->operational_status[i], told[k]) == 0)
                adm_put_pair(out, "status", "%s", told[k]);
        }
    }
}

static void print_running(struct adm_sheet *out, const struct api_vm *vm)
{
    char text[64];

    adm_format_duration(vm->on_time_ms, text, sizeof(text));
    adm_put_pair(out, "up", "%s", text);
    if (vm->backend)
        adm_put_pair(out, "runs on", "%s%s%s%s", vm->backend, vm->backend_reason ? " (" : "",
                     vm->backend_reason ? vm->backend_reason : "", vm->backend_reason ? ")" : "");
    if (vm->has & API_VM_HAS_WORKER_PID)
        adm_put_pair(out, "worker", "process %" PRIu32, vm->worker_pid);
    if (vm->health != API_VM_HEALTH_OK)
        adm_put_pair(out, "health", "%s", api_enum_vm_health.values[vm->health]);
    if (vm->critical_reason)
        adm_put_pair(out, "critical", "%s", vm->critical_reason);
}

static void print_vm(const union api_result *result)
{
    struct adm_sheet *out = adm_sheet_new(NULL, 0);
    const struct api_vm *vm = &result->vm;
    char text[64];

    adm_put_pair(out, "name", "%s", vm->name);
    adm_put_pair(out, "id", "%s", vm->id);
    adm_put_pair(out, "state", "%s", adm_state_name(vm->state));
    if (vm->cause)
        adm_put_pair(out, "why", "%s", vm->cause_message ? vm->cause_message : vm->cause);
    if (vm->has & API_VM_HAS_EXIT_STATUS)
        adm_put_pair(out, "exit status", "%" PRIu32, vm->exit_status);
    if (vm->state != API_VM_STATE_OFF && vm->state != API_VM_STATE_SAVED)
        print_running(out, vm);
    print_status(out, vm);
    adm_format_time(vm->created_ms, text, sizeof(text));
    adm_put_pair(out, "created", "%s", text);
    adm_format_time(vm->changed_ms, text, sizeof(text));
    adm_put_pair(out, "changed", "%s", text);
    adm_put_pair(out, "generation", "%" PRIu64, vm->generation);
    for (size_t i = 0; i < vm->n_groups; i++)
        adm_put_pair(out, "group", "%s", vm->groups[i]);
    print_guest(out, vm);
    for (size_t i = 0; i < vm->n_devices; i++)
        print_device(out, &vm->devices[i]);
    for (size_t i = 0; i < api_record_settings.n_fields; i++)
        print_setting(out, &vm->settings, i);
    if (vm->has & API_VM_HAS_PENDING_CONFIG)
        print_pending(out, &vm->pending_config);
    adm_sheet_print(out);
}

static void print_list(struct adm_sheet *out, const char *label, char *const *texts, size_t count)
{
    char line[128] = "";
    size_t used = 0;

    for (size_t i = 0; i < count && used < sizeof(line); i++)
        used += (size_t)snprintf(line + used, sizeof(line) - used, "%s%s", i ? ", " : "", texts[i]);
    adm_put_pair(out, label, "%s", count ? line : "none");
}

static void print_security(const union api_result *result)
{
    struct adm_sheet *out = adm_sheet_new(NULL, 0);
    const struct api_vm_security *s = &result->vm_security;

    adm_put_pair(out, "name", "%s", s->name);
    adm_put_pair(out, "worker", "process %" PRIu32, s->pid);
    adm_put_pair(out, "user", "%" PRIu32 ", group %" PRIu32 ", other groups: %s", s->uid, s->gid,
                 *s->groups ? s->groups : "none");
    adm_put_pair(out, "capabilities", s->capabilities ? "0x%" PRIx64 : "none", s->capabilities);
    adm_put_pair(out, "new privileges", "%s", s->no_new_privs ? "never" : "by programs it runs");
    adm_put_pair(out, "system calls",
                 "%" PRIu32 " of %" PRIu32 " threads bound to a list, %" PRIu32 " list%s",
                 s->listed_threads, s->threads, s->seccomp_filters,
                 s->seccomp_filters == 1 ? "" : "s");
    print_list(out, "own namespaces", s->own_namespaces, s->n_own_namespaces);
    print_list(out, "shared", s->shared_namespaces, s->n_shared_namespaces);
    adm_put_pair(out, "root", "%s", s->root ? s->root : "-");
    adm_put_pair(out, "Landlock", "%s", s->landlock);
    adm_put_pair(out, "descriptors", "%" PRIu32, s->descriptors);
    adm_put_pair(out, "cgroup", "%s", s->cgroup ? s->cgroup : "-");
    adm_sheet_print(out);
}

int adm_cmd_show(struct adm *adm, int argc, char **argv)
{
    static const struct option names[] = { { "security", no_argument, NULL, 's' }, { 0 } };
    struct json_writer params = { 0 };
    bool is_security = false;
    int id;

    opterr = 0;
    while ((id = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (id != 's')
            return adm_bad_option("vm show", argv);
        is_security = true;
    }
    if (argc - optind != 1)
        return adm_usage("vm show", "One VM is expected.");
    adm_begin_params(adm, &params, argv[optind]);
    if (is_security)
        return adm_call(adm, API_METHOD_VM_SECURITY, adm_end_params(&params), print_security);
    return adm_call(adm, API_METHOD_VM_GET, adm_end_params(&params), print_vm);
}
