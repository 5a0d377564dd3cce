/* SPDX-License-Identifier: Apache-2.0 */
/* Rules of encoding, one by one; completeness is tests/cpu's. */
#include "hvcore/emu/insn.h"
#include "tests/lib/cmocka.h"

#include <string.h>

struct row {
    const char *claim;
    enum emu_code_size code_size;
    uint8_t n;
    uint8_t bytes[16];
};

static enum emu_decode_result decode_row(const struct row *row, struct emu_insn *insn)
{
    const enum emu_decode_result result = emu_decode(row->bytes, row->n, row->code_size, insn);

    if (result != EMU_DECODE_OK)
        memset(insn, 0, sizeof(*insn));
    return result;
}

static void invalid_encodings_are_refused(void **state)
{
    static const struct row rows[] = {
        { "lock needs a memory destination", EMU_CODE64, 3, { 0xf0, 0x01, 0xc0 } },
        { "lock isn't for loads", EMU_CODE64, 3, { 0xf0, 0x03, 0x00 } },
        { "lock isn't for cmp", EMU_CODE64, 3, { 0xf0, 0x39, 0x00 } },
        { "cs can't be loaded by mov", EMU_CODE64, 2, { 0x8e, 0xc8 } },
        { "there is no segment register 6", EMU_CODE64, 2, { 0x8c, 0xf0 } },
        { "there is no cr1", EMU_CODE64, 3, { 0x0f, 0x20, 0xc8 } },
        { "lea needs memory", EMU_CODE64, 2, { 0x8d, 0xc0 } },
        { "daa is gone in 64-bit mode", EMU_CODE64, 1, { 0x27 } },
        { "push es is gone in 64-bit mode", EMU_CODE64, 1, { 0x06 } },
        { "66 before VEX", EMU_CODE64, 5, { 0x66, 0xc5, 0xf8, 0x58, 0xc1 } },
        { "REX before VEX", EMU_CODE64, 5, { 0x48, 0xc5, 0xf8, 0x58, 0xc1 } },
        { "VEX.vvvv is 1111 where unused", EMU_CODE64, 4, { 0xc5, 0xf0, 0x28, 0xc1 } },
        { "a gather's registers differ", EMU_CODE64, 6, { 0xc4, 0xe2, 0x71, 0x90, 0x0c, 0xc8 } },
        { "EVEX isn't offered", EMU_CODE64, 6, { 0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc1 } },
        { "XOP isn't offered", EMU_CODE64, 5, { 0x8f, 0xe8, 0x78, 0xc0, 0xc1 } },
        { "prefetch with a register", EMU_CODE64, 3, { 0x0f, 0x0d, 0xc0 } },
        { "swapgs outside 64-bit mode", EMU_CODE32, 3, { 0x0f, 0x01, 0xf8 } },
        { "F3 on an SSE opcode without such a form", EMU_CODE64, 4, { 0xf3, 0x0f, 0x54, 0xc1 } },
    };
    struct emu_insn insn;

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (decode_row(&rows[i], &insn) != EMU_DECODE_INVALID)
            fail_msg("%s", rows[i].claim);
    }
}

