/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The software processor as the other side: a machine of one processor in long mode at CPL 3, whose
 * exceptions all lead to a hypercall that ends the run. Interface as in host.h.
 */
#pragma once

#include "tests/cpu/host.h"

#include <stddef.h>

struct soft_cpu;

/* no_fast: generic forms only. Aborts when it can't be made. */
struct soft_cpu *soft_cpu_new(bool no_fast);
struct soft_cpu *soft_cpu_free(struct soft_cpu *soft);

/* The processor's memory at a linear address of layout.h, for looking and for data; code is written
 * with soft_cpu_write, which tells the block cache. */
uint8_t *soft_cpu_memory(struct soft_cpu *soft, uint64_t linear);
void soft_cpu_write(struct soft_cpu *soft, uint64_t linear, const void *from, size_t bytes);

/* False when it didn't end in an exception, but shut down. */
bool soft_cpu_run(struct soft_cpu *soft, struct cpu_state *state, uint16_t cs, struct cpu_end *ret);
