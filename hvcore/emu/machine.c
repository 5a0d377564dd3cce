/* SPDX-License-Identifier: Apache-2.0 */
/* The machine and its processors: making them, stopping them, their state from outside. */
#include "hvcore/emu/emu_priv.h"
#include "hvcore/emu/fpu.h"
#include "hvcore/emu/system.h"

#include <sched.h>
#include <string.h>
#include <sys/mman.h>

/* ---- Stopping ----
 *
 * A processor is either inside (it may run guest code) or outside (asleep, parked, not in
 * emu_cpu_run). Who wants the machine alone becomes the stopper and waits until nobody else is
 * inside. Who is inside and wants the same while another is stopper is held meanwhile: it runs no
 * guest code, but goes on in the middle of an instruction, with what it translated before.
 */
enum { OUTSIDE, INSIDE, HELD };
enum { HUGE_PAGE_BYTES = 2 << 20 };

static void go_inside_locked(struct emu_cpu *cpu)
{
    struct emu_machine *machine = cpu->machine;

    while (machine->stopper && machine->stopper != cpu)
        pthread_cond_wait(&machine->stop_cond, &machine->stop_lock);
    cpu->run_state = INSIDE;
    machine->n_running++;
}

static void go_outside_locked(struct emu_cpu *cpu, int run_state)
{
    cpu->run_state = run_state;
    cpu->machine->n_running--;
    pthread_cond_broadcast(&cpu->machine->stop_cond);
}

void emu_cpu_enter(struct emu_cpu *cpu)
{
    pthread_mutex_lock(&cpu->machine->stop_lock);
    go_inside_locked(cpu);
    pthread_mutex_unlock(&cpu->machine->stop_lock);
}

void emu_cpu_leave(struct emu_cpu *cpu)
{
    pthread_mutex_lock(&cpu->machine->stop_lock);
    go_outside_locked(cpu, OUTSIDE);
    pthread_mutex_unlock(&cpu->machine->stop_lock);
}

void emu_machine_stop(struct emu_cpu *cpu)
{
    struct emu_machine *machine = cpu->machine;

    if (machine->n_cpus == 1)
        return;
    pthread_mutex_lock(&machine->stop_lock);
    if (machine->stopper != cpu) {
        if (machine->stopper) {
            go_outside_locked(cpu, HELD);
            go_inside_locked(cpu);
        }
        machine->stopper = cpu;
        for (unsigned i = 0; i < machine->n_cpus; i++)
            if (machine->cpus[i] != cpu)
                atomic_fetch_or(&machine->cpus[i]->request, EMU_REQ_STOP);
        while (machine->n_running > 1)
            pthread_cond_wait(&machine->stop_cond, &machine->stop_lock);
    }
    machine->stop_depth++;
    pthread_mutex_unlock(&machine->stop_lock);
}

void emu_machine_resume(struct emu_cpu *cpu)
{
    struct emu_machine *machine = cpu->machine;

    if (machine->n_cpus == 1)
        return;
    pthread_mutex_lock(&machine->stop_lock);
    hv_assert(machine->stopper == cpu && machine->stop_depth > 0);
    if (--machine->stop_depth == 0) {
        machine->stopper = NULL;
        for (unsigned i = 0; i < machine->n_cpus; i++)
            atomic_fetch_and(&machine->cpus[i]->request, ~(uint32_t)EMU_REQ_STOP);
        pthread_cond_broadcast(&machine->stop_cond);
    }
    pthread_mutex_unlock(&machine->stop_lock);
}

/* ---- Dropping translations of others ----
 *
 * Each has two counts: what was asked of it, and up to which it has answered. Who asks is outside
 * while it waits, for its own instruction holds no translation, and so two may ask each other.
 */
void emu_take_flush(struct emu_cpu *cpu)
{
    struct emu_machine *machine = cpu->machine;
    uint64_t wanted = atomic_load(&cpu->flushes_wanted);

    emu_tlb_flush_all(cpu);
    pthread_mutex_lock(&machine->stop_lock);
    cpu->flushes_done = wanted;
    pthread_cond_broadcast(&machine->stop_cond);
    pthread_mutex_unlock(&machine->stop_lock);
}

