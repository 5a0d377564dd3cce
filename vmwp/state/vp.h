/* SPDX-License-Identifier: Apache-2.0 */
/* The processors' state as fields: parts VP and PART. */
#pragma once

#include "hvcore/base/fields.h"
#include "hvcore/state.h"

/* Both directions; what no VP can be is refused by hv_vp_set_state, whose judgement it is. */
void state_visit_vp(struct hv_fields *fields, struct hv_vp_state *state);
void state_visit_partition(struct hv_fields *fields, struct hv_partition_state *state);
