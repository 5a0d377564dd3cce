/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/worker/services.h"

#include "vmwp/state/parts.h"

#include <string.h>

struct wp_services {
    struct hv_partition *partition;
    struct wp_loop *loop;
    struct ic_services *ic;
    uv_timer_t *alarm; /* of its own life: the loop closes it */
};

static uint64_t now_ns(void *opaque)
{
    return hv_clock_monotonic_ns();
}

static uint64_t realtime_ns(void *opaque)
{
    return hv_clock_realtime_ns();
}

static uint64_t reference_ticks(void *opaque)
{
    struct wp_services *services = opaque;

    return hv_partition_now_ns(services->partition) / 100;
}

static void on_alarm(uv_timer_t *alarm)
{
    struct wp_services *services = alarm->data;

    ic_services_due(services->ic);
}

/* libuv counts in milliseconds from its own idea of now: rounded up, it never comes early. */
static void set_alarm(void *opaque, uint64_t deadline_ns)
{
    struct wp_services *services = opaque;
    uint64_t now = hv_clock_monotonic_ns();
    uint64_t left = deadline_ns > now ? deadline_ns - now : 0;

    (void)uv_timer_stop(services->alarm);
    if (deadline_ns == UINT64_MAX)
        return;
    uv_update_time(&services->loop->uv);
    (void)uv_timer_start(services->alarm, on_alarm, (left + HV_NS_PER_MS - 1) / HV_NS_PER_MS, 0);
}

static const struct ic_time_ops time_ops = {
    .now_ns = now_ns,
    .set_alarm = set_alarm,
    .realtime_ns = realtime_ns,
    .reference_ticks = reference_ticks,
};

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

static int make_alarm(struct wp_services *services)
{
    services->alarm = calloc(1, sizeof(*services->alarm));
    if (!services->alarm)
        return -ENOMEM;
    (void)uv_timer_init(&services->loop->uv, services->alarm);
    services->alarm->data = services;
    return 0;
}

static int make_ic(struct wp_services *services, const struct wp_services_config *config)
{
    const struct ic_services_config ic = {
        .server = config->server,
        .log = config->log,
        .enabled = config->enabled,
        .time = &time_ops,
        .time_opaque = services,
        .has_time_samples = config->has_time_samples,
        .host_pairs = config->host_pairs,
        .n_host_pairs = config->n_host_pairs,
        .changed = config->changed,
        .opaque = config->opaque,
    };

    return ic_services_new(&ic, &services->ic);
}

int wp_services_new(const struct wp_services_config *config, struct wp_services **ret,
                    struct hv_error **reterr)
{
    struct wp_services *services = calloc(1, sizeof(*services));
    int r;

    if (!services)
        return -ENOMEM;
    services->loop = config->loop;
    services->partition = config->partition;
    r = make_alarm(services);
    if (r == 0)
        r = make_ic(services, config);
    if (r < 0) {
        (void)wp_services_free(services);
        return hv_error_set(reterr, r, "vm.services",
                            "The VM's integration services cannot be offered: %s.", strerror(-r));
    }
    wp_services_pause(services);
    *ret = services;
    return 0;
}

struct wp_services *wp_services_free(struct wp_services *services)
{
    if (!services)
        return NULL;
    if (services->ic) {
        ic_services_revoke(services->ic);
        ic_services_free(services->ic);
    }
    if (services->alarm)
        uv_close((uv_handle_t *)services->alarm, on_closed);
    free(services);
    return NULL;
}

struct ic_services *wp_services_ic(struct wp_services *services)
{
    return services->ic;
}

void wp_services_pause(struct wp_services *services)
{
    ic_services_ops.pause(services->ic);
}

void wp_services_resume(struct wp_services *services)
{
    ic_services_ops.resume(services->ic);
}

void wp_services_reset(struct wp_services *services)
{
    ic_services_ops.reset(services->ic);
}

int wp_services_save(struct wp_services *services, struct state_writer *writer)
{
    uint32_t enabled = ic_services_enabled(services->ic);
    struct hv_fields fields = hv_fields_writer();
    int r;

    hv_field_u32(&fields, &enabled);
    r = state_writer_part(writer, STATE_SERVICES, 0, &fields);
    for (unsigned i = 0; r == 0 && i < IC_N_SERVICES; i++) {
        if (!(enabled & IC_SERVICE_BIT(i)))
            continue;
        fields = hv_fields_writer();
        ic_services_visit(services->ic, (enum ic_service)i, &fields);
        r = state_writer_part(writer, STATE_SERVICE, i, &fields);
    }
    return r;
}

bool wp_services_saved(const struct state_image *image, unsigned *ret)
{
    struct hv_fields fields = state_image_fields(image, STATE_SERVICES, 0);
    uint32_t enabled = 0;

    hv_field_u32(&fields, &enabled);
    *ret = enabled;
    return hv_fields_is_done(&fields) && (enabled & ~IC_SERVICES_ALL) == 0;
}

int wp_services_restore(struct wp_services *services, const struct state_image *image)
{
    for (unsigned i = 0; i < IC_N_SERVICES; i++) {
        struct hv_fields fields = state_image_fields(image, STATE_SERVICE, i);

        if (!(ic_services_enabled(services->ic) & IC_SERVICE_BIT(i)))
            continue;
        ic_services_visit(services->ic, (enum ic_service)i, &fields);
        if (!hv_fields_is_done(&fields))
            return -EINVAL;
    }
    return 0;
}

int wp_services_enable(struct wp_services *services, unsigned wanted)
{
    int r = 0;

    for (unsigned i = 0; r == 0 && i < IC_N_SERVICES; i++)
        r = ic_services_enable(services->ic, (enum ic_service)i, wanted & IC_SERVICE_BIT(i));
    return r;
}
