/* SPDX-License-Identifier: Apache-2.0 */
/* Tables and lists of pairs, printed once all of it is there: as wide as what stands in it, and no
 * wider than the terminal. */
#include "cli/adm.h"

#include <stdio.h>
#include <string.h>

/* Keys of pairs are so wide at least, so that lists of different things look alike. */
enum { GAP = 2, LEAST_WRAPPED = 20, LEAST_KEY = 15 };

struct adm_sheet {
    /* private */
    const struct adm_column *columns;
    size_t n_columns;
    char **cells; /* row by row, clean */
    size_t count, room;
};

static const struct adm_column pair[] = { { .title = NULL },
                                          { .title = NULL, .is_wrapped = true } };

struct adm_sheet *adm_sheet_new(const struct adm_column *columns, size_t count)
{
    struct adm_sheet *sheet = calloc(1, sizeof(*sheet));

    hv_assert(sheet);
    sheet->columns = columns ? columns : pair;
    sheet->n_columns = columns ? count : HV_ARRAY_SIZE(pair);
    return sheet;
}

/* text: taken */
static void put_cell(struct adm_sheet *sheet, char *text)
{
    if (sheet->count == sheet->room) {
        sheet->room = sheet->room ? sheet->room * 2 : 64;
        sheet->cells = reallocarray(sheet->cells, sheet->room, sizeof(*sheet->cells));
        hv_assert(sheet->cells);
    }
    sheet->cells[sheet->count++] = text;
}

void adm_sheet_row(struct adm_sheet *sheet, const char *const *cells)
{
    for (size_t i = 0; i < sheet->n_columns; i++)
        put_cell(sheet, adm_clean(cells[i] ? cells[i] : "-"));
}

void adm_put_pair(struct adm_sheet *sheet, const char *key, const char *format, ...)
{
    va_list args;

    put_cell(sheet, adm_clean(key));
    va_start(args, format);
    put_cell(sheet, adm_clean_text(format, args));
    va_end(args);
}

/* Widths */

static void measure(const struct adm_sheet *sheet, int *ret_widths)
{
    for (size_t i = 0; i < sheet->n_columns; i++)
        ret_widths[i] = sheet->columns[i].title ? (int)strlen(sheet->columns[i].title)
                        : i == 0                ? LEAST_KEY
                                                : 0;
    for (size_t i = 0; i < sheet->count; i++) {
        int width = adm_text_width(sheet->cells[i]);

        if (width > ret_widths[i % sheet->n_columns])
            ret_widths[i % sheet->n_columns] = width;
    }
}

/* The widest of those that may still be cut; -1: none. */
static int find_widest(const struct adm_sheet *sheet, const int *widths)
{
    int found = -1;

    for (size_t i = 0; i < sheet->n_columns; i++) {
        if (sheet->columns[i].width && widths[i] > sheet->columns[i].width &&
            (found < 0 || widths[i] > widths[found]))
            found = (int)i;
    }
    return found;
}

static void fit(const struct adm_sheet *sheet, int *widths, int limit)
{
    int total = -GAP, widest;

    for (size_t i = 0; i < sheet->n_columns; i++)
        total += sheet->columns[i].is_wrapped ? GAP : widths[i] + GAP;
    for (; total > limit && (widest = find_widest(sheet, widths)) >= 0; total--)
        widths[widest]--;
}

/* Printing */

static void print_title(const struct adm_sheet *sheet, const int *widths)
{
    for (size_t i = 0; i < sheet->n_columns; i++)
        adm_print_cell(sheet->columns[i].title, widths[i], sheet->columns[i].is_right,
                       i + 1 == sheet->n_columns);
    (void)putchar('\n');
}

static void print_row(const struct adm_sheet *sheet, char *const *cells, const int *widths,
                      int limit)
{
    int at = 0;

    for (size_t i = 0; i < sheet->n_columns; i++) {
        if (sheet->columns[i].is_wrapped)
            adm_print_wrapped(cells[i], at, limit - at < LEAST_WRAPPED ? ADM_ANY_WIDTH : limit);
        else
            adm_print_cell(cells[i], widths[i], sheet->columns[i].is_right,
                           i + 1 == sheet->n_columns);
        at += widths[i] + GAP;
    }
    (void)putchar('\n');
}

void adm_sheet_free(struct adm_sheet *sheet)
{
    for (size_t i = 0; i < sheet->count; i++)
        free(sheet->cells[i]);
    free(sheet->cells);
    free(sheet);
}

void adm_sheet_print(struct adm_sheet *sheet)
{
    int widths[ADM_MAX_COLUMNS], limit = adm_output_width();

    hv_assert(sheet->n_columns <= ADM_MAX_COLUMNS);
    measure(sheet, widths);
    fit(sheet, widths, limit);
    if (sheet->columns[0].title)
        print_title(sheet, widths);
    for (size_t i = 0; i < sheet->count; i += sheet->n_columns)
        print_row(sheet, sheet->cells + i, widths, limit);
    adm_sheet_free(sheet);
}
