/* SPDX-License-Identifier: Apache-2.0 */
/* From bytes to struct emu_insn by the rows of the opcode tables. */
#include "hvcore/emu/decode/row_priv.h"

#include <string.h>

/*
 * Bytes are read from a buffer with zeros behind those that exist; whether an instruction went past
 * its end is asked once, when it is complete or found invalid.
 */
enum { EMU_MAX_LENGTH = 15, EMU_DEC_BUFFER = 48 };

struct emu_decoder {
    const uint8_t *bytes;
    unsigned pos;
    enum emu_code_size code_size;
    bool has_66, has_67, has_lock, has_rex, is_vex;
    uint8_t rep; /* the last of F2 and F3, or 0 */
    uint8_t seg; /* an override that counts, or EMU_NO_REG */
    /* REX or VEX: r, x, b are 0 or 8 */
    uint8_t r, x, b, w, vvvv, vex_l;
    uint8_t map; /* of the opcode: 0 one-byte, 1 0F, 2 0F38, 3 0F3A */
    uint8_t opcode;
    uint8_t modrm;
    bool has_modrm;
    const struct emu_row *row;
    struct emu_insn *insn;
};

static inline uint64_t emu_dec_peek(const struct emu_decoder *d)
{
    uint64_t value;

    memcpy(&value, d->bytes + d->pos, sizeof(value));
    return value;
}

static inline uint8_t emu_dec_byte(struct emu_decoder *d)
{
    return d->bytes[d->pos++];
}

static inline uint64_t emu_dec_unsigned(struct emu_decoder *d, unsigned size)
{
    const uint64_t value = emu_dec_peek(d);

    d->pos += size;
    return size == 8 ? value : value & ((UINT64_C(1) << size * 8) - 1);
}

static inline int64_t emu_dec_signed(struct emu_decoder *d, unsigned size)
{
    const unsigned shift = 64 - size * 8;
    const uint64_t value = emu_dec_peek(d);

    d->pos += size;
    return (int64_t)(value << shift) >> shift;
}

static inline bool emu_dec_is_64(const struct emu_decoder *d)
{
    return d->code_size == EMU_CODE64;
}

/* ---- Prefixes ---- */

/* In 64-bit mode only fs and gs are heard. */
static void emu_dec_override(struct emu_decoder *d, uint8_t seg)
{
    if (!emu_dec_is_64(d) || seg >= HV_FS)
        d->seg = seg;
}

/* Take one legacy prefix; false when the byte is none. */
static bool emu_dec_legacy_prefix(struct emu_decoder *d, uint8_t byte)
{
    switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e: emu_dec_override(d, byte >> 3 & 3); return true;
    case 0x64:
    case 0x65: emu_dec_override(d, byte & 7); return true;
    case 0x66: d->has_66 = true; return true;
    case 0x67: d->has_67 = true; return true;
    case 0xf0: d->has_lock = true; return true;
    case 0xf2:
    case 0xf3: d->rep = byte; return true;
    default: return false;
    }
}

static void emu_dec_set_rex(struct emu_decoder *d, uint8_t rex)
{
    d->has_rex = rex != 0;
    d->w = rex >> 3 & 1;
    d->r = rex << 1 & 8;
    d->x = rex << 2 & 8;
    d->b = rex << 3 & 8;
}

/* Prefixes up to the opcode's first byte. A REX prefix counts only right before the opcode. */
static void emu_dec_prefixes(struct emu_decoder *d)
{
    uint8_t rex = 0;

    while (d->pos < EMU_MAX_LENGTH) {
        const uint8_t byte = d->bytes[d->pos];

        if (emu_dec_is_64(d) && (byte & 0xf0) == 0x40)
            rex = byte;
        else if (emu_dec_legacy_prefix(d, byte))
            rex = 0;
        else
            break;
        d->pos++;
    }
    if (rex)
        emu_dec_set_rex(d, rex);
}

/* ---- Opcodes ---- */

/* C4 and C5 are VEX prefixes in 64-bit mode, else when what follows would be a ModRM with mod 3. */
static bool emu_dec_is_vex(const struct emu_decoder *d, uint8_t byte)
{
    return (byte & 0xfe) == 0xc4 && (emu_dec_is_64(d) || d->bytes[d->pos] >= 0xc0);
}

