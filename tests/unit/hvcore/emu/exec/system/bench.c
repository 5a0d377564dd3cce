/* SPDX-License-Identifier: Apache-2.0 */
#include "bench.h"

#include <string.h>

/* ---- The world around the processor ---- */

static uint64_t mmio_read(void *opaque, hv_gpa_t gpa, unsigned size)
{
    return UINT64_MAX;
}

static void mmio_write(void *opaque, hv_gpa_t gpa, unsigned size, uint64_t value)
{
}

static uint32_t port_read(void *opaque, uint16_t port, unsigned size)
{
    struct bench *b = opaque;

    return b->ports[port / 4] >> 8 * (port & 3);
}

static void port_write(void *opaque, uint16_t port, unsigned size, uint32_t value)
{
    struct bench *b = opaque;

    b->ports[port / 4] = value;
}

static bool msr_read(void *opaque, unsigned vp, uint32_t msr, uint64_t *ret)
{
    *ret = 0x1234;
    return msr == 0x8b;
}

static bool msr_write(void *opaque, unsigned vp, uint32_t msr, uint64_t value)
{
    return msr == 0x8b;
}

/* An AMD processor with what these tests need. */
static void cpuid(void *opaque, unsigned vp, uint32_t leaf, uint32_t subleaf, uint32_t ret[4])
{
    struct bench *b = opaque;

    memset(ret, 0, 16);
    switch (leaf) {
    case 0:
        ret[0] = 0xd;
        ret[1] = 0x68747541;
        ret[3] = 0x69746e65;
        ret[2] = 0x444d4163;
        break;
    case 1:
        ret[0] = 0x00b00f21;
        ret[2] = 1u << 26 | 1u << 17;
        ret[3] = 1u << 24 | 1u << 25 | 1u << 9;
        break;
    case 7:
        ret[1] = 1u << 0 | 1u << 7 | 1u << 20 | 1u << 10;
        ret[2] = 1u << 2;
        for (unsigned i = 0; i < 4; i++)
            ret[i] &= ~b->features_off[i];
        break;
    case 0xd:
        if (subleaf == 0)
            ret[0] = 7;
        else if (subleaf == 2) {
            ret[0] = 256;
            ret[1] = 576;
        }
        break;
    case 0x80000001: ret[3] = 1u << 11 | 1u << 20 | 1u << 29; break;
    case 0x80000008: ret[0] = 0x3028; break;
    case 0x80000021: ret[0] = 1u << 8; break;
    default: break;
    }
}

static bool hypercall(void *opaque, unsigned vp, uint64_t gpr[HV_N_GPRS], bool is_64bit)
{
    struct bench *b = opaque;

    b->n_hypercalls++;
    gpr[HV_RAX] = 0x77;
    return true;
}

static void kick(void *opaque)
{
    struct bench *b = opaque;

    atomic_fetch_or(&b->cpu->request, EMU_REQ_INTERRUPT);
}

static void timer_arm(void *opaque, uint64_t host_tsc)
{
}

static void timer_disarm(void *opaque)
{
}

static const struct x86_lapic_ops lapic_ops = { .kick = kick,
                                                .timer_arm = timer_arm,
                                                .timer_disarm = timer_disarm };

/* ---- Making and dropping ---- */

int bench_setup(void **state)
{
    struct bench *b = calloc(1, sizeof(*b));
    struct emu_machine_config config = {
        .gpa = &b->gpa,
        .n_cpus = 1,
        .tsc_hz = 1000000000,
        .no_fast = true,
        .bus = { .mmio_read = mmio_read,
                 .mmio_write = mmio_write,
                 .port_read = port_read,
                 .port_write = port_write,
                 .msr_read = msr_read,
                 .msr_write = msr_write,
                 .cpuid = cpuid,
                 .hypercall = hypercall,
                 .opaque = b },
    };

    assert_int_equal(hv_gpa_space_init(&b->gpa, RAM_BYTES, NULL), 0);
    assert_int_equal(hv_gpa_space_add_ram(&b->gpa, 0, RAM_BYTES, 0), 0);
    assert_int_equal(emu_machine_new(&config, &b->machine), 0);
    x86_lapic_bus_init(&b->lapic_bus, 1000000000);
    b->lapic_bus.max_gpa = UINT64_C(1) << 40;
    x86_lapic_init(&b->lapic, &b->lapic_bus, &lapic_ops, b);
    assert_int_equal(emu_machine_add_cpu(b->machine, 0, &b->lapic, &b->cpu), 0);
    *state = b;
    return 0;
}

