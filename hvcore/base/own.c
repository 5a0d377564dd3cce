/* SPDX-License-Identifier: Apache-2.0 */
#include "hvcore/base/own.h"

#include <stdio.h>

void hv_assert_failed(const char *expression, const char *file, int line)
{
    (void)fprintf(stderr, "%s:%d: broken invariant: %s\n", file, line, expression);
    abort();
}
