/* SPDX-License-Identifier: Apache-2.0 */
/* hvadm api: the reference of the management API, made from the schema. Asks no service. */
#include "cli/adm.h"

#include "api/rpc/nearest.h"

#include <stdio.h>
#include <string.h>

static bool is_method(const struct api_page *page)
{
    return strchr(page->name, '.') != NULL;
}

/* Methods whose noun it is; NULL: all. Returns how many there are. */
static size_t list_methods(const char *noun)
{
    size_t length = noun ? strlen(noun) : 0, count = 0;

    for (size_t i = 0; i < api_page_count; i++) {
        const struct api_page *page = &api_pages[i];

        if (!is_method(page) ||
            (noun && (strncmp(page->name, noun, length) != 0 || page->name[length] != '.')))
            continue;
        (void)puts(page->name);
        adm_print_text(page->about);
        count++;
    }
    return count;
}

/* A noun's methods, and the page of that name: "vm" is both. */
static int show(const char *name)
{
    size_t count = list_methods(name);
    struct nearest nearest;

    nearest_init(&nearest, name);
    for (size_t i = 0; i < api_page_count; i++) {
        nearest_offer(&nearest, api_pages[i].name);
        if (strcmp(api_pages[i].name, name) != 0)
            continue;
        (void)printf("%s%s\n\n", count ? "\n" : "", name);
        adm_print_text(api_pages[i].text);
        return 0;
    }
    if (count)
        return 0;
    return adm_usage("api", "The API has no \"%s\"%s%s.", name, nearest.count ? "; perhaps " : "",
                     nearest.count ? nearest.names[0] : "");
}

int adm_cmd_api(struct adm *adm, int argc, char **argv)
{
    if (adm->is_json)
        return adm_usage("api", "The reference is text; schemas/api is JSON.");
    if (adm_read_words("api", &argc, &argv))
        return ADM_USAGE;
    if (argc > 2)
        return adm_usage("api", "One name is enough.");
    if (argc == 2)
        return show(argv[1]);
    (void)list_methods(NULL);
    adm_print_text("\nhvadm api NAME tells more of one, of an object or enumeration that it "
                   "names, of \"settings\" and of \"errors\".");
    return 0;
}
