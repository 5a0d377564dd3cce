/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec: AMD64 vol. 2 appendix A (MTRR: 7.7; MCA: 9; DebugCtl: 13.1), AMD processor programming
 * references for 0xc001xxxx
 */
#include "hvcore/intercept/msr.h"

#include "hvcore/spec/msr.h"
#include "hvcore/spec/tlfs.h"

#include <inttypes.h>

enum { NOT_STORED = 0xffff };

/* A run of registers. Stored ones live in struct hv_msrs, the run side by side. */
struct msr_row {
    uint32_t first;
    uint16_t count;
    uint16_t offset;   /* in struct hv_msrs, or NOT_STORED: reads as `fixed` */
    uint64_t fixed;    /* also or-ed into what is read of a stored one */
    uint64_t writable; /* bits that may be set; the rest raise #GP */
    bool ignores;      /* not stored, and a write of writable bits has no effect */
};

#define STORED(member) offsetof(struct hv_msrs, machine.member)

/* clang-format off */
static const struct msr_row rows[] = {
    { X86_MSR_PATCH_LEVEL, 1, NOT_STORED, 0x0b002110, 0, true },
    /* 8 variable ranges, fixed ranges, write combining */
    { X86_MSR_MTRR_CAP, 1, NOT_STORED, 0x508, 0, false },
    { X86_MSR_MCG_CAP, 1, NOT_STORED, 0, 0, false }, /* no banks */
    { X86_MSR_MCG_STATUS, 1, STORED(mcg_status), 0, 7, false },
    { X86_MSR_MISC_ENABLE, 1, STORED(misc_enable), 0, 0, false },
    { X86_MSR_DEBUGCTL, 1, STORED(debugctl), 0, 0x3f, false },
    { X86_MSR_MTRR_VARIABLE_FIRST, 16, STORED(mtrr_variable), 0, UINT64_C(0x000fffffffffffff), false },
    { X86_MSR_MTRR_FIXED_64K, 1, STORED(mtrr_fixed[0]), 0, UINT64_MAX, false },
    { X86_MSR_MTRR_FIXED_16K_FIRST, 2, STORED(mtrr_fixed[1]), 0, UINT64_MAX, false },
    { X86_MSR_MTRR_FIXED_4K_FIRST, 8, STORED(mtrr_fixed[3]), 0, UINT64_MAX, false },
    { X86_MSR_MTRR_DEFAULT, 1, STORED(mtrr_default), 0, 0xcff, false },
    /* No performance counters: they stand at 0, which is how guests find out. */
    { X86_MSR_PERF_EVENT_FIRST, 8, NOT_STORED, 0, UINT64_MAX, true },
    { X86_MSR_SYSCFG, 1, STORED(syscfg), 0, 0x7c0000, false },
    { X86_MSR_HWCR, 1, STORED(hwcr), 0, 0x1040148, false },
    { X86_MSR_TOP_MEM, 1, STORED(top_mem[0]), 0, UINT64_C(0x0000ffffff800000), false },
    { X86_MSR_TOP_MEM2, 1, STORED(top_mem[1]), 0, UINT64_C(0x0000ffffff800000), false },
    { X86_MSR_NB_CFG, 1, STORED(nb_cfg), 0, UINT64_MAX, false },
    { X86_MSR_INT_PENDING, 1, NOT_STORED, 0, 0, true },
    { X86_MSR_MMIO_CFG_BASE, 1, NOT_STORED, 0, 0, true },
    { X86_MSR_OSVW_ID_LENGTH, 2, NOT_STORED, 0, 0, false }, /* no known errata */
    { X86_MSR_LS_CFG, 1, STORED(ls_cfg), 0, UINT64_MAX, false },
    { X86_MSR_DE_CFG, 1, NOT_STORED, 2, 2, true }, /* LFENCE serializes */
};
/* clang-format on */

static const struct msr_row *row_of(uint32_t msr)
{
    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++)
        if (msr - rows[i].first < rows[i].count)
            return &rows[i];
    return NULL;
}

