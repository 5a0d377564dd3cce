/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GUIDs in the mixed-endian memory form that Hyper-V and ACPI use: Data1..3 little endian, Data4
 * as bytes. Text is 36 characters in lower case, 8-4-4-4-12.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { HV_GUID_TEXT_BYTES = 37 };

struct hv_guid {
    /* public */
    uint8_t bytes[16];
};

/* A random (version 4) GUID. Returns 0 or a negative errno of getrandom. */
int hv_guid_random(struct hv_guid *ret);

/* Read the 36-character form, either case. Returns 0, or -EINVAL and leaves *ret alone. */
int hv_guid_parse(const char *text, struct hv_guid *ret);

/* Write the 36 characters in lower case, and a NUL. */
void hv_guid_format(const struct hv_guid *guid, char ret_text[static HV_GUID_TEXT_BYTES]);

/* Are all 16 bytes equal? */
bool hv_guid_equal(const struct hv_guid *a, const struct hv_guid *b);
