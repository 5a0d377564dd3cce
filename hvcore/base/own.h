/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership made visible: clean-up attributes, hand-over, and assertions of our own invariants.
 *
 * HV_CLEANUP(fn) runs fn(&variable) when the variable leaves scope. hv_autofree frees, hv_autofd
 * closes. HV_TAKE_PTR and HV_TAKE_FD hand a value on and leave NULL or -1 behind, so that the
 * clean-up does nothing.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define HV_CLEANUP(fn) __attribute__((cleanup(fn)))
#define hv_autofree    HV_CLEANUP(hv_freep)
#define hv_autofd      HV_CLEANUP(hv_closep)

#define HV_TAKE_PTR(p)                                                                             \
    __extension__({                                                                                \
        __typeof__(p) *_p = &(p);                                                                  \
        __typeof__(p) _v = *_p;                                                                    \
        *_p = NULL;                                                                                \
        _v;                                                                                        \
    })

#define HV_TAKE_FD(fd)                                                                             \
    __extension__({                                                                                \
        int *_p = &(fd);                                                                           \
        int _v = *_p;                                                                              \
        *_p = -1;                                                                                  \
        _v;                                                                                        \
    })

#define HV_ARRAY_SIZE(a)                 (sizeof(a) / sizeof((a)[0]))
#define HV_CONTAINER_OF(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))
#define HV_LIKELY(x)                     __builtin_expect(!!(x), 1)
#define HV_UNLIKELY(x)                   __builtin_expect(!!(x), 0)
#define HV_PRINTF(fmt, args)             __attribute__((format(printf, fmt, args)))

static inline void hv_freep(void *p)
{
    free(*(void **)p);
}

/* Close fd when it is one; errno is kept. Returns -1, so that `fd = hv_close(fd)`. */
static inline int hv_close(int fd)
{
    int saved = errno;

    if (fd >= 0)
        (void)close(fd);
    errno = saved;
    return -1;
}

static inline void hv_closep(int *fd)
{
    *fd = hv_close(*fd);
}

/* Report a broken invariant of ours on stderr and abort. Never reachable from foreign input. */
__attribute__((noreturn, cold)) void hv_assert_failed(const char *expression, const char *file,
                                                      int line);

#define hv_assert(x) (HV_LIKELY(x) ? (void)0 : hv_assert_failed(#x, __FILE__, __LINE__))
