/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/ic/ic.h"
#include "vmwp/ic/wire_priv.h"

#include <inttypes.h>

int ic_channel_need(const struct ic_channel *ic, const char *what, struct hv_error **reterr)
{
    switch (ic_channel_state(ic)) {
    case IC_CLOSED:
        return hv_error_set(reterr, -ENOTCONN, "guest.service.no_contact",
                            "Cannot %s: no driver of the guest's has opened the %s service.", what,
                            ic_channel_name(ic));
    case IC_NEGOTIATING:
        return hv_error_set(reterr, -ENOTCONN, "guest.service.no_contact",
                            "Cannot %s: the guest's %s service has not answered yet; is its "
                            "daemon (package hyperv-daemons) running?",
                            what, ic_channel_name(ic));
    case IC_MISMATCH:
        return hv_error_set(reterr, -ENOTCONN, "guest.service.version",
                            "Cannot %s: the guest's %s service speaks no version that hvstack "
                            "knows.",
                            what, ic_channel_name(ic));
    default: return 0;
    }
}

static int judge_status(uint32_t status, const char *what, struct hv_error **reterr)
{
    static const struct {
        enum ic_wire_status status;
        const char *why;
    } rows[] = {
        { IC_STATUS_FAIL, "the guest reports a failure; is the service's daemon (package "
                          "hyperv-daemons) running in it?" },
        { IC_STATUS_GUID_NOT_FOUND, "the guest has no such network adapter" },
        { IC_STATUS_ACCESS_DENIED, "the guest denies access" },
        { IC_STATUS_NOT_SUPPORTED, "the guest does not support it" },
        { IC_STATUS_EXISTS, "the file exists in the guest; ask for overwriting to replace it" },
        { IC_STATUS_INVALID, "the guest calls the request invalid" },
        { IC_STATUS_DISK_FULL, "the guest's disk is full" },
        { IC_STATUS_NO_MORE_ITEMS, "the guest has no such item" },
        { IC_STATUS_SHUTTING_DOWN, "the guest is shutting down already" },
        { IC_STATUS_LOCKED, "the guest is locked; ask with force" },
    };

    for (size_t i = 0; i < HV_ARRAY_SIZE(rows); i++) {
        if ((uint32_t)rows[i].status == status)
            return hv_error_set(reterr, -EREMOTEIO, "guest.refused", "Cannot %s: %s.", what,
                                rows[i].why);
    }
    return hv_error_set(reterr, -EREMOTEIO, "guest.refused",
                        "Cannot %s: the guest answers with status 0x%08" PRIx32 ".", what, status);
}

int ic_reply_judge(const struct ic_reply *reply, const char *what, struct hv_error **reterr)
{
    switch (reply->outcome) {
    case IC_E_TIMEOUT:
        return hv_error_set(reterr, -ETIMEDOUT, "guest.timeout",
                            "Cannot %s: the guest did not answer in time.", what);
    case IC_E_CLOSED:
        return hv_error_set(reterr, -ECONNRESET, "guest.service.closed",
                            "Cannot %s: the guest closed the service before it answered.", what);
    case IC_E_MALFORMED:
        return hv_error_set(reterr, -EPROTO, "guest.service.malformed",
                            "Cannot %s: the guest's answer is malformed.", what);
    case IC_ANSWERED: break;
    }
    return reply->status == IC_STATUS_OK ? 0 : judge_status(reply->status, what, reterr);
}