static void wait_for_flush(struct emu_machine *machine, const struct emu_cpu *cpu, uint64_t wanted)
{
    while (cpu->run_state != OUTSIDE && cpu->flushes_done < wanted)
        pthread_cond_wait(&machine->stop_cond, &machine->stop_lock);
}

void emu_machine_flush(struct emu_cpu *cpu, uint64_t cpus)
{
    struct emu_machine *machine = cpu->machine;
    uint64_t wanted[EMU_MAX_CPUS];
    uint64_t own = UINT64_C(1) << cpu->index;
    uint64_t others = cpus & ~own;

    if (machine->n_cpus < EMU_MAX_CPUS)
        others &= (UINT64_C(1) << machine->n_cpus) - 1;
    for (uint64_t left = others; left; left &= left - 1) {
        struct emu_cpu *other = machine->cpus[__builtin_ctzll(left)];

        wanted[other->index] = atomic_fetch_add(&other->flushes_wanted, 1) + 1;
        atomic_fetch_or(&other->request, EMU_REQ_FLUSH);
    }
    if (others) {
        pthread_mutex_lock(&machine->stop_lock);
        go_outside_locked(cpu, OUTSIDE);
        for (uint64_t left = others; left; left &= left - 1) {
            unsigned i = (unsigned)__builtin_ctzll(left);

            wait_for_flush(machine, machine->cpus[i], wanted[i]);
        }
        go_inside_locked(cpu);
        pthread_mutex_unlock(&machine->stop_lock);
    }
    if (cpus & own)
        emu_tlb_flush_all(cpu);
}

enum { PAUSES_PER_YIELD = 64 };

void emu_machine_pause(struct emu_cpu *cpu)
{
    __asm__ volatile("pause");
    if (cpu->machine->n_cpus > 1 && ++cpu->n_pauses % PAUSES_PER_YIELD == 0)
        (void)sched_yield();
}

/* ---- Life ---- */

static void on_code_written(void *opaque, hv_gpa_t first, uint64_t bytes)
{
    (void)emu_code_written(opaque, first, bytes);
}

int emu_machine_new(const struct emu_machine_config *config, struct emu_machine **ret)
{
    struct emu_machine *machine;
    int r;

    if (config->n_cpus == 0 || config->n_cpus > EMU_MAX_CPUS)
        return -EINVAL;
    machine = calloc(1, sizeof(*machine));
    if (!machine)
        return -ENOMEM;
    machine->gpa = config->gpa;
    machine->bus = config->bus;
    machine->log = config->log;
    machine->tsc_hz = config->tsc_hz;
    machine->exact_flags = config->exact_flags;
    machine->no_fast = config->no_fast;
    (void)pthread_mutex_init(&machine->stop_lock, NULL);
    (void)pthread_cond_init(&machine->stop_cond, NULL);
    r = emu_blocks_init(machine);
    if (r < 0) {
        (void)emu_machine_free(machine);
        return r;
    }
    hv_gpa_space_watch_code(config->gpa, on_code_written, machine);
    *ret = machine;
    return 0;
}

static void cpu_free(struct emu_cpu *cpu)
{
    if (!cpu)
        return;
    emu_fpu_free(cpu);
    (void)pthread_mutex_destroy(&cpu->wait_lock);
    (void)pthread_cond_destroy(&cpu->wake);
    free(cpu);
}

struct emu_machine *emu_machine_free(struct emu_machine *machine)
{
    if (!machine)
        return NULL;
    hv_gpa_space_watch_code(machine->gpa, NULL, NULL);
    for (unsigned i = 0; i < machine->n_cpus; i++)
        cpu_free(machine->cpus[i]);
    emu_blocks_fini(machine);
    (void)pthread_mutex_destroy(&machine->stop_lock);
    (void)pthread_cond_destroy(&machine->stop_cond);
    free(machine);
    return NULL;
}