/* The prefix that VEX.pp stands for takes the place of the legacy one. */
static void emu_dec_vex_pp(struct emu_decoder *d, uint8_t pp)
{
    d->has_66 = pp == 1;
    d->rep = pp == 2 ? 0xf3 : pp == 3 ? 0xf2 : 0;
}

static void emu_dec_vex_last(struct emu_decoder *d, uint8_t byte)
{
    d->vvvv = ~byte >> 3 & 15;
    d->vex_l = byte >> 2 & 1;
    emu_dec_vex_pp(d, byte & 3);
}

/* spec: AMD64 vol. 3, 1.2.8; Intel SDM vol. 2, 2.3.5: legacy prefixes before VEX are #UD */
static bool emu_dec_vex(struct emu_decoder *d, uint8_t byte)
{
    uint8_t next;

    if (d->has_66 || d->rep || d->has_lock || d->has_rex)
        return false;
    d->is_vex = true;
    next = emu_dec_byte(d);
    d->map = 1;
    if (byte == 0xc4) {
        d->map = next & 31;
        d->x = ~next >> 3 & 8;
        d->b = ~next >> 2 & 8;
    }
    d->r = ~next >> 4 & 8;
    if (byte == 0xc4) {
        next = emu_dec_byte(d);
        d->w = next >> 7;
    }
    emu_dec_vex_last(d, next);
    if (!emu_dec_is_64(d))
        d->r = d->x = d->b = 0;
    d->opcode = emu_dec_byte(d);
    return d->map >= 1 && d->map <= 3;
}

static void emu_dec_escape(struct emu_decoder *d)
{
    d->map = 1;
    d->opcode = emu_dec_byte(d);
    if (d->opcode != 0x38 && d->opcode != 0x3a)
        return;
    d->map = d->opcode == 0x38 ? 2 : 3;
    d->opcode = emu_dec_byte(d);
}

static bool emu_dec_opcode(struct emu_decoder *d)
{
    d->opcode = emu_dec_byte(d);
    if (d->opcode == 0x0f)
        emu_dec_escape(d);
    else if (emu_dec_is_vex(d, d->opcode))
        return emu_dec_vex(d, d->opcode);
    return true;
}

/* ---- Rows ---- */

static unsigned emu_dec_raw_op_size(const struct emu_decoder *d)
{
    if (d->w && emu_dec_is_64(d))
        return 8;
    return (d->code_size == EMU_CODE16) != d->has_66 ? 2 : 4;
}

static unsigned emu_dec_addr_size(const struct emu_decoder *d)
{
    if (emu_dec_is_64(d))
        return d->has_67 ? 4 : 8;
    return (d->code_size == EMU_CODE16) != d->has_67 ? 2 : 4;
}

/* Operand or address size 2, 4, 8 as one of three neighbouring facts. */
static inline uint64_t emu_dec_size_fact(unsigned size, enum emu_fact fact16)
{
    return (uint64_t)(size >> 1 & 1) << fact16 | (uint64_t)(size >> 2 & 1) << (fact16 + 1) |
           (uint64_t)(size >> 3 & 1) << (fact16 + 2);
}

static inline uint64_t emu_dec_prefix_fact(const struct emu_decoder *d)
{
    if (d->rep)
        return d->rep == 0xf3 ? EMU_FACT(F3) : EMU_FACT(F2);
    return d->has_66 ? EMU_FACT(66) : EMU_FACT(NP);
}

/* What holds for this instruction; ModRM facts too when there is one. */
static uint64_t emu_dec_facts(const struct emu_decoder *d)
{
    uint64_t facts = emu_dec_prefix_fact(d);

    facts |= emu_dec_is_64(d) ? EMU_FACT(M64) : EMU_FACT(N64);
    facts |= d->w ? EMU_FACT(W1) : EMU_FACT(W0);
    facts |= d->vex_l ? EMU_FACT(L1) : EMU_FACT(L0);
    facts |= d->b ? EMU_FACT(R1) : EMU_FACT(R0);
    facts |= emu_dec_size_fact(emu_dec_raw_op_size(d), EMU_FACT_OS16);
    facts |= emu_dec_size_fact(emu_dec_addr_size(d), EMU_FACT_AS16);
    if (!d->has_modrm)
        return facts;
    facts |= d->modrm >= 0xc0 ? EMU_FACT(REG) : EMU_FACT(MEM);
    facts |= UINT64_C(1) << (EMU_FACT_REG0 + (d->modrm >> 3 & 7));
    facts |= UINT64_C(1) << (EMU_FACT_RM0 + (d->modrm & 7));
    return facts;
}

