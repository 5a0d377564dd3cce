/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One instruction on the host's own processor, with all of its registers chosen.
 *
 * The instruction's memory is the caller's business; faults are caught and told by vector.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct native {
    /* in and out */
    uint64_t gpr[16]; /* enum hv_gpr */
    uint64_t rflags;
    _Alignas(64) uint8_t xsave[1024];
    /* out */
    bool has_faulted;
    uint32_t vector, error_code;
};

bool native_init(void);
void native_run(const uint8_t *bytes, unsigned length, struct native *state);
