/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Element by element, as a mask says: vmaskmov, vpmaskmov, gathers, maskmovdqu, maskmovq. Elements
 * that the mask leaves out are never touched and cannot fault.
 */
#include "hvcore/emu/exec/simd/simd_priv.h"

static uint64_t cut(const struct emu_insn *insn, uint64_t offset)
{
    return insn->addr_size == 8   ? offset
           : insn->addr_size == 4 ? (uint32_t)offset
                                  : (uint16_t)offset;
}

static bool read_element(struct emu_cpu *cpu, const struct emu_insn *insn, uint64_t offset,
                         void *ret, unsigned size)
{
    uint64_t linear;

    return emu_linear(cpu, insn->seg, cut(insn, offset), size, false, &linear) &&
           emu_mem_read(cpu, linear, ret, size, insn->seg == HV_SS);
}

static bool probe_element(struct emu_cpu *cpu, uint8_t seg, uint64_t offset, unsigned size)
{
    uint64_t linear;

    return emu_linear(cpu, seg, offset, size, true, &linear) &&
           emu_mem_probe(cpu, linear, size, true, seg == HV_SS);
}

static bool write_element(struct emu_cpu *cpu, uint8_t seg, uint64_t offset, const void *from,
                          unsigned size)
{
    uint64_t linear;

    return emu_linear(cpu, seg, offset, size, true, &linear) &&
           emu_mem_write(cpu, linear, from, size, seg == HV_SS);
}

/* The sign of element i of `size` bytes. */
static bool is_selected(const struct emu_vec *mask, unsigned i, unsigned size)
{
    return ((const uint8_t *)mask->q)[(i + 1) * size - 1] & 0x80;
}

static enum emu_result mask_load(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned size,
                                 unsigned n)
{
    const struct emu_vec mask = cpu->vec[insn->op[1].reg & 15];
    uint64_t offset = emu_offset(cpu, insn);
    struct emu_vec result = { 0 };
    unsigned i;

    for (i = 0; i < n; i++)
        if (is_selected(&mask, i, size) &&
            !read_element(cpu, insn, offset + i * size, (char *)result.q + i * size, size))
            return EMU_FAULT;
    cpu->vec[insn->op[0].reg & 15] = result;
    return EMU_NEXT;
}

static enum emu_result mask_store(struct emu_cpu *cpu, const struct emu_insn *insn, unsigned size,
                                  unsigned n)
{
    const struct emu_vec *mask = &cpu->vec[insn->op[1].reg & 15];
    const char *from = (const char *)cpu->vec[insn->op[2].reg & 15].q;
    uint64_t offset = emu_offset(cpu, insn);
    unsigned i;

    for (i = 0; i < n; i++)
        if (is_selected(mask, i, size) &&
            !probe_element(cpu, insn->seg, cut(insn, offset + i * size), size))
            return EMU_FAULT;
    for (i = 0; i < n; i++)
        if (is_selected(mask, i, size) &&
            !write_element(cpu, insn->seg, cut(insn, offset + i * size), from + i * size, size))
            return EMU_FAULT;
    return EMU_NEXT;
}

/* vmaskmovps, vmaskmovpd, vpmaskmovd, vpmaskmovq */
enum emu_result simd_exec_mask_move(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    bool is_avx2 = insn->mnemonic == EMU_MN_VPMASKMOVD || insn->mnemonic == EMU_MN_VPMASKMOVQ;
    unsigned size =
        insn->mnemonic == EMU_MN_VMASKMOVPD || insn->mnemonic == EMU_MN_VPMASKMOVQ ? 8 : 4;
    unsigned n = (insn->vex_l ? 32 : 16) / size;

    if (!simd_ready(cpu, insn, is_avx2 ? FPU_HAS_AVX2 : 0))
        return EMU_FAULT;
    return simd_is_mem(insn, 0) ? mask_store(cpu, insn, size, n) : mask_load(cpu, insn, size, n);
}