static const struct emu_opcode *emu_dec_map(const struct emu_decoder *d)
{
    static const struct emu_opcode *const legacy[] = { emu_map_base, emu_map_0f, emu_map_0f38,
                                                       emu_map_0f3a };
    static const struct emu_opcode *const vex[] = { NULL, emu_map_vex_0f, emu_map_vex_0f38,
                                                    emu_map_vex_0f3a };

    return &(d->is_vex ? vex : legacy)[d->map][d->opcode];
}

/* Find the row; false when the encoding means nothing. */
static bool emu_dec_find_row(struct emu_decoder *d)
{
    const struct emu_opcode *opcode = emu_dec_map(d);
    const struct emu_row *row = opcode->rows;
    uint64_t facts;

    if (!row)
        return false;
    d->has_modrm = opcode->has_modrm;
    if (d->has_modrm)
        d->modrm = emu_dec_byte(d);
    facts = emu_dec_facts(d);
    while (row->not_with & facts)
        row++;
    d->row = row;
    return row->mnemonic != EMU_MN_INVALID;
}

/* ---- Sizes and prefixes ---- */

/* Was 66 there to choose the opcode? Rows of 66 exclude all other prefix facts. */
static bool emu_dec_takes_66(const struct emu_decoder *d)
{
    return (d->row->not_with & EMU_FACT(NP)) && !(d->row->not_with & EMU_FACT(66));
}

/* Was F3 or F2? Rows of F3 exclude F2 and the other way round. */
static bool emu_dec_takes_rep(const struct emu_decoder *d)
{
    const uint64_t excluded = d->row->not_with & EMU_NOT_REP;

    return excluded && excluded != EMU_NOT_REP;
}

static unsigned emu_dec_op_size(const struct emu_decoder *d)
{
    const unsigned attributes = d->row->attributes;
    unsigned size = emu_dec_raw_op_size(d);

    if (attributes & BYTE)
        return 1;
    if (attributes & NOREX)
        return emu_dec_is_64(d) ? 8 : 4;
    if (size == 2 && (d->is_vex || (d->has_66 && emu_dec_takes_66(d))))
        size = d->code_size == EMU_CODE16 ? 2 : 4;
    if (size == 2 && (attributes & MIN4))
        return 4;
    if (!emu_dec_is_64(d))
        return size;
    if (attributes & MAX4)
        return size == 8 ? 4 : size;
    if (attributes & F64)
        return 8;
    return (attributes & D64) && size == 4 ? 8 : size;
}

static unsigned emu_dec_stack_size(const struct emu_decoder *d)
{
    const unsigned size = d->insn->op_size;

    if (!emu_dec_is_64(d) || (d->row->attributes & FAR))
        return size == 1 ? emu_dec_raw_op_size(d) : size;
    return d->has_66 && !d->w && !d->is_vex ? 2 : 8;
}

static unsigned emu_dec_prefix_bits(const struct emu_decoder *d)
{
    unsigned bits = (d->has_lock ? EMU_PFX_LOCK : 0) | (d->has_67 ? EMU_PFX_ADDRSIZE : 0) |
                    (d->seg != EMU_NO_REG ? EMU_PFX_SEG : 0) | (d->w ? EMU_PFX_REX_W : 0);

    if (d->is_vex)
        return bits | EMU_PFX_VEX;
    if (d->has_66 && !emu_dec_takes_66(d))
        bits |= EMU_PFX_OPSIZE;
    if (d->rep && !emu_dec_takes_rep(d))
        bits |= d->rep == 0xf3 ? EMU_PFX_REP : EMU_PFX_REPNE;
    return bits;
}

