/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/ic/services.h"

struct ic_services {
    struct ic_services_config config;
    struct ic_clock clock;
    /* NULL: not enabled, or revoked */
    struct ic_heartbeat *heartbeat;
    struct ic_shutdown *shutdown;
    struct ic_timesync *timesync;
    struct ic_kvp *kvp;
    struct ic_vss *vss;
    struct ic_filecopy *filecopy;
    struct vsp_keyboard *keyboard;
};

static const char *const names[IC_N_SERVICES] = {
    [IC_SERVICE_HEARTBEAT] = "heartbeat",
    [IC_SERVICE_SHUTDOWN] = "shutdown",
    [IC_SERVICE_TIMESYNC] = "timesync",
    [IC_SERVICE_KVP] = "key-value pair",
    [IC_SERVICE_VSS] = "backup",
    [IC_SERVICE_FILECOPY] = "file copy",
    [IC_SERVICE_KEYBOARD] = "synthetic keyboard",
};

static void tell_changed(struct ic_services *s, enum ic_service service)
{
    if (s->config.changed)
        s->config.changed(s->config.opaque, service);
}

static void heartbeat_changed(void *opaque)
{
    tell_changed(opaque, IC_SERVICE_HEARTBEAT);
}

static void kvp_changed(void *opaque)
{
    tell_changed(opaque, IC_SERVICE_KVP);
}

static void vss_changed(void *opaque, enum ic_vss_state state)
{
    tell_changed(opaque, IC_SERVICE_VSS);
}

static int make_heartbeat(struct ic_services *s)
{
    return ic_heartbeat_new(&(struct ic_heartbeat_config){ .clock = &s->clock,
                                                           .server = s->config.server,
                                                           .log = s->config.log,
                                                           .changed = heartbeat_changed,
                                                           .opaque = s },
                            &s->heartbeat);
}

static int make_shutdown(struct ic_services *s)
{
    return ic_shutdown_new(&(struct ic_shutdown_config){ .clock = &s->clock,
                                                         .server = s->config.server,
                                                         .log = s->config.log },
                           &s->shutdown);
}

static int make_timesync(struct ic_services *s)
{
    return ic_timesync_new(
        &(struct ic_timesync_config){ .clock = &s->clock,
                                      .server = s->config.server,
                                      .log = s->config.log,
                                      .has_samples = s->config.has_time_samples },
        &s->timesync);
}

static int make_kvp(struct ic_services *s)
{
    return ic_kvp_new(&(struct ic_kvp_config){ .clock = &s->clock,
                                               .server = s->config.server,
                                               .log = s->config.log,
                                               .changed = kvp_changed,
                                               .opaque = s,
                                               .host_pairs = s->config.host_pairs,
                                               .n_host_pairs = s->config.n_host_pairs },
                      &s->kvp);
}

static int make_vss(struct ic_services *s)
{
    return ic_vss_new(&(struct ic_vss_config){ .clock = &s->clock,
                                               .server = s->config.server,
                                               .log = s->config.log,
                                               .changed = vss_changed,
                                               .opaque = s },
                      &s->vss);
}

static int make_filecopy(struct ic_services *s)
{
    return ic_filecopy_new(&(struct ic_filecopy_config){ .clock = &s->clock,
                                                         .server = s->config.server,
                                                         .log = s->config.log },
                           &s->filecopy);
}

static int make_keyboard(struct ic_services *s)
{
    return vsp_keyboard_new(
        &(struct vsp_keyboard_config){ .server = s->config.server, .log = s->config.log },
        &s->keyboard);
}

static int (*const makers[IC_N_SERVICES])(struct ic_services *s) = {
    [IC_SERVICE_HEARTBEAT] = make_heartbeat,
    [IC_SERVICE_SHUTDOWN] = make_shutdown,
    [IC_SERVICE_TIMESYNC] = make_timesync,
    [IC_SERVICE_KVP] = make_kvp,
    [IC_SERVICE_VSS] = make_vss,
    [IC_SERVICE_FILECOPY] = make_filecopy,
    [IC_SERVICE_KEYBOARD] = make_keyboard,
};

