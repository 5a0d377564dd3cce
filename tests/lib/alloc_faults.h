/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fail the N-th allocation. For a program that is linked with alloc_faults.c and its link_args (see
 * tests/unit/meson.build): malloc, calloc and realloc of what is linked statically come by here.
 *
 *     for (unsigned n = 1; alloc_faults_arm(n), scenario(), alloc_faults_disarm(); n++)
 *         ;
 */
#pragma once

#include <stdbool.h>

/* Let the n-th allocation from now on, and only that, return NULL. */
void alloc_faults_arm(unsigned n);
/* Let all succeed again. True: one has failed. */
bool alloc_faults_disarm(void);