static void an_instruction_has_at_most_15_bytes(void **state)
{
    uint8_t bytes[17];
    struct emu_insn insn;

    memset(bytes, 0x66, sizeof(bytes));
    bytes[14] = 0x90;
    assert_int_equal(emu_decode(bytes, 15, EMU_CODE64, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.length, 15);
    bytes[14] = 0x66;
    bytes[15] = 0x90;
    assert_int_equal(emu_decode(bytes, 15, EMU_CODE64, &insn), EMU_DECODE_TOO_LONG);
    assert_int_equal(emu_decode(bytes, 16, EMU_CODE64, &insn), EMU_DECODE_TOO_LONG);
    assert_int_equal(emu_decode(bytes, 14, EMU_CODE64, &insn), EMU_DECODE_SHORT);
    assert_int_equal(emu_decode(bytes, 0, EMU_CODE64, &insn), EMU_DECODE_SHORT);
}

static void only_the_last_rex_right_before_the_opcode_counts(void **state)
{
    static const struct row lost = { "", EMU_CODE64, 4, { 0x48, 0x66, 0x01, 0xc0 } };
    static const struct row kept = { "", EMU_CODE64, 4, { 0x66, 0x48, 0x01, 0xc0 } };
    struct emu_insn insn;

    assert_int_equal(decode_row(&lost, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.op_size, 2);
    assert_int_equal(decode_row(&kept, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.op_size, 8);
}

static void mandatory_prefixes_are_not_repeats(void **state)
{
    static const struct row movss = { "", EMU_CODE64, 4, { 0xf3, 0x0f, 0x10, 0xc1 } };
    static const struct row movs = { "", EMU_CODE64, 2, { 0xf3, 0xa4 } };
    static const struct row both = { "", EMU_CODE64, 3, { 0xf3, 0xf2, 0xa6 } };
    static const struct row pause = { "", EMU_CODE64, 2, { 0xf3, 0x90 } };
    static const struct row xchg = { "", EMU_CODE64, 3, { 0xf3, 0x41, 0x90 } };
    struct emu_insn insn;

    assert_int_equal(decode_row(&movss, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.prefixes, 0);
    assert_int_equal(decode_row(&movs, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.prefixes, EMU_PFX_REP);
    assert_int_equal(decode_row(&both, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.prefixes, EMU_PFX_REPNE);
    assert_int_equal(decode_row(&pause, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.mnemonic, EMU_MN_PAUSE);
    assert_int_equal(decode_row(&xchg, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.mnemonic, EMU_MN_XCHG);
}

static void in_64_bit_mode_only_fs_and_gs_override(void **state)
{
    static const struct row fs_cs = { "", EMU_CODE64, 4, { 0x64, 0x2e, 0x8b, 0x00 } };
    static const struct row ds_rbp = { "", EMU_CODE64, 4, { 0x3e, 0x8b, 0x45, 0x00 } };
    static const struct row ds_ebp = { "", EMU_CODE32, 4, { 0x3e, 0x8b, 0x45, 0x00 } };
    struct emu_insn insn;

    assert_int_equal(decode_row(&fs_cs, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.seg, HV_FS);
    assert_int_equal(decode_row(&ds_rbp, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.seg, HV_SS);
    assert_int_equal(decode_row(&ds_ebp, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.seg, HV_DS);
}

static void a_prefix_66_makes_near_branches_16_bit(void **state)
{
    static const struct row call = { "", EMU_CODE64, 4, { 0x66, 0xe8, 0xfe, 0xff } };
    static const struct row wide = {
        "", EMU_CODE64, 7, { 0x66, 0x48, 0xe8, 0xfe, 0xff, 0xff, 0xff }
    };
    struct emu_insn insn;

    assert_int_equal(decode_row(&call, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.length, 4);
    assert_int_equal(insn.op_size, 2);
    assert_int_equal(insn.stack_size, 2);
    assert_int_equal((int64_t)insn.imm, -2);
    assert_int_equal(decode_row(&wide, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.length, 7);
    assert_int_equal(insn.stack_size, 8);
}

static void shifts_by_an_unknown_count_may_keep_flags(void **state)
{
    static const struct row by_cl = { "", EMU_CODE64, 2, { 0xd3, 0xe0 } };
    static const struct row by_0 = { "", EMU_CODE64, 3, { 0xc1, 0xe0, 0x20 } };
    static const struct row by_1 = { "", EMU_CODE64, 2, { 0xd1, 0xe0 } };
    struct emu_insn insn;

    assert_int_equal(decode_row(&by_cl, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.flags_read, EMU_ARITH_FLAGS);
    assert_int_equal(insn.flags_written, EMU_ARITH_FLAGS);
    assert_int_equal(decode_row(&by_0, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.flags_read | insn.flags_written, 0);
    assert_int_equal(decode_row(&by_1, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.flags_read, 0);
    assert_int_equal(insn.flags_written, EMU_ARITH_FLAGS);
}

static void high_byte_registers_go_with_rex(void **state)
{
    static const struct row ah = { "", EMU_CODE64, 2, { 0x88, 0xe0 } };
    static const struct row spl = { "", EMU_CODE64, 3, { 0x40, 0x88, 0xe0 } };
    struct emu_insn insn;

    assert_int_equal(decode_row(&ah, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.op[1].kind, EMU_OPD_GPR_HIGH);
    assert_int_equal(insn.op[1].reg, 0);
    assert_int_equal(decode_row(&spl, &insn), EMU_DECODE_OK);
    assert_int_equal(insn.op[1].kind, EMU_OPD_GPR);
    assert_int_equal(insn.op[1].reg, HV_RSP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(invalid_encodings_are_refused),
        cmocka_unit_test(an_instruction_has_at_most_15_bytes),
        cmocka_unit_test(only_the_last_rex_right_before_the_opcode_counts),
        cmocka_unit_test(mandatory_prefixes_are_not_repeats),
        cmocka_unit_test(in_64_bit_mode_only_fs_and_gs_override),
        cmocka_unit_test(a_prefix_66_makes_near_branches_16_bit),
        cmocka_unit_test(shifts_by_an_unknown_count_may_keep_flags),
        cmocka_unit_test(high_byte_registers_go_with_rex),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