int bench_teardown(void **state)
{
    struct bench *b = *state;

    b->machine = emu_machine_free(b->machine);
    hv_gpa_space_fini(&b->gpa);
    free(b);
    return 0;
}

struct bench *bench_of(void **state)
{
    return *state;
}

/* ---- Guest memory ---- */

void bench_poke(struct bench *b, hv_gpa_t gpa, uint64_t value, unsigned bytes)
{
    assert_int_equal(hv_gpa_write(&b->gpa, gpa, &value, bytes), 0);
}

uint64_t bench_peek(struct bench *b, hv_gpa_t gpa, unsigned bytes)
{
    uint64_t value = 0;

    assert_int_equal(hv_gpa_read(&b->gpa, gpa, &value, bytes), 0);
    return value;
}

void bench_descriptor(struct bench *b, unsigned selector, uint64_t low, uint64_t high)
{
    bench_poke(b, GDT + (selector & ~7u), low, 8);
    if (high)
        bench_poke(b, GDT + (selector & ~7u) + 8, high, 8);
}

static void fill_gdt(struct bench *b)
{
    static const struct {
        uint16_t selector;
        uint64_t low;
    } rows[] = {
        { 0, 0 },
        { SEL_CODE64, DESC(0, 0xfffff, 0xa9b) },
        { SEL_DATA0, DESC(0, 0xfffff, 0xc93) },
        { SEL_CODE32, DESC(0, 0xfffff, 0xc9b) },
        { SEL_CODE32_USER, DESC(0, 0xfffff, 0xcfb) },
        { SEL_DATA_USER, DESC(0, 0xfffff, 0xcf3) },
        { SEL_CODE64_USER, DESC(0, 0xfffff, 0xafb) },
        { SEL_TSS, DESC(TSS, 0x6f, 0x8b) },
        { SEL_TSS + 8, 0 },
        { SEL_CODE16, DESC(0, 0xffff, 0x9b) },
        { SEL_DATA16, DESC(0, 0xffff, 0x93) },
        { SEL_CONFORMING, DESC(0, 0xfffff, 0xc9f) },
        { SEL_LDT, DESC(LDT, 0xff, 0x82) },
        { SEL_LDT + 8, 0 },
        { SEL_FREE, 0 },
        { SEL_FREE + 8, 0 },
        { SEL_FREE2, 0 },
        { SEL_FREE2 + 8, 0 },
        { SEL_TSS2, DESC(TSS2, 0x67, 0x89) },
        { SEL_TSS2 + 8, 0 },
        { SEL_DATA1, DESC(0, 0xfffff, 0xcb3) },
        { SEL_CODE32_RING1, DESC(0, 0xfffff, 0xcbb) },
    };

    for (unsigned i = 0; i < HV_ARRAY_SIZE(rows); i++)
        bench_poke(b, GDT + rows[i].selector, rows[i].low, 8);
}

static void fill_tss(struct bench *b, bool is_long)
{
    for (unsigned i = 0; i < 0x80; i += 8)
        bench_poke(b, TSS + i, 0, 8);
    if (is_long) {
        bench_poke(b, TSS + 4, TSS_STACK0, 8);
        bench_poke(b, TSS + 12, TSS_STACK1, 8);
        bench_poke(b, TSS + 0x24, IST_STACK, 8);
    } else {
        bench_poke(b, TSS + 4, TSS_STACK0, 4);
        bench_poke(b, TSS + 8, SEL_DATA0, 4);
        bench_poke(b, TSS + 12, TSS_STACK1, 4);
        bench_poke(b, TSS + 16, SEL_DATA1 | 1, 4);
    }
    bench_poke(b, TSS + 0x66, 0x68, 2);
}

