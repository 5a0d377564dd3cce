/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A processor on the bench: one VP with RAM, tables and stacks, put into any mode, made to execute
 * one instruction or deliver one event.
 *
 * Guest memory: GDT at GDT, IDT at IDT, TSS at TSS, identity mapping for long mode at PML4, code at
 * CODE. Every gate i of the IDT leads to HANDLER + i * 16.
 */
#pragma once

#include "hvcore/emu/emu_priv.h"
#include "hvcore/emu/fpu.h"
#include "hvcore/emu/system.h"

#include "tests/lib/cmocka.h"

enum {
    PML4 = 0x60000,
    GDT = 0x10000,
    IDT = 0x11000,
    TSS = 0x12000,
    LDT = 0x13000,
    TSS2 = 0x14000,
    CODE = 0x40000,
    HANDLER = 0x50000,
    STACK0 = 0x80000, /* of ring 0, in use there */
    TSS_STACK0 = 0x90000,
    TSS_STACK1 = 0x94000,
    IST_STACK = 0x98000,
    STACK3 = 0xa0000,
    RAM_BYTES = 0x400000,
};

/* Selectors of the bench's GDT. */
enum {
    SEL_CODE64 = 0x08,
    SEL_DATA0 = 0x10,
    SEL_CODE32 = 0x18,
    SEL_CODE32_USER = 0x20, /* sysret's order: 32-bit code, data, 64-bit code */
    SEL_DATA_USER = 0x28,
    SEL_CODE64_USER = 0x30,
    SEL_TSS = 0x38, /* two slots */
    SEL_CODE16 = 0x48,
    SEL_DATA16 = 0x50,
    SEL_CONFORMING = 0x58,
    SEL_LDT = 0x60,   /* two slots */
    SEL_FREE = 0x70,  /* for the test's own descriptor, two slots */
    SEL_FREE2 = 0x80, /* likewise */
    SEL_TSS2 = 0x90,
    SEL_DATA1 = 0xa0,
    SEL_CODE32_RING1 = 0xa8,
    GDT_BYTES = 0xb0,
};

/* Descriptor halves: attributes as bits 40-47 and 52-55, as in struct hv_segment_register. */
#define DESC(base, limit, attributes)                                                              \
    ((uint64_t)((limit)&0xffff) | (uint64_t)((base)&0xffffff) << 16 |                              \
     (uint64_t)((attributes)&0xff) << 40 | (uint64_t)((limit) >> 16 & 0xf) << 48 |                 \
     (uint64_t)((attributes) >> 8 & 0xf) << 52 | (uint64_t)((base) >> 24 & 0xff) << 56)
#define GATE(selector, offset, attributes)                                                         \
    ((uint64_t)((offset)&0xffff) | (uint64_t)(selector) << 16 | (uint64_t)(attributes) << 40 |     \
     (uint64_t)((offset) >> 16 & 0xffff) << 48)

enum mode { REAL16, V86, PROT16, PROT32, COMPAT32, LONG64, N_MODES };

struct bench {
    struct hv_gpa_space gpa;
    struct emu_machine *machine;
    struct emu_cpu *cpu;
    struct x86_lapic_bus lapic_bus;
    struct x86_lapic lapic;
    uint32_t ports[65536 / 4];
    uint32_t features_off[4]; /* of leaf 7 (ebx ecx edx in 1..3) taken away */
    unsigned n_hypercalls;
};

int bench_setup(void **state);
int bench_teardown(void **state);
struct bench *bench_of(void **state);

/* A fresh state: this mode at this CPL, interrupts off, rip at CODE. */
void bench_mode(struct bench *b, enum mode mode, unsigned cpl);
/* Fill the IDT for the mode with gates of this DPL; ist for long mode. */
void bench_gates(struct bench *b, unsigned type, unsigned dpl, unsigned ist);

void bench_poke(struct bench *b, hv_gpa_t gpa, uint64_t value, unsigned bytes);
uint64_t bench_peek(struct bench *b, hv_gpa_t gpa, unsigned bytes);
void bench_descriptor(struct bench *b, unsigned selector, uint64_t low, uint64_t high);

/* Decode these bytes in the current mode and execute them generically; rip advances as the run loop
 * would have it. */
enum emu_result bench_run(struct bench *b, const char *code, unsigned bytes);
#define RUN(b, code) bench_run((b), (code), sizeof(code) - 1)

/* The instruction faulted with this and changed nothing of GPRs, rip, CS, SS, CPL and flags. */
void bench_expect_fault(struct bench *b, const char *code, unsigned bytes, uint8_t vector,
                        int error_code);
#define EXPECT_FAULT(b, code, vector, error)                                                       \
    bench_expect_fault((b), (code), sizeof(code) - 1, (vector), (error))
enum { NO_CODE = -1 };

/* The n values from rsp upwards, each of `size` bytes, are these. */
void bench_expect_frame(struct bench *b, const uint64_t *values, unsigned n, unsigned size);