static void emu_dec_head(struct emu_decoder *d)
{
    struct emu_insn *insn = d->insn;

    insn->mnemonic = d->row->mnemonic;
    insn->opcode = (uint16_t)(d->map << 8 | d->opcode);
    insn->prefixes = (uint8_t)emu_dec_prefix_bits(d);
    insn->op_size = (uint8_t)emu_dec_op_size(d);
    insn->addr_size = (uint8_t)emu_dec_addr_size(d);
    insn->stack_size = (uint8_t)emu_dec_stack_size(d);
    insn->vex_l = d->vex_l;
    insn->seg = d->seg == EMU_NO_REG ? HV_DS : d->seg;
    insn->base = insn->index = EMU_NO_REG;
    insn->flags_read = d->row->reads;
    insn->flags_written = d->row->writes;
}

/* ---- Memory operands ---- */

/* spec: AMD64 vol. 3 table 1-15 (16-bit addressing) */
static void emu_dec_memory16(struct emu_decoder *d)
{
    static const uint8_t base[8] = {
        HV_RBX, HV_RBX, HV_RBP, HV_RBP, HV_RSI, HV_RDI, HV_RBP, HV_RBX
    };
    static const uint8_t index[8] = { HV_RSI,     HV_RDI,     HV_RSI,     HV_RDI,
                                      EMU_NO_REG, EMU_NO_REG, EMU_NO_REG, EMU_NO_REG };
    const unsigned mod = d->modrm >> 6, rm = d->modrm & 7;

    if (mod == 0 && rm == 6) {
        d->insn->disp = emu_dec_signed(d, 2);
        return;
    }
    d->insn->base = base[rm];
    d->insn->index = index[rm];
    if (mod)
        d->insn->disp = emu_dec_signed(d, mod);
}

static void emu_dec_sib(struct emu_decoder *d)
{
    const uint8_t sib = emu_dec_byte(d);
    const uint8_t index = (sib >> 3 & 7) | d->x;
    const uint8_t base = (sib & 7) | d->b;

    d->insn->scale = sib >> 6;
    if (index != 4 || (d->row->attributes & VSIB))
        d->insn->index = index;
    else
        d->insn->scale = 0;
    if ((sib & 7) != 5 || d->modrm >> 6)
        d->insn->base = base;
    else
        d->insn->disp = emu_dec_signed(d, 4);
}

static void emu_dec_memory32(struct emu_decoder *d)
{
    const unsigned mod = d->modrm >> 6, rm = d->modrm & 7;

    if (rm == 4) {
        emu_dec_sib(d);
    } else if (mod == 0 && rm == 5) {
        d->insn->disp = emu_dec_signed(d, 4);
        d->insn->is_rip_relative = emu_dec_is_64(d);
    } else {
        d->insn->base = (uint8_t)(rm | d->b);
    }
    if (mod)
        d->insn->disp = emu_dec_signed(d, mod == 1 ? 1 : 4);
}

/* The address in ModRM; vector indices need a SIB byte. */
static bool emu_dec_memory(struct emu_decoder *d)
{
    const bool is_vsib = d->row->attributes & VSIB;

    if (is_vsib && ((d->modrm & 7) != 4 || d->insn->addr_size == 2))
        return false;
    if (d->insn->addr_size == 2)
        emu_dec_memory16(d);
    else
        emu_dec_memory32(d);
    if (d->seg == EMU_NO_REG && (d->insn->base == HV_RSP || d->insn->base == HV_RBP))
        d->insn->seg = HV_SS;
    return true;
}

/* ---- Operands ---- */

struct emu_operand_row {
    uint8_t encoding, size, memory_size;
};

static const struct emu_operand_row emu_operand_rows[EMU_N_OPERAND_TYPES] = {
#define SIZE(name)                      EMU_SIZE_##name
#define X(name, encoding, size, memory) [name] = { EMU_ENC_##encoding, size, memory },
    EMU_OPERAND_TYPES(X)
#undef X
#undef SIZE
};

