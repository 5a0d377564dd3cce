/* SPDX-License-Identifier: Apache-2.0 */
/* Run a fuzz target once with each file of the folders that are named: what libFuzzer does with its
 * corpus, for every compiler. */
#include "hvcore/base/own.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { MAX_SEED_BYTES = 1 << 20 };

static int run_file(int folder, const char *name, uint8_t *room)
{
    hv_autofd int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    hv_autofree uint8_t *exact = NULL;
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = read(fd, room, MAX_SEED_BYTES);
    if (n < 0)
        return -errno;
    exact = malloc((size_t)n + (n == 0)); /* its own block, so that a byte too far is seen */
    if (!exact)
        return -ENOMEM;
    memcpy(exact, room, (size_t)n);
    printf("%s: %zd bytes\n", name, n);
    (void)fflush(stdout);
    (void)LLVMFuzzerTestOneInput(exact, (size_t)n);
    return 0;
}

static int run_folder(const char *path, uint8_t *room, unsigned *n_run)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    int r = 0;

    if (!folder)
        return -errno;
    while (r == 0 && (entry = readdir(folder))) {
        if (entry->d_name[0] == '.')
            continue;
        r = run_file(dirfd(folder), entry->d_name, room);
        *n_run += r == 0;
    }
    (void)closedir(folder);
    return r;
}

int main(int argc, char **argv)
{
    hv_autofree uint8_t *room = malloc(MAX_SEED_BYTES);
    unsigned n_run = 0;

    if (!room)
        return 1;
    for (int i = 1; i < argc; i++) {
        int r = run_folder(argv[i], room, &n_run);

        if (r < 0) {
            fprintf(stderr, "%s: %s\n", argv[i], strerror(-r));
            return 1;
        }
    }
    printf("%u seeds\n", n_run);
    return n_run == 0;
}
