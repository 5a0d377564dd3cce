/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/vsp/storvsp/data_priv.h"

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

uint32_t storvsp_data_put(const struct storvsp_data *data, const void *from, uint32_t bytes)
{
    const uint8_t *at = from;
    uint32_t left = least(bytes, data->to_guest), done = 0;

    for (unsigned i = 0; i < data->n_ranges && left; i++) {
        uint32_t piece = least(left, data->ranges[i].bytes);

        if (hv_gpa_write(data->gpa, data->ranges[i].gpa, at, piece) < 0)
            break;
        at += piece;
        left -= piece;
        done += piece;
    }
    return done;
}

bool storvsp_data_get(const struct storvsp_data *data, void *ret, uint32_t bytes)
{
    uint8_t *at = ret;
    uint32_t left = bytes;

    if (bytes > data->from_guest)
        return false;
    for (unsigned i = 0; i < data->n_ranges && left; i++) {
        uint32_t piece = least(left, data->ranges[i].bytes);

        if (hv_gpa_read(data->gpa, data->ranges[i].gpa, at, piece) < 0)
            return false;
        at += piece;
        left -= piece;
    }
    return left == 0;
}

unsigned storvsp_data_iov(const struct storvsp_data *data, uint32_t bytes,
                          struct iovec ret[static STORVSP_MAX_IOV])
{
    uint32_t left = bytes;
    unsigned n = 0;

    for (unsigned i = 0; i < data->n_ranges && left; i++) {
        hv_gpa_t gpa = data->ranges[i].gpa;
        uint64_t piece = least(left, data->ranges[i].bytes), run;

        for (; piece; piece -= run, gpa += run, left -= run) {
            void *host = n < STORVSP_MAX_IOV ? hv_gpa_window(data->gpa, gpa, piece, &run) : NULL;

            if (!host)
                return 0;
            ret[n++] = (struct iovec){ .iov_base = host, .iov_len = run };
        }
    }
    return left ? 0 : n;
}

void storvsp_data_note_written(const struct storvsp_data *data, uint32_t bytes)
{
    uint32_t left = bytes;

    for (unsigned i = 0; i < data->n_ranges && left; i++) {
        uint32_t piece = least(left, data->ranges[i].bytes);

        hv_gpa_note_written(data->gpa, data->ranges[i].gpa, piece);
        left -= piece;
    }
}
