/* SPDX-License-Identifier: Apache-2.0 */
/* libzydis as an oracle for emu_decode: its answer in our own terms. */
#include "tests/cpu/oracle.h"

#include <string.h>
#include <Zydis/Zydis.h>

enum {
    EMU_ZYDIS_MAX_OPERANDS = ZYDIS_MAX_OPERAND_COUNT,
    /* Names of ours that Zydis has no mnemonic for; see emu_zydis_mnemonic. */
    ZYDIS_MNEMONIC_SSE_MOVSD = ZYDIS_MNEMONIC_MAX_VALUE + 1,
    ZYDIS_MNEMONIC_SSE_CMPSD,
    ZYDIS_MNEMONIC_CALL_FAR,
    ZYDIS_MNEMONIC_JMP_FAR,
    ZYDIS_MNEMONIC_RET_FAR,
    ZYDIS_MNEMONIC_WBNOINVD,
};

static const uint16_t emu_zydis_mnemonics[] = {
#define EMU_MNEMONIC(name) [ZYDIS_MNEMONIC_##name] = EMU_MN_##name,
#include "hvcore/emu/mnemonics.def"
#undef EMU_MNEMONIC
};

/* A decoded instruction on its way from Zydis to us. */
struct emu_zydis {
    ZydisDecodedInstruction insn;
    ZydisDecodedOperand op[EMU_ZYDIS_MAX_OPERANDS];
    struct emu_insn *ret;
};

static bool emu_zydis_init(ZydisDecoder *decoder, enum emu_code_size code_size)
{
    static const struct {
        ZydisMachineMode mode;
        ZydisStackWidth stack;
    } modes[] = {
        [EMU_CODE16] = { ZYDIS_MACHINE_MODE_LONG_COMPAT_16, ZYDIS_STACK_WIDTH_16 },
        [EMU_CODE32] = { ZYDIS_MACHINE_MODE_LONG_COMPAT_32, ZYDIS_STACK_WIDTH_32 },
        [EMU_CODE64] = { ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64 },
    };
    static const ZydisDecoderMode absent[] = { ZYDIS_DECODER_MODE_MPX, ZYDIS_DECODER_MODE_CET,
                                               ZYDIS_DECODER_MODE_CLDEMOTE };

    if (!ZYAN_SUCCESS(ZydisDecoderInit(decoder, modes[code_size].mode, modes[code_size].stack)))
        return false;
    for (unsigned i = 0; i < sizeof(absent) / sizeof(absent[0]); i++)
        ZydisDecoderEnableMode(decoder, absent[i], ZYAN_FALSE);
    ZydisDecoderEnableMode(decoder, ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_TRUE);
    return true;
}

static bool emu_zydis_is_known(const ZydisDecodedInstruction *insn)
{
    if (insn->meta.isa_ext == ZYDIS_ISA_EXT_KNC)
        return false;
    return insn->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY ||
           insn->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
}

/* The last of F2 and F3, or 0. */
static uint8_t emu_zydis_last_rep(const ZydisDecodedInstruction *insn)
{
    for (unsigned i = insn->raw.prefix_count; i-- > 0;) {
        if ((insn->raw.prefixes[i].value & 0xfe) == 0xf2)
            return insn->raw.prefixes[i].value;
    }
    return 0;
}

static enum emu_mnemonic emu_zydis_mnemonic(const ZydisDecodedInstruction *insn)
{
    const bool is_far = insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;

    switch (insn->mnemonic) {
    case ZYDIS_MNEMONIC_MOVSD:
        return insn->opcode_map == ZYDIS_OPCODE_MAP_0F ? EMU_MN_SSE_MOVSD : EMU_MN_MOVSD;
    case ZYDIS_MNEMONIC_CMPSD:
        return insn->opcode_map == ZYDIS_OPCODE_MAP_0F ? EMU_MN_SSE_CMPSD : EMU_MN_CMPSD;
    case ZYDIS_MNEMONIC_CALL: return is_far ? EMU_MN_CALL_FAR : EMU_MN_CALL;
    case ZYDIS_MNEMONIC_JMP: return is_far ? EMU_MN_JMP_FAR : EMU_MN_JMP;
    case ZYDIS_MNEMONIC_RET: return is_far ? EMU_MN_RET_FAR : EMU_MN_RET;
    case ZYDIS_MNEMONIC_WBINVD:
        return emu_zydis_last_rep(insn) == 0xf3 ? EMU_MN_WBNOINVD : EMU_MN_WBINVD;
    default: return emu_zydis_mnemonics[insn->mnemonic];
    }
}

