/* SPDX-License-Identifier: Apache-2.0 */
/* What the guest is to be told stands in a table of its own: a guest that begins anew, or has lost
 * it, is told again; what is not in it is taken back. */
#include "vmwp/ic/kvp_priv.h"

#include <string.h>

static bool ask_set(struct ic_kvp *kvp, const struct ic_kvp_pair *pair, ic_done_fn *done,
                    void *opaque)
{
    const char *told = kvp_table_find(&kvp->pools[IC_KVP_EXTERNAL], pair->key);

    if (told && strcmp(told, pair->value) == 0)
        return false;
    return ic_kvp_set(kvp, pair->key, pair->value, done, opaque, NULL) == 0;
}

static bool ask_remove(struct ic_kvp *kvp, const struct ic_kvp_pair *pair, ic_done_fn *done,
                       void *opaque)
{
    if (kvp_table_find(&kvp->wanted, pair->key))
        return false;
    return ic_kvp_remove(kvp, pair->key, done, opaque, NULL) == 0;
}

unsigned kvp_wanted_tell(struct ic_kvp *kvp, ic_done_fn *done, void *opaque)
{
    const struct kvp_table *there = &kvp->pools[IC_KVP_EXTERNAL];
    unsigned n_asked = 0;

    kvp->is_wanted_new = false;
    if (!kvp->is_wanted_known)
        return 0;
    for (unsigned i = 0; i < kvp->wanted.n; i++)
        n_asked += ask_set(kvp, &kvp->wanted.pairs[i], done, opaque);
    for (unsigned i = 0; i < there->n; i++)
        n_asked += ask_remove(kvp, &there->pairs[i], done, opaque);
    return n_asked;
}

static int copy_pairs(const struct ic_kvp_pair *pairs, unsigned n, struct kvp_table *ret,
                      struct hv_error **reterr)
{
    uint8_t body[KVP_SET_BYTES];
    int r = 0;

    for (unsigned i = 0; r == 0 && i < n; i++) {
        r = kvp_wire_set(body, IC_KVP_EXTERNAL, pairs[i].key, pairs[i].value);
        if (r < 0)
            return kvp_text_error(reterr);
        r = kvp_table_set(ret, pairs[i].key, pairs[i].value);
    }
    return r;
}

int ic_kvp_want(struct ic_kvp *kvp, const struct ic_kvp_pair *pairs, unsigned n, ic_done_fn *done,
                void *opaque, unsigned *ret_asked, struct hv_error **reterr)
{
    bool is_busy = kvp->n_ops > 0 || kvp->current;
    struct kvp_table wanted = { NULL, 0 };
    int r = copy_pairs(pairs, n, &wanted, reterr);

    if (r < 0) {
        kvp_table_clear(&wanted);
        return r;
    }
    kvp_table_clear(&kvp->wanted);
    kvp->wanted = wanted;
    kvp->is_wanted_known = true;
    r = ic_channel_need(kvp->channel, "tell the guest its pairs", reterr);
    if (r < 0)
        return r;
    *ret_asked = kvp_wanted_tell(kvp, done, opaque);
    /* What is on its way may be what is not wanted any more. */
    kvp->is_wanted_new = is_busy;
    return 0;
}
