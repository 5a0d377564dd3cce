/* SPDX-License-Identifier: Apache-2.0 */
/* The table pair: a VM's rows are written as a whole when they have changed. */
#include "vmmsd/store/db_priv.h"

const char vmms_db_all_pairs[] = "SELECT vm, key, value FROM pair ORDER BY vm, place";

int vmms_db_prepare_pairs(struct vmms_db *db)
{
    int code = vmms_db_prepare(
        db, "INSERT INTO pair (vm, place, key, value) VALUES (?1, ?2, ?3, ?4)", &db->insert_pair);

    if (code == SQLITE_OK)
        code = vmms_db_prepare(db, "DELETE FROM pair WHERE vm = ?1", &db->delete_pairs);
    return code;
}

int vmms_db_put_pairs(struct vmms_db *db, const struct vmms_row *row)
{
    int code;

    vmms_db_bind_text(db->delete_pairs, 1, row->id);
    code = vmms_db_run(db->delete_pairs);
    for (size_t i = 0; i < row->n_pairs && code == SQLITE_OK; i++) {
        vmms_db_bind_text(db->insert_pair, 1, row->id);
        (void)sqlite3_bind_int64(db->insert_pair, 2, (int64_t)i);
        vmms_db_bind_given(db->insert_pair, 3, row->pairs[i].key);
        vmms_db_bind_given(db->insert_pair, 4, row->pairs[i].value);
        code = vmms_db_run(db->insert_pair);
    }
    return code;
}

void vmms_db_read_pairs(struct vmms_side *side, struct vmms_row *row)
{
    for (; vmms_side_is_at(side, row->id); vmms_side_next(side))
        hv_assert(vmms_pairs_set(row, (const char *)sqlite3_column_text(side->statement, 1),
                                 (const char *)sqlite3_column_text(side->statement, 2)) == 0);
}