/* Identity map of the first 2 MiB by 4 KiB pages, of the next 2 MiB by a large one. All for user
 * and supervisor. */
static void fill_page_tables(struct bench *b)
{
    bench_poke(b, PML4, (PML4 + 0x1000) | 7, 8);
    bench_poke(b, PML4 + 0x1000, (PML4 + 0x2000) | 7, 8);
    bench_poke(b, PML4 + 0x2000, (PML4 + 0x3000) | 7, 8);
    bench_poke(b, PML4 + 0x2008, 0x200000 | 0x87, 8);
    for (unsigned i = 0; i < 512; i++)
        bench_poke(b, PML4 + 0x3000 + i * 8, i << 12 | 7, 8);
}

void bench_gates(struct bench *b, unsigned type, unsigned dpl, unsigned ist)
{
    bool is_long = emu_is_long(b->cpu);
    unsigned attributes = 0x80 | dpl << 5 | type;

    for (unsigned i = 0; i < 256; i++) {
        unsigned offset = type < 8 ? 0x5000 + i * 16 : HANDLER + i * 16;
        uint64_t gate = GATE(is_long    ? SEL_CODE64
                             : type < 8 ? SEL_CODE16
                                        : SEL_CODE32,
                             offset, attributes);

        if (is_long) {
            bench_poke(b, IDT + i * 16, gate | (uint64_t)ist << 32, 8);
            bench_poke(b, IDT + i * 16 + 8, 0, 8);
        } else {
            bench_poke(b, IDT + i * 8, gate, 8);
        }
    }
    b->cpu->idtr = (struct hv_table_register){ .base = IDT, .limit = is_long ? 0xfff : 0x7ff };
}

/* ---- Modes ---- */

static void set_segment(struct bench *b, enum hv_segment seg, uint16_t selector)
{
    uint64_t low = bench_peek(b, GDT + (selector & ~7u), 8);

    b->cpu->segment[seg] = (struct hv_segment_register){
        .limit = low >> 55 & 1 ? UINT32_MAX : (uint32_t)(low & 0xffff),
        .selector = selector,
        .attributes = (uint16_t)((low >> 40 & 0xff) | (low >> 44 & 0xf00)),
    };
    emu_set_segment_base(b->cpu, seg, 0);
}

static void set_real(struct bench *b, uint16_t attributes)
{
    for (unsigned seg = 0; seg < HV_N_SEGMENTS; seg++) {
        b->cpu->segment[seg] = (struct hv_segment_register){
            .limit = 0xffff, .attributes = seg == HV_CS ? attributes | 8 : attributes
        };
        emu_set_segment_base(b->cpu, seg, 0);
    }
}