static unsigned emu_dec_size(const struct emu_decoder *d, unsigned size)
{
    const unsigned op_size = d->insn->op_size, vector = d->vex_l ? 32 : 16;

    switch (size) {
    case EMU_SIZE_V: return op_size;
    case EMU_SIZE_Z: return op_size == 8 ? 4 : op_size;
    case EMU_SIZE_Y: return d->w && emu_dec_is_64(d) ? 8 : 4;
    case EMU_SIZE_N: return emu_dec_is_64(d) ? 8 : 4;
    case EMU_SIZE_X: return vector;
    case EMU_SIZE_HALF: return vector / 2;
    case EMU_SIZE_QUARTER: return vector / 4;
    case EMU_SIZE_EIGHTH: return vector / 8;
    case EMU_SIZE_PAIR: return op_size * 2;
    case EMU_SIZE_FAR: return op_size + 2;
    case EMU_SIZE_TABLE: return emu_dec_is_64(d) ? 10 : 6;
    case EMU_SIZE_FPUENV: return op_size == 2 ? 14 : 28;
    case EMU_SIZE_FPU: return op_size == 2 ? 94 : 108;
    default: return size;
    }
}

/* A general register by number; spl.. with a REX prefix, else ah.. */
static void emu_dec_gpr(const struct emu_decoder *d, unsigned reg, struct emu_operand *op)
{
    op->kind = EMU_OPD_GPR;
    op->reg = (uint8_t)reg;
    if (op->size == 1 && !d->has_rex && !d->is_vex && reg >= 4) {
        op->kind = EMU_OPD_GPR_HIGH;
        op->reg = (uint8_t)(reg - 4);
    }
}

/* VEX.vvvv; outside 64-bit mode its top bit is ignored where it names a register. */
static unsigned emu_dec_vvvv(const struct emu_decoder *d)
{
    return d->vvvv & (emu_dec_is_64(d) ? 15 : 7);
}

static void emu_dec_register(struct emu_operand *op, enum emu_operand_kind kind, unsigned reg)
{
    op->kind = kind;
    op->reg = (uint8_t)reg;
}

/* Encodings with a register in ModRM.rm become memory when mod isn't 3. */
static bool emu_dec_rm_memory(const struct emu_decoder *d, const struct emu_operand_row *row,
                              struct emu_operand *op)
{
    if (d->modrm >= 0xc0 || (d->row->attributes & MOD3))
        return false;
    op->kind = EMU_OPD_MEM;
    op->reg = EMU_NO_REG;
    op->size = (uint8_t)emu_dec_size(d, row->memory_size);
    return true;
}

/* Segment, control and debug registers; false for those that don't exist. */
static bool emu_dec_special(const struct emu_decoder *d, enum emu_encoding encoding,
                            struct emu_operand *op)
{
    const unsigned reg = d->modrm >> 3 & 7, long_reg = reg | d->r;

    switch (encoding) {
    case EMU_ENC_REG_SEG: emu_dec_register(op, EMU_OPD_SEG, reg); return true;
    case EMU_ENC_REG_CR:
        emu_dec_register(op, EMU_OPD_CR, long_reg);
        return long_reg == 0 || long_reg == 8 || (long_reg >= 2 && long_reg <= 4);
    default: emu_dec_register(op, EMU_OPD_DR, long_reg); return long_reg < 8;
    }
}

static void emu_dec_immediate(struct emu_decoder *d, uint64_t value, struct emu_operand *op)
{
    const struct emu_operand *first = d->insn->op;
    const bool is_second =
        op > first && (op[-1].kind == EMU_OPD_IMM || op[-1].kind == EMU_OPD_IMM2);

    op->kind = is_second ? EMU_OPD_IMM2 : EMU_OPD_IMM;
    if (is_second)
        d->insn->imm2 = (uint16_t)value;
    else
        d->insn->imm = value;
}

static void emu_dec_far(struct emu_decoder *d, struct emu_operand *op)
{
    op->kind = EMU_OPD_FAR;
    d->insn->imm = emu_dec_unsigned(d, d->insn->op_size);
    d->insn->imm2 = (uint16_t)emu_dec_unsigned(d, 2);
}

