/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/lib/alloc_faults.h"

#include <stdatomic.h>
#include <stddef.h>

static atomic_uint until_failure; /* 0: none will fail */
static atomic_bool has_failed;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);

void alloc_faults_arm(unsigned n)
{
    has_failed = false;
    until_failure = n;
}

bool alloc_faults_disarm(void)
{
    until_failure = 0;
    return has_failed;
}

static bool must_fail(void)
{
    if (until_failure == 0 || --until_failure != 0)
        return false;
    has_failed = true;
    return true;
}

void *__wrap_malloc(size_t bytes)
{
    return must_fail() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    return must_fail() ? NULL : __real_calloc(n, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return must_fail() ? NULL : __real_realloc(old, bytes);
}
