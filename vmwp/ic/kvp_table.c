/* SPDX-License-Identifier: Apache-2.0 */
#include "vmwp/ic/kvp_priv.h"

#include <string.h>

static void drop_pair(struct ic_kvp_pair *pair)
{
    free(pair->key);
    free(pair->value);
    *pair = (struct ic_kvp_pair){ NULL, NULL };
}

void kvp_table_clear(struct kvp_table *table)
{
    for (unsigned i = 0; i < table->n; i++)
        drop_pair(&table->pairs[i]);
    free(table->pairs);
    *table = (struct kvp_table){ NULL, 0 };
}

int kvp_table_append(struct kvp_table *table, struct ic_kvp_pair pair)
{
    struct ic_kvp_pair *pairs = NULL;
    int r = table->n < IC_KVP_MAX_PAIRS ? -ENOMEM : -ENOSPC;

    if (r == -ENOMEM)
        pairs = realloc(table->pairs, (table->n + 1) * sizeof(*pairs));
    if (!pairs) {
        drop_pair(&pair);
        return r;
    }
    table->pairs = pairs;
    pairs[table->n++] = pair;
    return 0;
}

static struct ic_kvp_pair *pair_of(const struct kvp_table *table, const char *key)
{
    for (unsigned i = 0; i < table->n; i++) {
        if (strcmp(table->pairs[i].key, key) == 0)
            return &table->pairs[i];
    }
    return NULL;
}

int kvp_table_set(struct kvp_table *table, const char *key, const char *value)
{
    struct ic_kvp_pair pair = { .key = strdup(key), .value = strdup(value) };
    struct ic_kvp_pair *old = pair_of(table, key);

    if (!pair.key || !pair.value) {
        drop_pair(&pair);
        return -ENOMEM;
    }
    if (!old)
        return kvp_table_append(table, pair);
    drop_pair(old);
    *old = pair;
    return 0;
}

void kvp_table_remove(struct kvp_table *table, const char *key)
{
    struct ic_kvp_pair *pair = pair_of(table, key);
    unsigned at;

    if (!pair)
        return;
    drop_pair(pair);
    at = (unsigned)(pair - table->pairs);
    memmove(pair, pair + 1, (table->n - at - 1) * sizeof(*pair));
    table->n--;
}

const char *kvp_table_find(const struct kvp_table *table, const char *key)
{
    const struct ic_kvp_pair *pair = pair_of(table, key);

    return pair ? pair->value : NULL;
}

bool kvp_table_equal(const struct kvp_table *a, const struct kvp_table *b)
{
    if (a->n != b->n)
        return false;
    for (unsigned i = 0; i < a->n; i++) {
        if (strcmp(a->pairs[i].key, b->pairs[i].key) != 0 ||
            strcmp(a->pairs[i].value, b->pairs[i].value) != 0)
            return false;
    }
    return true;
}
