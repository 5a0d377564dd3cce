/* SPDX-License-Identifier: Apache-2.0 */
/* From an exit to who answers it. */
#include "hvcore/hypercall/hypercall.h"
#include "hvcore/intercept/msr.h"

static uint64_t mmio_read(void *opaque, hv_gpa_t gpa, unsigned size)
{
    struct hv_partition *partition = opaque;

    return hv_io_space_read(&partition->mmio, gpa, size);
}

static void mmio_write(void *opaque, hv_gpa_t gpa, unsigned size, uint64_t value)
{
    struct hv_partition *partition = opaque;

    hv_io_space_write(&partition->mmio, gpa, size, value);
}

static uint32_t port_read(void *opaque, uint16_t port, unsigned size)
{
    struct hv_partition *partition = opaque;

    return (uint32_t)hv_io_space_read(&partition->ports, port, size);
}

static void port_write(void *opaque, uint16_t port, unsigned size, uint32_t value)
{
    struct hv_partition *partition = opaque;

    hv_io_space_write(&partition->ports, port, size, value);
}

static bool msr_read(void *opaque, unsigned vp, uint32_t msr, uint64_t *ret)
{
    return hv_msr_read(opaque, vp, msr, ret);
}

static bool msr_write(void *opaque, unsigned vp, uint32_t msr, uint64_t value)
{
    return hv_msr_write(opaque, vp, msr, value);
}

static void add_cpuid(void *opaque)
{
    struct hv_partition *partition = opaque;

    hv_synthetic_add_cpuid(partition);
}

static void cpuid(void *opaque, unsigned vp, uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
    struct hv_partition *partition = opaque;

    x86_cpuid_query(&partition->cpuid, vp, leaf, subleaf, ret);
}

static bool hypercall(void *opaque, unsigned vp, const struct hv_hypercall *call, uint64_t *ret)
{
    return hv_hypercall_dispatch(opaque, vp, call, ret);
}

static int pic_acknowledge(void *opaque)
{
    struct hv_partition *partition = opaque;

    if (!partition->chipset.pic_acknowledge)
        return -1;
    return partition->chipset.pic_acknowledge(partition->chipset_opaque);
}

static void end_of_interrupt(void *opaque, uint8_t vector)
{
    struct hv_partition *partition = opaque;

    if (partition->chipset.end_of_interrupt)
        partition->chipset.end_of_interrupt(partition->chipset_opaque, vector);
}

static void watched_eoi(void *opaque, unsigned vp, uint8_t vector)
{
    struct hv_partition *partition = opaque;

    hv_synic_end_of_interrupt(&partition->vps[vp]->synic, vector);
}

const struct hv_exit_handlers hv_intercept_handlers = {
    .add_cpuid = add_cpuid,
    .mmio_read = mmio_read,
    .mmio_write = mmio_write,
    .port_read = port_read,
    .port_write = port_write,
    .msr_read = msr_read,
    .msr_write = msr_write,
    .cpuid = cpuid,
    .hypercall = hypercall,
    .pic_acknowledge = pic_acknowledge,
    .end_of_interrupt = end_of_interrupt,
    .watched_eoi = watched_eoi,
};