/* ---- Prefixes ---- */

/* Zydis calls rep on strings mandatory as well; in the one-byte map only pause is made so. */
static bool emu_zydis_is_mandatory(const ZydisDecodedInstruction *insn, uint8_t value)
{
    if (insn->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && insn->mnemonic != ZYDIS_MNEMONIC_PAUSE)
        return false;
    if (insn->mnemonic == ZYDIS_MNEMONIC_WBINVD)
        return value == 0xf3;
    for (unsigned i = 0; i < insn->raw.prefix_count; i++) {
        if (insn->raw.prefixes[i].value == value &&
            insn->raw.prefixes[i].type == ZYDIS_PREFIX_TYPE_MANDATORY)
            return true;
    }
    return false;
}

static uint8_t emu_zydis_rep(const ZydisDecodedInstruction *insn)
{
    const uint8_t rep = emu_zydis_last_rep(insn);

    if (!rep || emu_zydis_is_mandatory(insn, rep))
        return 0;
    return rep == 0xf3 ? EMU_PFX_REP : EMU_PFX_REPNE;
}

static uint8_t emu_zydis_prefix(const ZydisDecodedInstruction *insn, unsigned n)
{
    switch (insn->raw.prefixes[n].value) {
    case 0xf0: return EMU_PFX_LOCK;
    case 0x66: return emu_zydis_is_mandatory(insn, 0x66) ? 0 : EMU_PFX_OPSIZE;
    case 0x67: return EMU_PFX_ADDRSIZE;
    default: return 0;
    }
}

/* The segment an override asks for; default_seg when there is none that counts. */
static uint8_t emu_zydis_segment(const ZydisDecodedInstruction *insn, uint8_t default_seg)
{
    static const struct {
        ZydisInstructionAttributes attribute;
        uint8_t seg;
    } rows[] = {
        { ZYDIS_ATTRIB_HAS_SEGMENT_FS, HV_FS }, { ZYDIS_ATTRIB_HAS_SEGMENT_GS, HV_GS },
        { ZYDIS_ATTRIB_HAS_SEGMENT_ES, HV_ES }, { ZYDIS_ATTRIB_HAS_SEGMENT_CS, HV_CS },
        { ZYDIS_ATTRIB_HAS_SEGMENT_SS, HV_SS }, { ZYDIS_ATTRIB_HAS_SEGMENT_DS, HV_DS },
    };
    const unsigned n = insn->machine_mode == ZYDIS_MACHINE_MODE_LONG_64 ? 2 : 6;

    for (unsigned i = 0; i < n; i++) {
        if (insn->attributes & rows[i].attribute)
            return rows[i].seg;
    }
    return default_seg;
}

static void emu_zydis_prefixes(struct emu_zydis *z)
{
    const ZydisDecodedInstruction *insn = &z->insn;
    struct emu_insn *ret = z->ret;

    ret->prefixes = emu_zydis_rep(insn);
    for (unsigned i = 0; i < insn->raw.prefix_count; i++)
        ret->prefixes |= emu_zydis_prefix(insn, i);
    if (insn->encoding == ZYDIS_INSTRUCTION_ENCODING_VEX) {
        ret->prefixes |= EMU_PFX_VEX | (insn->raw.vex.W ? EMU_PFX_REX_W : 0);
        ret->vex_l = insn->raw.vex.L;
    } else if (insn->raw.rex.W) {
        ret->prefixes |= EMU_PFX_REX_W;
    }
    ret->seg = emu_zydis_segment(insn, HV_DS);
    if (emu_zydis_segment(insn, EMU_NO_REG) != EMU_NO_REG)
        ret->prefixes |= EMU_PFX_SEG;
}

/* ---- Operands ---- */