static uint64_t *stored(struct hv_msrs *msrs, const struct msr_row *row, uint32_t msr)
{
    return (uint64_t *)((char *)msrs + row->offset) + (msr - row->first);
}

/* Memory types 0, 1, 4, 5 and 6 exist. */
static bool is_memory_type(uint8_t type)
{
    return type <= 1 || (type >= 4 && type <= 6);
}

static bool is_mtrr_valid(uint32_t msr, uint64_t value)
{
    if (msr == X86_MSR_MTRR_DEFAULT)
        return is_memory_type((uint8_t)value);
    if (msr - X86_MSR_MTRR_VARIABLE_FIRST < 16) {
        if (msr & 1)
            return (value & 0x7ff) == 0;
        return is_memory_type((uint8_t)value) && (value & 0xf00) == 0;
    }
    if (msr < X86_MSR_MTRR_FIXED_64K || msr > X86_MSR_MTRR_FIXED_4K_LAST)
        return true;
    for (unsigned i = 0; i < 8; i++)
        if (!is_memory_type((uint8_t)(value >> i * 8)))
            return false;
    return true;
}

/* Once for each MSR and direction, and for so many of them. */
static void log_unknown(struct hv_partition *partition, unsigned vp, uint32_t msr, bool is_write,
                        uint64_t value)
{
    uint64_t key = msr | (uint64_t)is_write << 32;
    bool is_new = true;

    (void)pthread_mutex_lock(&partition->lock);
    for (unsigned i = 0; i < partition->n_logged_msrs; i++)
        is_new &= partition->logged_msrs[i] != key;
    if (partition->n_logged_msrs == HV_MSR_LOG_MAX)
        is_new = false;
    if (is_new)
        partition->logged_msrs[partition->n_logged_msrs++] = key;
    (void)pthread_mutex_unlock(&partition->lock);
    if (!is_new)
        return;
    if (is_write)
        hv_log_printf(&partition->log, HV_LOG_DEBUG, NULL,
                      "VP %u wrote %#" PRIx64 " to MSR %#" PRIx32 ", which raised #GP.", vp, value,
                      msr);
    else
        hv_log_printf(&partition->log, HV_LOG_DEBUG, NULL,
                      "VP %u read MSR %#" PRIx32 ", which raised #GP.", vp, msr);
}

static bool is_synthetic(uint32_t msr)
{
    return msr >= TLFS_MSR_FIRST && msr <= TLFS_MSR_LAST;
}

static bool machine_read(struct hv_msrs *msrs, uint32_t msr, uint64_t *ret)
{
    const struct msr_row *row = row_of(msr);

    if (!row)
        return false;
    *ret = row->fixed;
    if (row->offset != NOT_STORED)
        *ret |= *stored(msrs, row, msr);
    return true;
}

static bool machine_write(struct hv_msrs *msrs, uint32_t msr, uint64_t value)
{
    const struct msr_row *row = row_of(msr);

    if (!row || (value & ~row->writable))
        return false;
    if (row->offset == NOT_STORED)
        return row->ignores;
    if (!is_mtrr_valid(msr, value))
        return false;
    *stored(msrs, row, msr) = value;
    return true;
}

bool hv_msr_read(struct hv_partition *partition, unsigned vp, uint32_t msr, uint64_t *ret)
{
    bool is_ok = is_synthetic(msr) ? hv_synthetic_read(partition, vp, msr, ret)
                                   : machine_read(&partition->vps[vp]->msrs, msr, ret);

    if (!is_ok)
        log_unknown(partition, vp, msr, false, 0);
    return is_ok;
}

bool hv_msr_write(struct hv_partition *partition, unsigned vp, uint32_t msr, uint64_t value)
{
    bool is_ok = is_synthetic(msr) ? hv_synthetic_write(partition, vp, msr, value)
                                   : machine_write(&partition->vps[vp]->msrs, msr, value);

    if (!is_ok)
        log_unknown(partition, vp, msr, true, value);
    return is_ok;
}