int ic_services_new(const struct ic_services_config *config, struct ic_services **ret)
{
    struct ic_services *s = calloc(1, sizeof(*s));
    int r = 0;

    if (!s)
        return -ENOMEM;
    s->config = *config;
    ic_clock_init(&s->clock, config->time, config->time_opaque);
    for (int i = 0; r == 0 && i < IC_N_SERVICES; i++) {
        if (config->enabled & IC_SERVICE_BIT(i))
            r = makers[i](s);
    }
    if (r < 0) {
        ic_services_revoke(s);
        ic_services_free(s);
        return r;
    }
    *ret = s;
    return 0;
}

static void drop_keyboard(struct ic_services *s, bool is_server_gone)
{
    if (s->keyboard && !is_server_gone)
        vsp_keyboard_revoke(s->keyboard);
    s->keyboard = vsp_keyboard_free(s->keyboard);
}

static void drop(struct ic_services *s, enum ic_service service, bool is_gone)
{
    switch (service) {
    case IC_SERVICE_HEARTBEAT: s->heartbeat = ic_heartbeat_free(s->heartbeat, is_gone); break;
    case IC_SERVICE_SHUTDOWN: s->shutdown = ic_shutdown_free(s->shutdown, is_gone); break;
    case IC_SERVICE_TIMESYNC: s->timesync = ic_timesync_free(s->timesync, is_gone); break;
    case IC_SERVICE_KVP: s->kvp = ic_kvp_free(s->kvp, is_gone); break;
    case IC_SERVICE_VSS: s->vss = ic_vss_free(s->vss, is_gone); break;
    case IC_SERVICE_FILECOPY: s->filecopy = ic_filecopy_free(s->filecopy, is_gone); break;
    case IC_SERVICE_KEYBOARD: drop_keyboard(s, is_gone); break;
    case IC_N_SERVICES: break;
    }
}

static void drop_all(struct ic_services *s, bool is_server_gone)
{
    s->config.changed = NULL;
    for (int i = 0; i < IC_N_SERVICES; i++)
        drop(s, (enum ic_service)i, is_server_gone);
}

int ic_services_enable(struct ic_services *services, enum ic_service service, bool is_enabled)
{
    unsigned bit = IC_SERVICE_BIT(service);
    int r = 0;

    if (!(services->config.enabled & bit) == !is_enabled)
        return 0;
    if (is_enabled)
        r = makers[service](services);
    else
        drop(services, service, false);
    if (r == 0)
        services->config.enabled ^= bit;
    return r;
}

void ic_services_revoke(struct ic_services *services)
{
    drop_all(services, false);
}

struct ic_services *ic_services_free(struct ic_services *services)
{
    if (!services)
        return NULL;
    drop_all(services, true);
    ic_clock_fini(&services->clock);
    free(services);
    return NULL;
}

void ic_services_due(struct ic_services *services)
{
    ic_clock_run(&services->clock);
}

/* NULL unless enabled; the keyboard has none of its kind. */
static struct ic_channel *channel_of(const struct ic_services *s, enum ic_service service)
{
    switch (service) {
    case IC_SERVICE_HEARTBEAT: return s->heartbeat ? ic_heartbeat_channel(s->heartbeat) : NULL;
    case IC_SERVICE_SHUTDOWN: return s->shutdown ? ic_shutdown_channel(s->shutdown) : NULL;
    case IC_SERVICE_TIMESYNC: return s->timesync ? ic_timesync_channel(s->timesync) : NULL;
    case IC_SERVICE_KVP: return s->kvp ? ic_kvp_channel(s->kvp) : NULL;
    case IC_SERVICE_VSS: return s->vss ? ic_vss_channel(s->vss) : NULL;
    case IC_SERVICE_FILECOPY: return s->filecopy ? ic_filecopy_channel(s->filecopy) : NULL;
    default: return NULL;
    }
}

static void pause_all(void *vsp)
{
    struct ic_services *s = vsp;

    ic_clock_stand(&s->clock);
    if (s->keyboard)
        vsp_keyboard_ops.pause(s->keyboard);
}