/* Physical address width, from the CPUID leaf the guest sees. */
static uint64_t phys_mask_of(struct emu_machine *machine, unsigned index)
{
    uint32_t regs[4] = { 0 };

    if (machine->bus.cpuid)
        machine->bus.cpuid(machine->bus.opaque, index, 0x80000008, 0, regs);
    if ((regs[0] & 0xff) < 36 || (regs[0] & 0xff) > 52)
        return (UINT64_C(1) << 46) - 1;
    return (UINT64_C(1) << (regs[0] & 0xff)) - 1;
}

int emu_machine_add_cpu(struct emu_machine *machine, unsigned index, struct x86_lapic *lapic,
                        struct emu_cpu **ret)
{
    const size_t bytes =
        (sizeof(struct emu_cpu) + HUGE_PAGE_BYTES - 1) & ~(size_t)(HUGE_PAGE_BYTES - 1);
    struct emu_cpu *cpu;
    int r;

    if (index != machine->n_cpus || index >= EMU_MAX_CPUS)
        return -EINVAL;
    /* Its tables are looked into everywhere, some of them with each instruction. */
    cpu = aligned_alloc(HUGE_PAGE_BYTES, bytes);
    if (!cpu)
        return -ENOMEM;
    (void)madvise(cpu, bytes, MADV_HUGEPAGE);
    memset(cpu, 0, sizeof(*cpu));
    cpu->machine = machine;
    cpu->index = index;
    cpu->lapic = lapic;
    cpu->phys_mask = phys_mask_of(machine, index);
    (void)pthread_mutex_init(&cpu->wait_lock, NULL);
    (void)pthread_cond_init(&cpu->wake, NULL);
    r = emu_fpu_new(cpu);
    if (r < 0) {
        cpu_free(cpu);
        return r;
    }
    machine->cpus[machine->n_cpus++] = cpu;
    emu_tlb_init(cpu);
    emu_cpu_reset(cpu, true);
    *ret = cpu;
    return 0;
}

void emu_cpu_idle(struct emu_cpu *cpu)
{
    cpu->is_idle = true;
}

void emu_cpu_request(struct emu_cpu *cpu, uint32_t bits)
{
    atomic_fetch_or(&cpu->request, bits);
    pthread_mutex_lock(&cpu->wait_lock);
    pthread_cond_signal(&cpu->wake);
    pthread_mutex_unlock(&cpu->wait_lock);
}

/* ---- State from outside ---- */

void emu_cpu_reset(struct emu_cpu *cpu, bool is_power_on)
{
    emu_reset(cpu, is_power_on);
    emu_fpu_reset(cpu, is_power_on);
    cpu->nmi_pending = false;
    cpu->nmi_blocked = 0;
    cpu->shadow = 0;
    cpu->activity = cpu->index == 0 ? HV_ACTIVITY_ACTIVE : HV_ACTIVITY_WAIT_FOR_SIPI;
    cpu->is_idle = false;
    memset(cpu->jump_cache, 0, sizeof(cpu->jump_cache));
    emu_tlb_flush_all(cpu);
    emu_mode_changed(cpu);
}

void emu_cpu_set_tsc_offset(struct emu_cpu *cpu, uint64_t offset)
{
    cpu->tsc_offset = offset;
}