static void emu_zydis_register(ZydisRegister reg, struct emu_operand *ret)
{
    static const uint8_t kinds[] = {
        [ZYDIS_REGCLASS_GPR8] = EMU_OPD_GPR,    [ZYDIS_REGCLASS_GPR16] = EMU_OPD_GPR,
        [ZYDIS_REGCLASS_GPR32] = EMU_OPD_GPR,   [ZYDIS_REGCLASS_GPR64] = EMU_OPD_GPR,
        [ZYDIS_REGCLASS_X87] = EMU_OPD_ST,      [ZYDIS_REGCLASS_MMX] = EMU_OPD_MM,
        [ZYDIS_REGCLASS_XMM] = EMU_OPD_VEC,     [ZYDIS_REGCLASS_YMM] = EMU_OPD_VEC,
        [ZYDIS_REGCLASS_SEGMENT] = EMU_OPD_SEG, [ZYDIS_REGCLASS_CONTROL] = EMU_OPD_CR,
        [ZYDIS_REGCLASS_DEBUG] = EMU_OPD_DR,    [ZYDIS_REGCLASS_MASK] = EMU_OPD_NONE,
    };
    const ZydisRegisterClass class = ZydisRegisterGetClass(reg);

    ret->kind = kinds[class];
    ret->reg = (uint8_t)ZydisRegisterGetId(reg);
    ret->size = (uint8_t)(ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, reg) / 8);
    if (reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH) {
        ret->kind = EMU_OPD_GPR_HIGH;
        ret->reg = (uint8_t)(reg - ZYDIS_REGISTER_AH);
    } else if (class == ZYDIS_REGCLASS_GPR8) { /* Zydis counts ah..bh among them */
        ret->reg = (uint8_t)(reg <= ZYDIS_REGISTER_BL ? reg - ZYDIS_REGISTER_AL
                                                      : reg - ZYDIS_REGISTER_SPL + 4);
    }
}

static uint8_t emu_zydis_index_or_base(ZydisRegister reg)
{
    return reg == ZYDIS_REGISTER_NONE ? EMU_NO_REG : (uint8_t)ZydisRegisterGetId(reg);
}

static uint8_t emu_zydis_log2(uint8_t scale)
{
    return scale == 8 ? 3 : scale == 4 ? 2 : scale == 2 ? 1 : 0;
}

/* Data that a memory operand moves, in bytes; 0 where it is only an address. */
static uint8_t emu_zydis_memory_size(const struct emu_zydis *z, const ZydisDecodedOperand *op)
{
    switch (z->ret->mnemonic) {
    case EMU_MN_LEA:
    case EMU_MN_INVLPG:
    case EMU_MN_NOP:
    case EMU_MN_PREFETCH:
    case EMU_MN_PREFETCHW:
    case EMU_MN_PREFETCHWT1:
    case EMU_MN_PREFETCHNTA:
    case EMU_MN_PREFETCHT0:
    case EMU_MN_PREFETCHT1:
    case EMU_MN_PREFETCHT2:
    case EMU_MN_CLFLUSH:
    case EMU_MN_CLFLUSHOPT:
    case EMU_MN_CLWB: return 0;
    case EMU_MN_FXSAVE:
    case EMU_MN_FXSAVE64:
    case EMU_MN_FXRSTOR:
    case EMU_MN_FXRSTOR64:
    case EMU_MN_XSAVE:
    case EMU_MN_XSAVE64:
    case EMU_MN_XSAVEC:
    case EMU_MN_XSAVEC64:
    case EMU_MN_XSAVEOPT:
    case EMU_MN_XSAVEOPT64:
    case EMU_MN_XRSTOR:
    case EMU_MN_XRSTOR64: return 255;
    default:
        if (op->mem.type == ZYDIS_MEMOP_TYPE_VSIB)
            return (uint8_t)(op->element_size / 8);
        return (uint8_t)(op->size / 8);
    }
}

static void emu_zydis_memory(struct emu_zydis *z, const ZydisDecodedOperand *op,
                             struct emu_operand *ret)
{
    struct emu_insn *insn = z->ret;
    const ZydisRegister base = op->mem.base;
    uint8_t default_seg = HV_DS;

    ret->kind = EMU_OPD_MEM;
    ret->reg = EMU_NO_REG;
    ret->size = emu_zydis_memory_size(z, op);
    insn->is_rip_relative = base == ZYDIS_REGISTER_RIP || base == ZYDIS_REGISTER_EIP;
    insn->base = insn->is_rip_relative ? (uint8_t)EMU_NO_REG : emu_zydis_index_or_base(base);
    insn->index = emu_zydis_index_or_base(op->mem.index);
    insn->scale = emu_zydis_log2(op->mem.scale);
    insn->disp = op->mem.disp.value;
    if (insn->base == HV_RSP || insn->base == HV_RBP)
        default_seg = HV_SS;
    insn->seg = emu_zydis_segment(&z->insn, default_seg);
}

