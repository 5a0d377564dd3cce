/* SPDX-License-Identifier: Apache-2.0 */
/* An intrusive doubly linked list. A head is a node that stands in no object; both start with
 * hv_list_init. Not synchronised. */
#pragma once

#include "hvcore/base/own.h"

struct hv_list {
    /* private */
    struct hv_list *next;
    struct hv_list *prev;
};

static inline void hv_list_init(struct hv_list *node)
{
    node->next = node;
    node->prev = node;
}

static inline bool hv_list_is_empty(const struct hv_list *node)
{
    return node->next == node;
}

/* Put node before `at`; with a head as `at` that is the list's end. */
static inline void hv_list_insert_before(struct hv_list *at, struct hv_list *node)
{
    node->next = at;
    node->prev = at->prev;
    at->prev->next = node;
    at->prev = node;
}

static inline void hv_list_append(struct hv_list *head, struct hv_list *node)
{
    hv_list_insert_before(head, node);
}

/* Take node out of its list; harmless when it is in none. */
static inline void hv_list_remove(struct hv_list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    hv_list_init(node);
}

#define HV_LIST_ENTRY(node, type, member) HV_CONTAINER_OF(node, type, member)

/* Walk a list; the current node may be removed by the body. */
#define HV_LIST_FOREACH(node, head)                                                                \
    for (struct hv_list *node = (head)->next, *node##_next = node->next; node != (head);           \
         node = node##_next, node##_next = node->next)
