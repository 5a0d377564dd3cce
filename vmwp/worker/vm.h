/* SPDX-License-Identifier: Apache-2.0 */
/* `vmwp --vm`: the worker as vmmsd starts it. */
#pragma once

/* Take up the inherited descriptors (schemas/worker/README.md), run the VM to its end. Returns the
 * status to exit with: 0 when the VM came to be, whatever became of it. */
int wp_vm_main(const char *version);