static void resume_all(void *vsp)
{
    struct ic_services *s = vsp;

    ic_clock_go(&s->clock);
    if (s->timesync)
        ic_timesync_now(s->timesync);
    for (int i = 0; i < IC_N_SERVICES; i++) {
        struct ic_channel *channel = channel_of(s, (enum ic_service)i);

        if (channel)
            ic_channel_go(channel);
    }
    if (s->keyboard)
        vsp_keyboard_ops.resume(s->keyboard);
}

static void reset_all(void *vsp)
{
    struct ic_services *s = vsp;

    if (s->heartbeat)
        ic_heartbeat_reset(s->heartbeat);
    if (s->shutdown)
        ic_shutdown_reset(s->shutdown);
    if (s->kvp)
        ic_kvp_reset(s->kvp);
    if (s->vss)
        ic_vss_reset(s->vss);
    if (s->filecopy)
        ic_filecopy_reset(s->filecopy);
    if (s->keyboard)
        vsp_keyboard_ops.reset(s->keyboard);
}

static void *free_all(void *vsp)
{
    return ic_services_free(vsp);
}

const struct vsp_ops ic_services_ops = {
    .name = "ic",
    .pause = pause_all,
    .resume = resume_all,
    .reset = reset_all,
    .free = free_all,
};

void ic_services_get_status(const struct ic_services *services, enum ic_service service,
                            struct ic_service_status *ret)
{
    const struct ic_channel *channel = channel_of(services, service);

    *ret = (struct ic_service_status){ .name = names[service], .state = IC_CLOSED };
    if (channel) {
        ret->is_enabled = true;
        ret->state = ic_channel_state(channel);
        ret->version = ic_channel_version(channel);
    } else if (service == IC_SERVICE_KEYBOARD && services->keyboard) {
        ret->is_enabled = true;
        if (vsp_keyboard_is_ready(services->keyboard)) {
            ret->state = IC_READY;
            ret->version = (struct ic_version){ 1, 0 };
        }
    }
}

void ic_services_get_facts(const struct ic_services *services, struct ic_guest_facts *ret)
{
    *ret = (struct ic_guest_facts){ .pairs_age_ns = UINT64_MAX };
    ret->heartbeat.contact = IC_CONTACT_NONE;
    ret->heartbeat.age_ns = UINT64_MAX;
    if (services->heartbeat)
        ic_heartbeat_get(services->heartbeat, &ret->heartbeat);
    if (services->kvp) {
        ret->pairs_age_ns = ic_kvp_age(services->kvp);
        ret->is_truncated = ic_kvp_is_truncated(services->kvp);
    }
    if (services->vss)
        ret->vss = ic_vss_state(services->vss);
}

void ic_services_get_pairs(const struct ic_services *services, enum ic_kvp_pool pool,
                           const struct ic_kvp_pair **ret_pairs, unsigned *ret_n)
{
    *ret_pairs = NULL;
    *ret_n = 0;
    if (services->kvp)
        ic_kvp_get(services->kvp, pool, ret_pairs, ret_n);
}

/* 0 when component is there. */
static int need(const void *component, enum ic_service service, struct hv_error **reterr)
{
    if (component)
        return 0;
    return hv_error_set(reterr, -EOPNOTSUPP, "guest.service.disabled",
                        "The %s service of this VM is disabled; enable it in its settings.",
                        names[service]);
}

int ic_services_shut_down(struct ic_services *services, const struct ic_shutdown_request *request,
                          ic_done_fn *done, void *opaque, struct hv_error **reterr)
{
    int r = need(services->shutdown, IC_SERVICE_SHUTDOWN, reterr);

    return r < 0 ? r : ic_shutdown_ask(services->shutdown, request, done, opaque, reterr);
}

int ic_services_refresh(struct ic_services *services, ic_done_fn *done, void *opaque,
                        struct hv_error **reterr)
{
    int r = need(services->kvp, IC_SERVICE_KVP, reterr);

    return r < 0 ? r : ic_kvp_refresh(services->kvp, done, opaque, reterr);
}

