/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/machine/saved_priv.h"

#include "hvcore/vp.h"
#include "vmwp/machine/chipset.h"
#include "vmwp/state/parts.h"
#include "vmwp/state/vp.h"

#include <assert.h>
#include <string.h>

/* Where features stand that a guest looks for: leaf, subleaf, register (EAX first). */
static const struct {
    uint32_t leaf, subleaf;
    unsigned reg;
} features[] = {
    { 1, 0, 2 },          { 1, 0, 3 },          { 7, 0, 1 },          { 7, 0, 2 },
    { 7, 0, 3 },          { 0xd, 0, 0 },        { 0xd, 1, 0 },        { 0x80000001, 0, 2 },
    { 0x80000001, 0, 3 }, { 0x80000007, 0, 3 }, { 0x80000008, 0, 1 }, { 0x40000003, 0, 0 },
    { 0x40000003, 0, 1 }, { 0x40000003, 0, 3 },
};
static_assert(HV_ARRAY_SIZE(features) <= (size_t)STATE_CPUID_WORDS, "room for all");

/* What the guest's own doing switches on: OSXSAVE. */
enum { CPUID_1_ECX_OSXSAVE = 1 << 27 };

static void get_features(struct hv_partition *partition, uint32_t ret[static STATE_CPUID_WORDS])
{
    memset(ret, 0, STATE_CPUID_WORDS * sizeof(ret[0]));
    for (unsigned i = 0; i < HV_ARRAY_SIZE(features); i++) {
        uint32_t registers[4];

        hv_partition_cpuid(partition, features[i].leaf, features[i].subleaf, registers);
        ret[i] = registers[features[i].reg];
    }
    ret[0] &= ~(uint32_t)CPUID_1_ECX_OSXSAVE;
}

void wp_partition_describe(struct hv_partition *partition, struct state_head *ret)
{
    ret->backend = (uint8_t)hv_partition_backend(partition);
    ret->n_vps = hv_partition_n_vps(partition);
    ret->ram_bytes = hv_partition_gpa(partition)->ram_bytes;
    ret->tsc_hz = hv_partition_tsc_hz(partition);
    get_features(partition, ret->cpuid);
}

static int save_vp(struct hv_vp *vp, struct hv_vp_state *state, struct state_writer *writer)
{
    struct hv_fields fields = hv_fields_writer();
    int r = hv_vp_get_state(vp, state);

    if (r < 0)
        return r;
    state_visit_vp(&fields, state);
    return state_writer_part(writer, STATE_VP, hv_vp_index(vp), &fields);
}

int wp_partition_save(struct hv_partition *partition, struct state_writer *writer)
{
    hv_autofree struct hv_vp_state *state = malloc(sizeof(*state));
    struct hv_fields fields = hv_fields_writer();
    struct hv_partition_state shared;
    int r;

    if (!state)
        return -ENOMEM;
    hv_partition_get_state(partition, &shared);
    state_visit_partition(&fields, &shared);
    r = state_writer_part(writer, STATE_PARTITION, 0, &fields);
    for (unsigned i = 0; r >= 0 && i < hv_partition_n_vps(partition); i++)
        r = save_vp(hv_partition_vp(partition, i), state, writer);
    return r;
}

/* ---- and back ---- */

static int check_features(struct hv_partition *partition, const struct state_head *head,
                          struct hv_error **reterr)
{
    uint32_t here[STATE_CPUID_WORDS];

    get_features(partition, here);
    for (unsigned i = 0; i < HV_ARRAY_SIZE(features); i++)
        if (head->cpuid[i] & ~here[i])
            return hv_error_set(reterr, -ENOTSUP, "vm.saved_state.processor",
                                "The saved state's processor had features that this host's has "
                                "not (CPUID 0x%x:%u, bits 0x%x).",
                                features[i].leaf, features[i].subleaf, head->cpuid[i] & ~here[i]);
    return 0;
}

static int restore_shared(struct hv_partition *partition, const struct state_image *image)
{
    struct hv_fields fields = state_image_fields(image, STATE_PARTITION, 0);
    struct hv_partition_state shared = { 0 };

    state_visit_partition(&fields, &shared);
    if (!hv_fields_is_done(&fields))
        return -EINVAL;
    hv_partition_set_state(partition, &shared);
    return 0;
}

static int restore_vps(struct hv_partition *partition, const struct state_image *image)
{
    hv_autofree struct hv_vp_state *state = malloc(sizeof(*state));
    int r = state ? 0 : -ENOMEM;

    for (unsigned i = 0; r >= 0 && i < hv_partition_n_vps(partition); i++) {
        struct hv_fields fields = state_image_fields(image, STATE_VP, i);

        memset(state, 0, sizeof(*state));
        state_visit_vp(&fields, state);
        r = hv_fields_is_done(&fields) ? hv_vp_set_state(hv_partition_vp(partition, i), state)
                                       : -EINVAL;
    }
    return r;
}

/* RAM before what is written into it anew; chips before the local APICs, whose own idea of what
 * waits for them counts. */
int wp_machine_restore(struct hv_partition *partition, struct wp_chipset *chipset,
                       struct state_image *image, struct hv_error **reterr)
{
    int r = check_features(partition, state_image_head(image), reterr);

    r = r < 0 ? r : state_image_load_ram(image, hv_partition_gpa(partition), reterr);
    r = r < 0 ? r : restore_shared(partition, image);
    r = r < 0 ? r : wp_chipset_restore(chipset, image);
    r = r < 0 ? r : restore_vps(partition, image);
    if (r < 0)
        return hv_error_set(reterr, r, "vm.saved_state.machine",
                            "The saved state cannot be put back: a processor or chip cannot be in "
                            "it (%s).",
                            strerror(-r));
    return 0;
}
