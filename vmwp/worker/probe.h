/* SPDX-License-Identifier: Apache-2.0 */
/* `vmwp --probe`: what the host can do, as one JSON object (schemas/worker/README.md). */
#pragma once

struct hv_host_info;

/* The text, one line without a newline, to be freed; NULL without memory. */
char *wp_probe_format(const struct hv_host_info *host, const char *version);

/* Look and print. Returns the status to exit with. */
int wp_probe_print(const char *version);
