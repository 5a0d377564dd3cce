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

static void print_setting(const struct api_settings *settings, size_t index)
{
    const char *name = api_record_settings.fields[index].name;
    hv_autofree char *text = setting_text(settings, index);

    if (text && strcmp(name, "name") != 0)
        adm_print_pair(name, "%s", text);
}

static void print_pending_device(const char *what, const struct api_device *device)
{
    if (device->kind == API_DEVICE_KIND_SCSI)
        adm_print_pair("when off", "%s scsi %" PRIu32, what, device->controller);
    else
        adm_print_pair("when off", "%s %s %" PRIu32 ":%" PRIu32 " %s", what,
                       api_enum_device_kind.values[device->kind], device->controller, device->lun,
                       device->path ? device->path : "");
}

static void print_pending(const struct api_pending_config *pending)
{
    for (size_t i = 0; i < api_record_settings.n_fields; i++) {
        hv_autofree char *text = setting_text(&pending->settings, i);

        if (text)
            adm_print_pair("when off", "%s = %s", api_record_settings.fields[i].name, text);
    }
    for (size_t i = 0; i < pending->n_add; i++)
        print_pending_device("add", &pending->add[i]);
    for (size_t i = 0; i < pending->n_remove; i++)
        print_pending_device("remove", &pending->remove[i]);
}

static void print_device(const struct api_device *device)
{
    const char *kind = api_enum_device_kind.values[device->kind];
    char title[32];

    if (device->kind == API_DEVICE_KIND_SCSI) {
        (void)snprintf(title, sizeof(title), "%s %" PRIu32, kind, device->controller);
        adm_print_pair(title, "%s", device->id);
        return;
    }
    (void)snprintf(title, sizeof(title), "%s %" PRIu32 ":%" PRIu32, kind, device->controller,
                   device->lun);
    if (device->path)
        adm_print_pair(title, "%s (%s%s)", device->path,
                       api_enum_image_format.values[device->format],
                       device->read_only ? ", read-only" : "");
    else
        adm_print_pair(title, "empty");
}

static void print_guest(const struct api_vm *vm)
{
    if (vm->has & API_VM_HAS_HEARTBEAT)
        adm_print_pair("heartbeat", "%s", api_enum_heartbeat.values[vm->heartbeat]);
    if (vm->guest_os && *vm->guest_os)
        adm_print_pair("guest", "%s", vm->guest_os);
    for (size_t i = 0; i < vm->n_guest_addresses; i++)
        adm_print_pair("address", "%s", vm->guest_addresses[i]);
}

/* What is out of the ordinary; the rest is told in other words. */
static void print_status(const struct api_vm *vm)
{
    static const char *const told[] = { "degraded", "predictive_failure", "merging_disks" };

    for (size_t i = 0; i < vm->n_operational_status; i++) {
        for (size_t k = 0; k < HV_ARRAY_SIZE(told); k++) {
            if (strcmp(vm->operational_status[i], told[k]) == 0)
                adm_print_pair("status", "%s", told[k]);
        }
    }
}

static void print_running(const struct api_vm *vm)
{
    char text[64];

    adm_format_duration(vm->on_time_ms, text, sizeof(text));
    adm_print_pair("up", "%s", text);
    if (vm->backend)
        adm_print_pair("runs on", "%s%s%s%s", vm->backend, vm->backend_reason ? " (" : "",
                       vm->backend_reason ? vm->backend_reason : "", vm->backend_reason ? ")" : "");
    if (vm->has & API_VM_HAS_WORKER_PID)
        adm_print_pair("worker", "process %" PRIu32, vm->worker_pid);
    if (vm->health != API_VM_HEALTH_OK)
        adm_print_pair("health", "%s", api_enum_vm_health.values[vm->health]);
    if (vm->critical_reason)
        adm_print_pair("critical", "%s", vm->critical_reason);
}

static void print_vm(const union api_result *result)
{
    const struct api_vm *vm = &result->vm;
    char text[64];

    adm_print_pair("name", "%s", vm->name);
    adm_print_pair("id", "%s", vm->id);
    adm_print_pair("state", "%s", adm_state_name(vm->state));
    if (vm->cause)
        adm_print_pair("why", "%s", vm->cause_message ? vm->cause_message : vm->cause);
    if (vm->has & API_VM_HAS_EXIT_STATUS)
        adm_print_pair("exit status", "%" PRIu32, vm->exit_status);
    if (vm->state != API_VM_STATE_OFF && vm->state != API_VM_STATE_SAVED)
        print_running(vm);
    print_status(vm);
    adm_format_time(vm->created_ms, text, sizeof(text));
    adm_print_pair("created", "%s", text);
    adm_format_time(vm->changed_ms, text, sizeof(text));
    adm_print_pair("changed", "%s", text);
    adm_print_pair("generation", "%" PRIu64, vm->generation);
    for (size_t i = 0; i < vm->n_groups; i++)
        adm_print_pair("group", "%s", vm->groups[i]);
    print_guest(vm);
    for (size_t i = 0; i < vm->n_devices; i++)
        print_device(&vm->devices[i]);
    for (size_t i = 0; i < api_record_settings.n_fields; i++)
        print_setting(&vm->settings, i);
    if (vm->has & API_VM_HAS_PENDING_CONFIG)
        print_pending(&vm->pending_config);
}

static void print_list(const char *label, char *const *texts, size_t count)
{
    char line[128] = "";
    size_t used = 0;

    for (size_t i = 0; i < count && used < sizeof(line); i++)
        used += (size_t)snprintf(line + used, sizeof(line) - used, "%s%s", i ? ", " : "", texts[i]);
    adm_print_pair(label, "%s", count ? line : "none");
}

static void print_security(const union api_result *result)
{
    const struct api_vm_security *s = &result->vm_security;

    adm_print_pair("name", "%s", s->name);
    adm_print_pair("worker", "process %" PRIu32, s->pid);
    adm_print_pair("user", "%" PRIu32 ", group %" PRIu32 ", other groups: %s", s->uid, s->gid,
                   *s->groups ? s->groups : "none");
    adm_print_pair("capabilities", s->capabilities ? "0x%" PRIx64 : "none", s->capabilities);
    adm_print_pair("new privileges", "%s", s->no_new_privs ? "never" : "by programs it runs");
    adm_print_pair(
        "system calls", "%" PRIu32 " of %" PRIu32 " threads bound to a list, %" PRIu32 " list%s",
        s->listed_threads, s->threads, s->seccomp_filters, s->seccomp_filters == 1 ? "" : "s");
    print_list("own namespaces", s->own_namespaces, s->n_own_namespaces);
    print_list("shared", s->shared_namespaces, s->n_shared_namespaces);
    adm_print_pair("root", "%s", s->root ? s->root : "-");
    adm_print_pair("Landlock", "%s", s->landlock);
    adm_print_pair("descriptors", "%" PRIu32, s->descriptors);
    adm_print_pair("cgroup", "%s", s->cgroup ? s->cgroup : "-");
}

int adm_cmd_show(struct adm *adm, int argc, char **argv)
{
    struct json_writer params = { 0 };
    bool is_security = argc == 3 && strcmp(argv[2], "--security") == 0;

    if ((argc != 2 && !is_security) || argv[1][0] == '-')
        return adm_usage("vm show", "One VM is expected, and no option but --security.");
    adm_begin_params(adm, &params, argv[1]);
    if (is_security)
        return adm_call(adm, API_METHOD_VM_SECURITY, adm_end_params(&params), print_security);
    return adm_call(adm, API_METHOD_VM_GET, adm_end_params(&params), print_vm);
}
