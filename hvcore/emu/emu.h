/* SPDX-License-Identifier: Apache-2.0 */
/* The software processor's door: a machine, its processors, and running them. */
#pragma once

#include "hvcore/base/log.h"
#include "hvcore/emu/cpu.h"

struct emu_machine_config {
    /* public */
    struct hv_gpa_space *gpa; /* all slots are there; outlives the machine */
    struct emu_bus bus;
    unsigned n_cpus;
    uint64_t tsc_hz;
    struct hv_log log;
    bool exact_flags; /* tests: keep flags that nobody reads */
    bool no_fast;     /* tests: generic forms only */
};

/* Make a machine without processors. Returns 0, -EINVAL (n_cpus) or -ENOMEM. */
int emu_machine_new(const struct emu_machine_config *config, struct emu_machine **ret);
struct emu_machine *emu_machine_free(struct emu_machine *machine);

/* Make processor `index` (0 is active, the others wait for SIPI), with its LAPIC, which stays the
 * caller's. Freed with the machine. */
int emu_machine_add_cpu(struct emu_machine *machine, unsigned index, struct x86_lapic *lapic,
                        struct emu_cpu **ret);

enum emu_exit { EMU_EXIT_CANCELLED, EMU_EXIT_SHUTDOWN };

/* Run until cancelled or shut down; sleeps in hlt and while waiting for SIPI. thread: the VP's. */
enum emu_exit emu_cpu_run(struct emu_cpu *cpu);

/* Set request bits and wake the VP wherever it is. Any thread. EMU_REQ_INTERRUPT is what the
 * LAPIC's kick callback does; EMU_REQ_CANCEL cancels. */
void emu_cpu_request(struct emu_cpu *cpu, uint32_t bits);

/* From within bus->msr_read: halt after the instruction, until an interrupt could be taken were IF
 * set. It may end earlier, as it does when the state is read. */
void emu_cpu_idle(struct emu_cpu *cpu);

/*
 * Have these processors (a bit each) drop all their translations before this returns: those that
 * run are waited for, the others do so before they run. From within bus->hypercall of `cpu`, which
 * may be one of them.
 */
void emu_machine_flush(struct emu_cpu *cpu, uint64_t cpus);

/* Whole state; the VP doesn't run. TSC and LAPIC fields are the caller's. */
void emu_cpu_get_state(struct emu_cpu *cpu, struct hv_vp_state *ret);
int emu_cpu_set_state(struct emu_cpu *cpu, const struct hv_vp_state *state);
void emu_cpu_reset(struct emu_cpu *cpu, bool is_power_on);
void emu_cpu_set_tsc_offset(struct emu_cpu *cpu, uint64_t offset);