static void emu_dec_moffs(struct emu_decoder *d, const struct emu_operand_row *row,
                          struct emu_operand *op)
{
    op->kind = EMU_OPD_MEM;
    op->reg = EMU_NO_REG;
    op->size = (uint8_t)emu_dec_size(d, row->memory_size);
    d->insn->disp = (int64_t)emu_dec_unsigned(d, d->insn->addr_size);
}

/* What comes from immediate bytes or is part of the opcode. */
static void emu_dec_fixed(struct emu_decoder *d, const struct emu_operand_row *row,
                          struct emu_operand *op)
{
    switch (row->encoding) {
    case EMU_ENC_IS4:
        emu_dec_register(op, EMU_OPD_VEC, emu_dec_byte(d) >> 4 & (emu_dec_is_64(d) ? 15 : 7));
        return;
    case EMU_ENC_GPR0:
    case EMU_ENC_GPR1:
    case EMU_ENC_GPR2: emu_dec_register(op, EMU_OPD_GPR, row->encoding - EMU_ENC_GPR0); return;
    case EMU_ENC_ST0: emu_dec_register(op, EMU_OPD_ST, 0); return;
    case EMU_ENC_ONE: emu_dec_immediate(d, 1, op); return;
    case EMU_ENC_IMM: emu_dec_immediate(d, emu_dec_unsigned(d, op->size), op); return;
    case EMU_ENC_IMM_SIGNED:
        emu_dec_immediate(d, (uint64_t)emu_dec_signed(d, op->size), op);
        return;
    case EMU_ENC_REL:
        op->kind = EMU_OPD_REL;
        d->insn->imm = (uint64_t)emu_dec_signed(d, op->size);
        return;
    case EMU_ENC_FAR: emu_dec_far(d, op); return;
    case EMU_ENC_MOFFS: emu_dec_moffs(d, row, op); return;
    default: /* EMU_ENC_SEG0... */
        emu_dec_register(op, EMU_OPD_SEG, row->encoding - EMU_ENC_SEG0);
        return;
    }
}

static bool emu_dec_operand(struct emu_decoder *d, const struct emu_operand_row *row,
                            struct emu_operand *op)
{
    const unsigned reg = d->modrm >> 3 & 7, rm = d->modrm & 7;

    op->size = (uint8_t)emu_dec_size(d, row->size);
    switch (row->encoding) {
    case EMU_ENC_REG_GPR: emu_dec_gpr(d, reg | d->r, op); return true;
    case EMU_ENC_REG_MM: emu_dec_register(op, EMU_OPD_MM, reg); return true;
    case EMU_ENC_REG_VEC: emu_dec_register(op, EMU_OPD_VEC, reg | d->r); return true;
    case EMU_ENC_RM_GPR:
        if (!emu_dec_rm_memory(d, row, op))
            emu_dec_gpr(d, rm | d->b, op);
        return true;
    case EMU_ENC_RM_MM:
        if (!emu_dec_rm_memory(d, row, op))
            emu_dec_register(op, EMU_OPD_MM, rm);
        return true;
    case EMU_ENC_RM_VEC:
        if (!emu_dec_rm_memory(d, row, op))
            emu_dec_register(op, EMU_OPD_VEC, rm | d->b);
        return true;
    case EMU_ENC_RM_ST: emu_dec_register(op, EMU_OPD_ST, rm); return true;
    case EMU_ENC_VVVV_GPR: emu_dec_register(op, EMU_OPD_GPR, emu_dec_vvvv(d)); return true;
    case EMU_ENC_VVVV_VEC: emu_dec_register(op, EMU_OPD_VEC, emu_dec_vvvv(d)); return true;
    case EMU_ENC_OPCODE_GPR: emu_dec_gpr(d, (d->opcode & 7) | d->b, op); return true;
    case EMU_ENC_REG_SEG:
    case EMU_ENC_REG_CR:
    case EMU_ENC_REG_DR: return emu_dec_special(d, row->encoding, op);
    default: emu_dec_fixed(d, row, op); return true;
    }
}