static void emu_zydis_immediate(struct emu_zydis *z, const ZydisDecodedOperand *op, bool is_second,
                                struct emu_operand *ret)
{
    ret->size = (uint8_t)(op->size / 8);
    if (is_second) {
        ret->kind = EMU_OPD_IMM2;
        z->ret->imm2 = (uint16_t)op->imm.value.u;
        return;
    }
    ret->kind = op->imm.is_relative ? EMU_OPD_REL : EMU_OPD_IMM;
    z->ret->imm = op->imm.value.u;
}

/* x87 forms whose st(0) the manuals don't write. */
static bool emu_zydis_hides_st0(const struct emu_zydis *z)
{
    switch (z->ret->mnemonic) {
    case EMU_MN_FLD:
    case EMU_MN_FST:
    case EMU_MN_FSTP:
    case EMU_MN_FSTPNCE:
    case EMU_MN_FXCH:
    case EMU_MN_FCOM:
    case EMU_MN_FCOMP:
    case EMU_MN_FUCOM:
    case EMU_MN_FUCOMP: return true;
    default: /* one-operand and memory forms */
        return z->insn.opcode < 0xd8 || z->insn.opcode > 0xdf || z->insn.raw.modrm.mod != 3;
    }
}

static bool emu_zydis_is_written_out(const struct emu_zydis *z, const ZydisDecodedOperand *op)
{
    if (op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN)
        return false;
    if (op->type == ZYDIS_OPERAND_TYPE_REGISTER && op->reg.value == ZYDIS_REGISTER_ST0 &&
        op->visibility == ZYDIS_OPERAND_VISIBILITY_IMPLICIT)
        return !emu_zydis_hides_st0(z);
    return true;
}

static void emu_zydis_operands(struct emu_zydis *z)
{
    struct emu_insn *ret = z->ret;
    bool has_immediate = false;

    ret->base = ret->index = EMU_NO_REG;
    if (ret->mnemonic == EMU_MN_NOP)
        return;
    for (unsigned i = 0; i < z->insn.operand_count && ret->n_operands < 4; i++) {
        const ZydisDecodedOperand *op = &z->op[i];
        struct emu_operand *to = &ret->op[ret->n_operands];

        if (!emu_zydis_is_written_out(z, op))
            continue;
        ret->n_operands++;
        if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
            emu_zydis_register(op->reg.value, to);
        } else if (op->type == ZYDIS_OPERAND_TYPE_MEMORY) {
            emu_zydis_memory(z, op, to);
        } else if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
            emu_zydis_immediate(z, op, has_immediate, to);
            has_immediate = true;
        } else {
            to->kind = EMU_OPD_FAR;
            to->size = (uint8_t)(op->size / 8);
            ret->imm = op->ptr.offset;
            ret->imm2 = op->ptr.segment;
        }
    }
}

/* ---- Sizes and flags ---- */

static void emu_zydis_sizes(struct emu_zydis *z, enum emu_code_size code_size)
{
    struct emu_insn *ret = z->ret;

    ret->op_size = z->insn.operand_width / 8;
    ret->addr_size = z->insn.address_width / 8;
    ret->stack_size = ret->op_size == 1 ? 4 : ret->op_size;
    if (code_size == EMU_CODE64 && z->insn.meta.branch_type != ZYDIS_BRANCH_TYPE_FAR &&
        z->insn.meta.category != ZYDIS_CATEGORY_RET)
        ret->stack_size =
            ret->prefixes & EMU_PFX_OPSIZE && !(ret->prefixes & EMU_PFX_REX_W) ? 2 : 8;
}

/* Whoever saves RFLAGS for the one who comes back. */
static bool emu_zydis_saves_flags(enum emu_mnemonic mnemonic)
{
    return mnemonic == EMU_MN_SYSCALL || mnemonic == EMU_MN_INT || mnemonic == EMU_MN_INT1 ||
           mnemonic == EMU_MN_INT3 || mnemonic == EMU_MN_INTO;
}

/* Does the number of shifts, and so whether flags change, depend on cl? */
static bool emu_zydis_is_shift(enum emu_mnemonic mnemonic)
{
    switch (mnemonic) {
    case EMU_MN_SHL:
    case EMU_MN_SHR:
    case EMU_MN_SAR:
    case EMU_MN_ROL:
    case EMU_MN_ROR:
    case EMU_MN_RCL:
    case EMU_MN_RCR:
    case EMU_MN_SHLD:
    case EMU_MN_SHRD: return true;
    default: return false;
    }
}

