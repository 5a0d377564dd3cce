/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a guest says as it crashes: five parameters, and the end of its log where it points there.
 *
 * spec: TLFS partition-properties "Guest Crash Enlightenment"
 */
#include "hvcore/intercept/msr.h"
#include "hvcore/spec/tlfs.h"

void hv_partition_watch_crash(struct hv_partition *partition, hv_crash_fn *fn, void *opaque)
{
    partition->crash_fn = fn;
    partition->crash_opaque = opaque;
}

/* Nothing of the text when any of it isn't RAM. */
static void read_text(struct hv_partition *partition, struct hv_crash *crash)
{
    uint64_t bytes = crash->parameter[4];

    if (bytes > HV_CRASH_TEXT_BYTES)
        bytes = HV_CRASH_TEXT_BYTES;
    if (hv_gpa_read(&partition->gpa, crash->parameter[3], crash->text, (size_t)bytes) == 0)
        crash->text_bytes = (uint32_t)bytes;
}

void hv_crash_write_control(struct hv_partition *partition, unsigned vp, uint64_t value)
{
    struct hv_crash crash;

    if (!(value & TLFS_CRASH_NOTIFY) || !partition->crash_fn)
        return;
    crash.text_bytes = 0;
    for (unsigned i = 0; i < HV_CRASH_PARAMETERS; i++)
        crash.parameter[i] = atomic_load(&partition->synthetic.crash[i]);
    if (value & TLFS_CRASH_MESSAGE)
        read_text(partition, &crash);
    partition->crash_fn(partition->crash_opaque, vp, &crash);
}
