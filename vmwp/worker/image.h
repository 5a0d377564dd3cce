/* SPDX-License-Identifier: Apache-2.0 */
/* The one-shot worker on disk images: schemas/worker/org.hvstack.Image1.xml. */
#pragma once

/* Serve the socket on descriptor 3 until it ends. Returns an exit status. */
int wp_image_main(const char *version);