/* maskmovdqu, vmaskmovdqu, maskmovq: bytes to [rdi]. As the processors we know do, the whole
 * operand must be writable, whatever the mask. */
enum emu_result simd_exec_mask_bytes(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    const struct emu_vec *from = &cpu->vec[insn->op[0].reg & 15];
    const struct emu_vec *mask = &cpu->vec[insn->op[1].reg & 15];
    uint8_t seg = insn->prefixes & EMU_PFX_SEG ? insn->seg : HV_DS;
    unsigned i;

    if (insn->mnemonic == EMU_MN_MASKMOVQ)
        return simd_exec_mmx_move(cpu, insn);
    if (!simd_ready(cpu, insn, 0))
        return EMU_FAULT;
    if (!probe_element(cpu, seg, cut(insn, cpu->regs[HV_RDI]), 16))
        return EMU_FAULT;
    for (i = 0; i < 16; i++)
        if (is_selected(mask, i, 1) && !write_element(cpu, seg, cut(insn, cpu->regs[HV_RDI] + i),
                                                      (const uint8_t *)from->q + i, 1))
            return EMU_FAULT;
    return EMU_NEXT;
}

/* ---- Gathers. spec: Intel SDM vol. 2, VPGATHERDD ---- */
struct gather {
    unsigned index_bytes, element_bytes, n;
};

static struct gather gather_shape(const struct emu_insn *insn)
{
    unsigned total = insn->vex_l ? 32 : 16, wider;
    struct gather g = { 4, 4, 0 };

    switch (insn->mnemonic) {
    case EMU_MN_VGATHERDPD:
    case EMU_MN_VPGATHERDQ: g.element_bytes = 8; break;
    case EMU_MN_VGATHERQPS:
    case EMU_MN_VPGATHERQD: g.index_bytes = 8; break;
    case EMU_MN_VGATHERQPD:
    case EMU_MN_VPGATHERQQ: g.element_bytes = g.index_bytes = 8; break;
    }
    wider = g.element_bytes > g.index_bytes ? g.element_bytes : g.index_bytes;
    g.n = total / wider;
    return g;
}

static uint64_t gather_offset(const struct emu_cpu *cpu, const struct emu_insn *insn,
                              const struct gather *g, unsigned i)
{
    const char *indices = (const char *)cpu->vec[insn->index & 15].q;
    uint64_t base = insn->base == EMU_NO_REG ? 0 : cpu->regs[insn->base & 15];
    int32_t narrow;
    int64_t index;

    if (g->index_bytes == 8) {
        memcpy(&index, indices + i * 8, 8);
    } else {
        memcpy(&narrow, indices + i * 4, 4);
        index = narrow;
    }
    return base + ((uint64_t)index << insn->scale) + (uint64_t)insn->disp;
}

/* Elements done before a fault stay done, and their mask bits are cleared: the instruction is then
 * repeated for the rest. */
enum emu_result simd_exec_gather(struct emu_cpu *cpu, const struct emu_insn *insn)
{
    struct gather g = gather_shape(insn);
    unsigned dst = insn->op[0].reg & 15, mask = insn->op[2].reg & 15, i;

    if (!simd_ready(cpu, insn, FPU_HAS_AVX2))
        return EMU_FAULT;
    if (dst == mask || dst == (insn->index & 15) || mask == (insn->index & 15))
        return emu_raise(cpu, X86_UD);
    for (i = 0; i < g.n; i++) {
        char *to = (char *)cpu->vec[dst].q + i * g.element_bytes;

        if (is_selected(&cpu->vec[mask], i, g.element_bytes) &&
            !read_element(cpu, insn, gather_offset(cpu, insn, &g, i), to, g.element_bytes))
            return EMU_FAULT;
        memset((char *)cpu->vec[mask].q + i * g.element_bytes, 0, g.element_bytes);
    }
    memset((char *)cpu->vec[dst].q + g.n * g.element_bytes, 0, 32 - g.n * g.element_bytes);
    memset(cpu->vec[mask].q, 0, 32);
    return EMU_NEXT;
}