int ic_services_want_pairs(struct ic_services *services, const struct ic_kvp_pair *pairs,
                           unsigned n, ic_done_fn *done, void *opaque, unsigned *ret_asked,
                           struct hv_error **reterr)
{
    int r = need(services->kvp, IC_SERVICE_KVP, reterr);

    return r < 0 ? r : ic_kvp_want(services->kvp, pairs, n, done, opaque, ret_asked, reterr);
}

int ic_services_ask_ip(struct ic_services *services, const char *adapter, ic_kvp_ip_fn *done,
                       void *opaque, struct hv_error **reterr)
{
    int r = need(services->kvp, IC_SERVICE_KVP, reterr);

    return r < 0 ? r : ic_kvp_ask_ip(services->kvp, adapter, done, opaque, reterr);
}

int ic_services_freeze(struct ic_services *services, uint32_t frozen_ms, ic_done_fn *done,
                       void *opaque, struct hv_error **reterr)
{
    int r = need(services->vss, IC_SERVICE_VSS, reterr);

    return r < 0 ? r : ic_vss_freeze(services->vss, frozen_ms, done, opaque, reterr);
}

int ic_services_thaw(struct ic_services *services, ic_done_fn *done, void *opaque,
                     struct hv_error **reterr)
{
    int r = need(services->vss, IC_SERVICE_VSS, reterr);

    return r < 0 ? r : ic_vss_thaw(services->vss, done, opaque, reterr);
}

int ic_services_copy_file(struct ic_services *services, const struct ic_filecopy_request *request,
                          struct hv_error **reterr)
{
    int r = need(services->filecopy, IC_SERVICE_FILECOPY, reterr);

    if (r < 0) {
        hv_close(request->fd);
        return r;
    }
    return ic_filecopy_start(services->filecopy, request, reterr);
}

void ic_services_cancel_copy(struct ic_services *services)
{
    if (services->filecopy)
        ic_filecopy_cancel(services->filecopy);
}

int ic_services_type_text(struct ic_services *services, const char *text, struct hv_error **reterr)
{
    int r = need(services->keyboard, IC_SERVICE_KEYBOARD, reterr);

    return r < 0 ? r : vsp_keyboard_type_text(services->keyboard, text, reterr);
}

int ic_services_type_scancodes(struct ic_services *services, const uint8_t *codes, size_t n,
                               struct hv_error **reterr)
{
    int r = need(services->keyboard, IC_SERVICE_KEYBOARD, reterr);

    return r < 0 ? r : vsp_keyboard_type_scancodes(services->keyboard, codes, n, reterr);
}

int ic_services_ctrl_alt_del(struct ic_services *services, struct hv_error **reterr)
{
    int r = need(services->keyboard, IC_SERVICE_KEYBOARD, reterr);

    return r < 0 ? r : vsp_keyboard_ctrl_alt_del(services->keyboard, reterr);
}

struct vsp_keyboard *ic_services_keyboard(struct ic_services *services)
{
    return services->keyboard;
}

/* ---- saved ---- */

int ic_services_may_save(const struct ic_services *services, struct hv_error **reterr)
{
    if (services->vss && ic_vss_state(services->vss) != IC_VSS_IDLE)
        return hv_error_set(reterr, -EBUSY, "guest.frozen",
                            "The guest's file systems are frozen for a backup; try again in some "
                            "seconds.");
    if (services->filecopy && ic_channel_is_busy(ic_filecopy_channel(services->filecopy)))
        return hv_error_set(reterr, -EBUSY, "guest.copying",
                            "A file is being copied into the guest; wait for that, or cancel it.");
    return 0;
}

unsigned ic_services_enabled(const struct ic_services *services)
{
    return services->config.enabled;
}

void ic_services_visit(struct ic_services *services, enum ic_service service,
                       struct hv_fields *fields)
{
    struct ic_channel *channel = channel_of(services, service);

    if (channel)
        ic_channel_visit(channel, fields);
    else if (service == IC_SERVICE_KEYBOARD && services->keyboard)
        vsp_keyboard_visit(services->keyboard, fields);
}