void bench_mode(struct bench *b, enum mode mode, unsigned cpl)
{
    struct emu_cpu *cpu = b->cpu;
    bool is_long = mode == LONG64 || mode == COMPAT32;

    emu_cpu_reset(cpu, true);
    atomic_store(&cpu->request, 0);
    fill_gdt(b);
    fill_tss(b, is_long);
    cpu->gdtr = (struct hv_table_register){ .base = GDT, .limit = GDT_BYTES - 1 };
    cpu->tr = (struct hv_segment_register){
        .base = TSS, .limit = 0x6f, .selector = SEL_TSS, .attributes = 0x8b
    };
    cpu->ldtr = (struct hv_segment_register){ 0 };
    cpu->idtr = (struct hv_table_register){ .base = 0, .limit = 0x3ff };
    cpu->cr0 = mode == REAL16 ? 0x10 : 0x11;
    if (is_long) {
        fill_page_tables(b);
        cpu->cr3 = PML4;
        cpu->cr4 = X86_CR4_PAE;
        cpu->cr0 |= X86_CR0_PG;
        cpu->efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_SCE | X86_EFER_NXE;
    }
    cpu->cpl = (uint8_t)(mode == V86 ? 3 : mode == REAL16 ? 0 : cpl);
    cpu->regs[HV_RSP] = cpl == 3 ? STACK3 : STACK0;
    cpu->rip = CODE;
    if (mode == REAL16 || mode == V86) {
        set_real(b, mode == V86 ? 0xf3 : 0x93);
        cpu->regs[HV_RSP] = 0x8000;
        cpu->rip = 0x4000;
        if (mode == V86)
            emu_set_rflags(cpu, 2 | X86_VM);
    } else {
        uint16_t data = cpl == 3 ? SEL_DATA_USER | 3 : cpl == 1 ? SEL_DATA1 | 1 : SEL_DATA0;

        if (mode == PROT16)
            data = SEL_DATA16, cpu->regs[HV_RSP] = 0x8000, cpu->rip = 0x4000;
        for (unsigned seg = 0; seg < HV_N_SEGMENTS; seg++)
            set_segment(b, seg, data);
        set_segment(b, HV_CS,
                    (uint16_t)((mode == PROT16   ? SEL_CODE16
                                : mode == LONG64 ? cpl == 3 ? SEL_CODE64_USER : SEL_CODE64
                                : cpl == 3       ? SEL_CODE32_USER
                                : cpl == 1       ? SEL_CODE32_RING1
                                                 : SEL_CODE32) |
                               cpl));
    }
    emu_tlb_flush_all(cpu);
    emu_mode_changed(cpu);
}

/* ---- Executing ---- */

enum emu_result bench_run(struct bench *b, const char *code, unsigned bytes)
{
    struct emu_insn insn;
    enum emu_result result;

    assert_int_equal(emu_decode((const uint8_t *)code, bytes, b->cpu->code_size, &insn),
                     EMU_DECODE_OK);
    assert_int_equal(insn.length, bytes);
    result = emu_exec_of(insn.mnemonic)(b->cpu, &insn);
    if (result == EMU_NEXT || result == EMU_LEAVE || result == EMU_HALT)
        b->cpu->rip = emu_next_rip(b->cpu, &insn);
    return result;
}

void bench_expect_fault(struct bench *b, const char *code, unsigned bytes, uint8_t vector,
                        int error_code)
{
    struct emu_cpu *cpu = b->cpu;
    struct hv_segment_register cs = cpu->segment[HV_CS], ss = cpu->segment[HV_SS];
    uint64_t regs[EMU_N_REGS], rip = cpu->rip, rflags = emu_rflags(cpu);
    uint8_t cpl = cpu->cpl;

    memcpy(regs, cpu->regs, sizeof(regs));
    assert_int_equal(bench_run(b, code, bytes), EMU_FAULT);
    assert_int_equal(cpu->fault.vector, vector);
    assert_int_equal(cpu->fault.has_error_code, error_code != NO_CODE);
    if (error_code != NO_CODE)
        assert_int_equal(cpu->fault.error_code, error_code);
    assert_memory_equal(regs, cpu->regs, sizeof(regs));
    assert_memory_equal(&cs, &cpu->segment[HV_CS], sizeof(cs));
    assert_memory_equal(&ss, &cpu->segment[HV_SS], sizeof(ss));
    assert_int_equal(cpu->rip, rip);
    assert_int_equal(emu_rflags(cpu), rflags);
    assert_int_equal(cpu->cpl, cpl);
}

void bench_expect_frame(struct bench *b, const uint64_t *values, unsigned n, unsigned size)
{
    uint64_t sp = b->cpu->regs[HV_RSP] & (b->cpu->code_size == EMU_CODE64 ? UINT64_MAX
                                          : b->cpu->is_stack32            ? UINT32_MAX
                                                                          : UINT16_MAX);
    uint64_t base = b->cpu->code_size == EMU_CODE64 ? 0 : b->cpu->segment[HV_SS].base;

    for (unsigned i = 0; i < n; i++)
        assert_int_equal(bench_peek(b, base + sp + i * size, size), values[i]);
}