/* All operands; false when one names a register that doesn't exist. */
static bool emu_dec_operands(struct emu_decoder *d)
{
    struct emu_insn *insn = d->insn;

    for (; insn->n_operands < 4; insn->n_operands++) {
        const enum emu_operand_type type = d->row->op[insn->n_operands];

        if (type == NONE)
            return true;
        if (!emu_dec_operand(d, &emu_operand_rows[type], &insn->op[insn->n_operands]))
            return false;
    }
    return true;
}

/* ---- The last checks ---- */

static bool emu_dec_uses_vvvv(const struct emu_decoder *d)
{
    for (unsigned i = 0; i < d->insn->n_operands; i++) {
        const unsigned encoding = emu_operand_rows[d->row->op[i]].encoding;

        if (encoding == EMU_ENC_VVVV_GPR || encoding == EMU_ENC_VVVV_VEC)
            return true;
    }
    return false;
}

/* spec: Intel SDM vol. 2, 2.3.12: destination, index and mask of a gather differ */
static bool emu_dec_is_good_gather(const struct emu_insn *insn)
{
    return insn->op[0].reg != insn->index && insn->op[0].reg != insn->op[2].reg &&
           insn->op[2].reg != insn->index;
}

static bool emu_dec_is_allowed(const struct emu_decoder *d)
{
    const struct emu_insn *insn = d->insn;

    if (d->has_lock && (!(d->row->attributes & LOCK) || insn->op[0].kind != EMU_OPD_MEM))
        return false;
    if (!d->is_vex)
        return true;
    if (d->vvvv && !emu_dec_uses_vvvv(d))
        return false;
    return !(d->row->attributes & VSIB) || emu_dec_is_good_gather(insn);
}

/* Instructions that write flags only sometimes read them as well. */
static void emu_dec_conditional_flags(const struct emu_decoder *d)
{
    struct emu_insn *insn = d->insn;

    if (d->row->attributes & STRING) {
        if (insn->prefixes & (EMU_PFX_REP | EMU_PFX_REPNE))
            insn->flags_read |= insn->flags_written;
    } else if (insn->op[insn->n_operands - 1].kind != EMU_OPD_IMM) {
        insn->flags_read |= insn->flags_written;
    } else if (!(insn->imm & (insn->op_size == 8 ? 63 : 31))) {
        insn->flags_read = insn->flags_written = 0;
    }
}

/* Hint nops have no operands, for nothing is done with them. */
static void emu_dec_finish(struct emu_decoder *d)
{
    struct emu_insn *insn = d->insn;

    if (d->row->attributes & (STRING | SHIFT))
        emu_dec_conditional_flags(d);
    if (insn->mnemonic == EMU_MN_NOP) {
        memset(insn->op, 0, sizeof(insn->op));
        insn->n_operands = 0;
    }
    insn->length = (uint8_t)d->pos;
}

static bool emu_dec_all(struct emu_decoder *d)
{
    emu_dec_prefixes(d);
    if (!emu_dec_opcode(d) || !emu_dec_find_row(d))
        return false;
    emu_dec_head(d);
    if (d->has_modrm && d->modrm < 0xc0 && !(d->row->attributes & MOD3) && !emu_dec_memory(d))
        return false;
    if (!emu_dec_operands(d) || !emu_dec_is_allowed(d))
        return false;
    emu_dec_finish(d);
    return true;
}

enum emu_decode_result emu_decode(const uint8_t *bytes, size_t available,
                                  enum emu_code_size code_size, struct emu_insn *ret)
{
    struct emu_insn insn = { 0 };
    struct emu_decoder d = {
        .bytes = bytes, .code_size = code_size, .seg = EMU_NO_REG, .insn = &insn
    };
    uint8_t buffer[EMU_DEC_BUFFER];
    bool is_good;

    if (available < EMU_DEC_BUFFER) {
        memset(buffer, 0, sizeof(buffer));
        memcpy(buffer, bytes, available);
        d.bytes = buffer;
    }
    is_good = emu_dec_all(&d);
    if (d.pos > available && available < EMU_MAX_LENGTH)
        return EMU_DECODE_SHORT;
    if (d.pos > EMU_MAX_LENGTH)
        return EMU_DECODE_TOO_LONG;
    if (!is_good)
        return EMU_DECODE_INVALID;
    *ret = insn;
    return EMU_DECODE_OK;
}
