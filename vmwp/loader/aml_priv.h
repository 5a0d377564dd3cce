/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A writer of AML and of resource descriptors into a fixed buffer. Running out of room sticks; ask
 * aml_ok() once. Not a compiler: the caller nests terms as ASL does.
 *
 * spec: ACPI 6.x, 20.2 (AML grammar), 6.4 (resource data types), 19.3.4 (EISA IDs)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { AML_MAX_DEPTH = 8 };

struct aml {
    /* private */
    uint8_t *bytes;
    size_t size, used;
    bool failed;
    unsigned depth;
    size_t open[AML_MAX_DEPTH]; /* where the length of each open term will stand */
};

static inline struct aml aml_writer(void *bytes, size_t size)
{
    return (struct aml){ .bytes = bytes, .size = size };
}

static inline bool aml_ok(const struct aml *aml)
{
    return !aml->failed && aml->depth == 0;
}

/* Terms with a length: close each with aml_end. Names are 4 characters.
 */
void aml_scope(struct aml *aml, const char *name);
void aml_device(struct aml *aml, const char *name);
void aml_package(struct aml *aml, uint8_t n_elements);
/* A buffer of resource descriptors, up to 255 bytes; aml_end closes it with an end tag. Preceded by
 * aml_name. */
void aml_resources(struct aml *aml);
void aml_end(struct aml *aml);

void aml_name(struct aml *aml, const char *name);
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *text);
/* "PNP0501" */
void aml_eisa_id(struct aml *aml, const char *id);

/* Descriptors, within aml_resources. */
void aml_io(struct aml *aml, uint16_t first, uint8_t count);
void aml_irq(struct aml *aml, unsigned number); /* edge, active high, exclusive */
void aml_bus_numbers(struct aml *aml, uint16_t first, uint16_t last);
void aml_io_window(struct aml *aml, uint16_t first, uint16_t last);
void aml_memory_window_32(struct aml *aml, uint32_t first, uint32_t last);
void aml_memory_window_64(struct aml *aml, uint64_t first, uint64_t last);
