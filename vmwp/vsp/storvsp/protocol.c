/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/vsp/storvsp/protocol_priv.h"

#include "vmwp/vsp/storvsp/data_priv.h"

#include <string.h>

void storvsp_protocol_start(struct storvsp_protocol *protocol, uint16_t max_sub_channels)
{
    *protocol = (struct storvsp_protocol){ .max_sub_channels = max_sub_channels };
}

bool storvsp_protocol_is_ready(const struct storvsp_protocol *protocol)
{
    return protocol->phase >= STORVSP_PHASE_READY;
}

static enum storvsp_verdict answer(struct storvsp_wire_packet *packet, enum storvsp_status status)
{
    packet->operation = STORVSP_COMPLETE_IO;
    packet->flags = 0;
    packet->status = status;
    return STORVSP_REPLY;
}

typedef enum storvsp_verdict step_fn(struct storvsp_protocol *protocol,
                                     struct storvsp_wire_packet *packet);

static enum storvsp_verdict step_begin(struct storvsp_protocol *protocol,
                                       struct storvsp_wire_packet *packet)
{
    protocol->phase = STORVSP_PHASE_BEGUN;
    return answer(packet, STORVSP_OK);
}

/* Anything but 0 makes the guest ask for the next older one. */
static enum storvsp_verdict step_version(struct storvsp_protocol *protocol,
                                         struct storvsp_wire_packet *packet)
{
    static const uint16_t known[] = { STORVSP_VERSION_WIN10, STORVSP_VERSION_WIN8_1,
                                      STORVSP_VERSION_WIN8 };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(known); i++) {
        if (packet->version == known[i]) {
            protocol->version = known[i];
            protocol->phase = STORVSP_PHASE_VERSION;
            return answer(packet, STORVSP_OK);
        }
    }
    return answer(packet, STORVSP_REVISION_MISMATCH);
}

static enum storvsp_verdict step_properties(struct storvsp_protocol *protocol,
                                            struct storvsp_wire_packet *packet)
{
    memset(packet->body, 0, sizeof(packet->body));
    packet->properties.max_transfer_bytes = STORVSP_MAX_TRANSFER_BYTES;
    packet->properties.max_channels = protocol->max_sub_channels;
    if (protocol->max_sub_channels)
        packet->properties.flags = STORVSP_PROPERTY_MULTI_CHANNEL;
    protocol->phase = STORVSP_PHASE_PROPERTIES;
    return answer(packet, STORVSP_OK);
}

static enum storvsp_verdict step_end(struct storvsp_protocol *protocol,
                                     struct storvsp_wire_packet *packet)
{
    protocol->phase = STORVSP_PHASE_READY;
    return answer(packet, STORVSP_OK);
}

static enum storvsp_verdict step_spread(struct storvsp_protocol *protocol,
                                        struct storvsp_wire_packet *packet)
{
    if (!packet->sub_channels || packet->sub_channels > protocol->max_sub_channels)
        return answer(packet, STORVSP_INVALID_PARAMETER);
    protocol->phase = STORVSP_PHASE_SPREAD;
    (void)answer(packet, STORVSP_OK);
    return STORVSP_SUB_CHANNELS;
}

static enum storvsp_verdict step_run(struct storvsp_protocol *protocol,
                                     struct storvsp_wire_packet *packet)
{
    return STORVSP_RUN;
}

static enum storvsp_verdict step_reset(struct storvsp_protocol *protocol,
                                       struct storvsp_wire_packet *packet)
{
    (void)answer(packet, STORVSP_OK);
    return STORVSP_RESET;
}

enum {
    OPEN = 1 << STORVSP_PHASE_OPEN,
    BEGUN = 1 << STORVSP_PHASE_BEGUN,
    VERSION = 1 << STORVSP_PHASE_VERSION,
    PROPERTIES = 1 << STORVSP_PHASE_PROPERTIES,
    READY = 1 << STORVSP_PHASE_READY,
    SPREAD = 1 << STORVSP_PHASE_SPREAD
};

/* Which message is legal when. A second negotiation needs a channel opened anew. */
static const struct {
    uint32_t operation;
    unsigned phases;
    bool is_for_sub_channels;
    step_fn *step;
} messages[] = {
    { STORVSP_EXECUTE_SRB, READY | SPREAD, true, step_run },
    { STORVSP_BEGIN_INITIALIZATION, OPEN, false, step_begin },
    { STORVSP_QUERY_PROTOCOL_VERSION, BEGUN, false, step_version },
    { STORVSP_QUERY_PROPERTIES, VERSION, false, step_properties },
    { STORVSP_END_INITIALIZATION, PROPERTIES, false, step_end },
    { STORVSP_CREATE_SUB_CHANNELS, READY, false, step_spread },
    { STORVSP_RESET_LUN, READY | SPREAD, true, step_reset },
    { STORVSP_RESET_ADAPTER, READY | SPREAD, true, step_reset },
    { STORVSP_RESET_BUS, READY | SPREAD, true, step_reset },
};

/* An SRB that does not run is told so in its own words too: those are what its driver reads. */
static enum storvsp_verdict refuse(struct storvsp_wire_packet *packet, enum storvsp_status status)
{
    if (packet->operation == STORVSP_EXECUTE_SRB) {
        packet->srb.srb_status = STORVSP_SRB_INVALID_REQUEST;
        packet->srb.data_bytes = 0;
    }
    return answer(packet, status);
}

enum storvsp_verdict storvsp_protocol_step(struct storvsp_protocol *protocol,
                                           struct storvsp_wire_packet *packet)
{
    for (unsigned i = 0; i < HV_ARRAY_SIZE(messages); i++) {
        if (messages[i].operation != packet->operation)
            continue;
        if (messages[i].phases >> protocol->phase & 1)
            return messages[i].step(protocol, packet);
        return refuse(packet, STORVSP_INVALID_DEVICE_STATE);
    }
    return refuse(packet, STORVSP_NOT_SUPPORTED);
}

enum storvsp_verdict storvsp_protocol_step_sub(struct storvsp_wire_packet *packet)
{
    for (unsigned i = 0; i < HV_ARRAY_SIZE(messages); i++)
        if (messages[i].operation == packet->operation && messages[i].is_for_sub_channels)
            return messages[i].step(NULL, packet);
    return refuse(packet, STORVSP_INVALID_DEVICE_REQUEST);
}