static void emu_zydis_shift_flags(struct emu_insn *ret)
{
    const struct emu_operand *count = &ret->op[ret->n_operands - 1];

    if (count->kind != EMU_OPD_IMM)
        ret->flags_read |= ret->flags_written;
    else if ((ret->imm & (ret->op_size == 8 ? 63 : 31)) == 0)
        ret->flags_read = ret->flags_written = 0;
}

static void emu_zydis_flags(struct emu_zydis *z)
{
    const ZydisAccessedFlags *flags = z->insn.cpu_flags;
    struct emu_insn *ret = z->ret;
    const uint8_t rep = EMU_PFX_REP | EMU_PFX_REPNE;

    if (flags) {
        ret->flags_read = flags->tested & EMU_ARITH_FLAGS;
        ret->flags_written =
            (flags->modified | flags->set_0 | flags->set_1 | flags->undefined) & EMU_ARITH_FLAGS;
    }
    if (emu_zydis_saves_flags(ret->mnemonic))
        ret->flags_read = EMU_ARITH_FLAGS;
    if (emu_zydis_is_shift(ret->mnemonic))
        emu_zydis_shift_flags(ret);
    else if ((z->insn.meta.category == ZYDIS_CATEGORY_STRINGOP) && (ret->prefixes & rep))
        ret->flags_read |= ret->flags_written;
}

static uint16_t emu_zydis_opcode(const ZydisDecodedInstruction *insn)
{
    const unsigned map = insn->opcode_map == ZYDIS_OPCODE_MAP_0F     ? 1
                         : insn->opcode_map == ZYDIS_OPCODE_MAP_0F38 ? 2
                         : insn->opcode_map == ZYDIS_OPCODE_MAP_0F3A ? 3
                                                                     : 0;

    return (uint16_t)(map << 8 | insn->opcode);
}

static enum emu_decode_result emu_zydis_failure(ZyanStatus status, size_t available)
{
    if (status == ZYDIS_STATUS_NO_MORE_DATA)
        return available < 15 ? EMU_DECODE_SHORT : EMU_DECODE_TOO_LONG;
    if (status == ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
        return EMU_DECODE_TOO_LONG;
    return EMU_DECODE_INVALID;
}

enum emu_decode_result emu_zydis_decode(const uint8_t *bytes, size_t available,
                                        enum emu_code_size code_size, struct emu_insn *ret)
{
    struct emu_insn insn = { 0 };
    struct emu_zydis z;
    ZydisDecoder decoder;
    ZyanStatus status;

    z.ret = &insn;
    if (available > 15)
        available = 15;
    if (!emu_zydis_init(&decoder, code_size))
        return EMU_DECODE_INVALID;
    status = ZydisDecoderDecodeFull(&decoder, bytes, available, &z.insn, z.op);
    if (!ZYAN_SUCCESS(status))
        return emu_zydis_failure(status, available);
    insn.mnemonic = emu_zydis_is_known(&z.insn) ? emu_zydis_mnemonic(&z.insn) : EMU_MN_INVALID;
    if (insn.mnemonic == EMU_MN_INVALID)
        return EMU_DECODE_INVALID;

    insn.length = z.insn.length;
    insn.opcode = emu_zydis_opcode(&z.insn);
    emu_zydis_prefixes(&z);
    emu_zydis_operands(&z);
    emu_zydis_sizes(&z, code_size);
    emu_zydis_flags(&z);
    *ret = insn;
    return EMU_DECODE_OK;
}

void emu_zydis_format(const uint8_t *bytes, size_t available, enum emu_code_size code_size,
                      char *ret, size_t ret_bytes)
{
    ZydisDecodedOperand op[EMU_ZYDIS_MAX_OPERANDS];
    ZydisDecodedInstruction insn;
    ZydisFormatter formatter;
    ZydisDecoder decoder;

    ret[0] = 0;
    if (!emu_zydis_init(&decoder, code_size) ||
        !ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoder, bytes, available, &insn, op)) ||
        !ZYAN_SUCCESS(ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL)))
        return;
    ZydisFormatterFormatInstruction(&formatter, &insn, op, insn.operand_count_visible, ret,
                                    ret_bytes, 0, NULL);
}
