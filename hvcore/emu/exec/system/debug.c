/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Breakpoints of the debug registers, and alignment checks.
 *
 * They are rare, so nothing on the fast paths asks for them: while data accesses are looked at the
 * processor uses a cache of translations that never hits, and every access comes by the complete
 * functions of mem.c; while an instruction breakpoint is enabled, the run loop steps.
 * spec: AMD64 vol. 2, 13.1.1 to 13.1.4; 8.2.17 (#AC)
 */
#include "hvcore/emu/exec/system/system_priv.h"

enum { ON_EXECUTION, ON_WRITE, ON_PORT, ON_ACCESS };
enum { DR7_GD = 0x2000, DR6_BS = 0x4000 };

static bool is_enabled(const struct emu_cpu *cpu, unsigned n)
{
    return cpu->dr7 >> (n * 2) & 3;
}

static unsigned condition(const struct emu_cpu *cpu, unsigned n)
{
    return (unsigned)(cpu->dr7 >> (16 + n * 4) & 3);
}

static unsigned length(const struct emu_cpu *cpu, unsigned n)
{
    static const uint8_t bytes[] = { 1, 2, 8, 4 };

    return bytes[cpu->dr7 >> (18 + n * 4) & 3];
}

/* Do [at, at + size) and breakpoint n's aligned range touch? */
static bool touches(const struct emu_cpu *cpu, unsigned n, uint64_t at, unsigned size)
{
    uint64_t bytes = length(cpu, n), first = cpu->dr[n] & ~(bytes - 1);

    return at - first < bytes || first - at < size;
}

uint8_t emu_debug_kinds(const struct emu_cpu *cpu)
{
    bool checks_alignment = cpu->cpl == 3 && cpu->cr0 & X86_CR0_AM && cpu->sys_flags & X86_AC_FLAG;
    uint8_t kinds = checks_alignment ? EMU_DEBUG_ALIGNMENT : 0;

    for (unsigned n = 0; n < 4; n++) {
        if (!is_enabled(cpu, n))
            continue;
        switch (condition(cpu, n)) {
        case ON_EXECUTION: kinds |= EMU_DEBUG_CODE; break;
        case ON_PORT: kinds |= cpu->cr4 & X86_CR4_DE ? EMU_DEBUG_PORT : 0; break;
        default: kinds |= EMU_DEBUG_DATA; break;
        }
    }
    return kinds;
}

/* Words of 2, 4 and 8 bytes; what is wider has rules of its own. */
bool emu_debug_is_aligned(struct emu_cpu *cpu, uint64_t linear, unsigned size)
{
    bool is_word = size == 2 || size == 4 || size == 8;

    return !is_word || !(linear & (size - 1)) || emu_fail(cpu, X86_AC, 0);
}

/* The trap comes behind the instruction: remember it, and have the run loop look. */
static void hit(struct emu_cpu *cpu, unsigned n)
{
    cpu->debug_hits |= (uint8_t)(1 << n);
    atomic_fetch_or(&cpu->request, EMU_REQ_BREAK);
}

void emu_debug_access(struct emu_cpu *cpu, uint64_t linear, unsigned size, bool is_write)
{
    for (unsigned n = 0; n < 4; n++) {
        unsigned on = condition(cpu, n);

        if (is_enabled(cpu, n) && (on == ON_ACCESS || (on == ON_WRITE && is_write)) &&
            touches(cpu, n, linear, size))
            hit(cpu, n);
    }
}

void emu_debug_port(struct emu_cpu *cpu, uint16_t port, unsigned size)
{
    for (unsigned n = 0; n < 4; n++)
        if (is_enabled(cpu, n) && condition(cpu, n) == ON_PORT && touches(cpu, n, port, size))
            hit(cpu, n);
}

bool emu_debug_fetch(struct emu_cpu *cpu, uint64_t linear)
{
    uint8_t hits = 0;

    for (unsigned n = 0; n < 4; n++)
        if (is_enabled(cpu, n) && condition(cpu, n) == ON_EXECUTION && cpu->dr[n] == linear)
            hits |= (uint8_t)(1 << n);
    if (!hits)
        return false;
    cpu->dr6 |= hits;
    (void)emu_raise(cpu, X86_DB);
    return true;
}

enum emu_result emu_deliver_debug(struct emu_cpu *cpu, bool is_step)
{
    struct emu_event event = { .vector = X86_DB };

    cpu->dr6 |= (is_step ? DR6_BS : 0) | cpu->debug_hits;
    cpu->debug_hits = 0;
    cpu->dr7 &= ~(uint64_t)DR7_GD;
    if (emu_deliver(cpu, &event, cpu->rip))
        return EMU_BRANCH;
    return emu_deliver_fault(cpu);
}