void emu_cpu_get_state(struct emu_cpu *cpu, struct hv_vp_state *ret)
{
    memcpy(ret->gpr, cpu->regs, sizeof(ret->gpr));
    ret->rip = cpu->rip;
    ret->rflags = emu_rflags(cpu);
    memcpy(ret->segment, cpu->segment, sizeof(ret->segment));
    ret->ldtr = cpu->ldtr;
    ret->tr = cpu->tr;
    ret->gdtr = cpu->gdtr;
    ret->idtr = cpu->idtr;
    ret->cr0 = cpu->cr0;
    ret->cr2 = cpu->cr2;
    ret->cr3 = cpu->cr3;
    ret->cr4 = cpu->cr4;
    ret->cr8 = cpu->lapic ? x86_lapic_cr8(cpu->lapic) : 0;
    ret->efer = cpu->efer;
    ret->xcr0 = cpu->xcr0;
    memcpy(ret->dr, cpu->dr, sizeof(ret->dr));
    ret->dr6 = cpu->dr6;
    ret->dr7 = cpu->dr7;
    ret->star = cpu->star;
    ret->lstar = cpu->lstar;
    ret->cstar = cpu->cstar;
    ret->sfmask = cpu->sfmask;
    ret->kernel_gs_base = cpu->kernel_gs_base;
    ret->sysenter_cs = cpu->sysenter_cs;
    ret->sysenter_esp = cpu->sysenter_esp;
    ret->sysenter_eip = cpu->sysenter_eip;
    ret->tsc_aux = cpu->tsc_aux;
    ret->pat = cpu->pat;
    ret->tsc = emu_tsc(cpu);
    /* What idles that way has passed its instruction: to wake it is allowed at any time. */
    ret->activity = cpu->is_idle ? HV_ACTIVITY_ACTIVE : cpu->activity;
    ret->interrupt_shadow = emu_is_in_shadow(cpu);
    ret->nmi_blocked = cpu->nmi_blocked;
    ret->nmi_pending = cpu->nmi_pending;
    emu_fpu_get_xsave(cpu, ret->xsave);
}

/* What no sequence of instructions could have produced is refused. */
static bool is_state_sane(const struct hv_vp_state *state)
{
    bool is_long = state->efer & X86_EFER_LMA;

    if (state->cr0 & X86_CR0_PG && !(state->cr0 & X86_CR0_PE))
        return false;
    if (is_long &&
        !(state->cr0 & X86_CR0_PG && state->cr4 & X86_CR4_PAE && state->efer & X86_EFER_LME))
        return false;
    return state->activity <= HV_ACTIVITY_WAIT_FOR_SIPI;
}

int emu_cpu_set_state(struct emu_cpu *cpu, const struct hv_vp_state *state)
{
    int r;

    if (!is_state_sane(state))
        return -EINVAL;
    r = emu_fpu_set_xsave(cpu, state->xsave);
    if (r < 0)
        return r;
    memcpy(cpu->regs, state->gpr, sizeof(state->gpr));
    cpu->rip = state->rip;
    emu_set_rflags(cpu, state->rflags);
    memcpy(cpu->segment, state->segment, sizeof(state->segment));
    emu_set_segment_base(cpu, HV_FS, state->segment[HV_FS].base);
    emu_set_segment_base(cpu, HV_GS, state->segment[HV_GS].base);
    cpu->ldtr = state->ldtr;
    cpu->tr = state->tr;
    cpu->gdtr = state->gdtr;
    cpu->idtr = state->idtr;
    cpu->cr0 = state->cr0;
    cpu->cr2 = state->cr2;
    cpu->cr3 = state->cr3;
    cpu->cr4 = state->cr4;
    cpu->efer = state->efer;
    cpu->xcr0 = state->xcr0;
    memcpy(cpu->dr, state->dr, sizeof(cpu->dr));
    cpu->dr6 = state->dr6;
    cpu->dr7 = state->dr7;
    cpu->star = state->star;
    cpu->lstar = state->lstar;
    cpu->cstar = state->cstar;
    cpu->sfmask = state->sfmask;
    cpu->kernel_gs_base = state->kernel_gs_base;
    cpu->sysenter_cs = state->sysenter_cs;
    cpu->sysenter_esp = state->sysenter_esp;
    cpu->sysenter_eip = state->sysenter_eip;
    cpu->tsc_aux = state->tsc_aux;
    cpu->pat = state->pat;
    cpu->activity = state->activity;
    cpu->is_idle = false;
    cpu->shadow = state->interrupt_shadow;
    cpu->nmi_blocked = state->nmi_blocked;
    cpu->nmi_pending = state->nmi_pending;
    /* The privilege level is the stack segment's. */
    cpu->cpl = (state->cr0 & X86_CR0_PE) == 0 ? 0
               : state->rflags & X86_VM       ? 3
                                        : state->segment[HV_SS].attributes >> HV_SEG_DPL_SHIFT & 3;
    emu_tlb_flush_all(cpu);
    emu_mode_changed(cpu);
    return 0;
}
