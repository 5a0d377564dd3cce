/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The image door on a command line, for tests that compare with other programs.
 *
 *   create PATH FORMAT KIND BYTES [BLOCK_BYTES LOGICAL_BYTES [PARENT]]    "0" is the default
 *   info PATH | check PATH
 *   random SEED COUNT PATH MODEL    change a disk and a raw file of its size alike, at random
 *   crash SEED COUNT PATH MODEL     the same, flushed and never closed
 *   convert FROM TO FORMAT KIND [BLOCK_BYTES [PARENT]]
 *   resize PATH BYTES | merge CHILD ANCESTOR | compact PATH quick|full | reparent PATH PARENT
 *
 * Parents are found by the hints in the images. Formats are guessed, as a test may.
 */
#include "vmwp/blk/image.h"

#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char *const formats[] = { "raw", "vhd", "vhdx" };
static const char *const kinds[] = { "fixed", "dynamic", "differencing" };

static int fail(const char *what, int r, struct hv_error *error)
{
    fprintf(stderr, "%s: %s (%s)\n", what, hv_error_message(error, r), error ? error->code : "");
    hv_error_free(error);
    return 1;
}

static int word(const char *const *words, unsigned n, const char *text)
{
    for (unsigned i = 0; i < n; i++)
        if (strcmp(words[i], text) == 0)
            return (int)i;
    fprintf(stderr, "no such word: %s\n", text);
    exit(2);
}

static uint64_t number(const char *text)
{
    return strtoull(text, NULL, 0);
}

static char *parent_path(const char *path, const struct blk_probe *probe)
{
    hv_autofree char *copy = strdup(path);
    char *next = NULL;

    if (!probe->parent_relative[0])
        return strdup(probe->parent_absolute);
    if (asprintf(&next, "%s/%s", dirname(copy), probe->parent_relative) < 0)
        return NULL;
    return next;
}

/* Files from `path` down to the one without parent, or to `last`. */
static int open_files(const char *path, bool is_writable, const char *last,
                      struct blk_image_file *ret, unsigned *ret_n)
{
    char *at = strdup(path);
    struct hv_error *error = NULL;
    struct stat end = { 0 }, st;
    struct blk_probe probe;
    int r;

    if (last && stat(last, &end) < 0)
        return fail(last, -errno, NULL);
    for (*ret_n = 0; *ret_n < BLK_CHAIN_MAX; (*ret_n)++) {
        struct blk_image_file *file = &ret[*ret_n];

        file->path = at;
        file->fd = open(at, O_RDWR | O_CLOEXEC);
        if (file->fd < 0)
            return fail(at, -errno, NULL);
        r = blk_image_probe(file->fd, at, NULL, &probe, &error);
        if (r < 0)
            return fail("probe", r, error);
        file->format = probe.format;
        (void)fstat(file->fd, &st);
        if (!probe.has_parent || (last && st.st_ino == end.st_ino)) {
            (*ret_n)++;
            return 0;
        }
        at = parent_path(at, &probe);
    }
    return fail(path, -ELOOP, NULL);
}

static struct blk_disk *open_disk(const char *path, bool is_writable)
{
    struct blk_image_file chain[BLK_CHAIN_MAX];
    struct hv_error *error = NULL;
    struct blk_disk *disk = NULL;
    unsigned n;
    int r;

    if (open_files(path, is_writable, NULL, chain, &n) != 0)
        exit(1);
    r = blk_image_open(chain, n, is_writable ? 0 : BLK_OPEN_READ_ONLY, &disk, &error);
    if (r < 0)
        exit(fail("open", r, error));
    return disk;
}

static struct blk_image_file open_one(const char *path)
{
    struct blk_image_file file = { .path = path };
    struct hv_error *error = NULL;
    struct blk_probe probe;
    int r;

    file.fd = open(path, O_RDWR | O_CLOEXEC);
    if (file.fd < 0)
        exit(fail(path, -errno, NULL));
    r = blk_image_probe(file.fd, path, NULL, &probe, &error);
    if (r < 0)
        exit(fail("probe", r, error));
    file.format = probe.format;
    return file;
}

static void use_parent(struct blk_create_options *options, struct blk_probe *probe,
                       const char *path)
{
    struct blk_image_file file = open_one(path);
    const char *base = strrchr(path, '/');

    (void)blk_image_probe(file.fd, path, &file.format, probe, NULL);
    options->parent = probe;
    options->parent_relative = base ? base + 1 : path;
    options->parent_absolute = path;
}

static int cmd_create(int argc, char **argv)
{
    struct blk_create_options options = { .format = word(formats, 3, argv[1]),
                                          .kind = word(kinds, 3, argv[2]),
                                          .bytes = number(argv[3]) };
    struct hv_error *error = NULL;
    struct blk_probe parent;
    int fd, r;

    if (argc > 4)
        options.block_bytes = (uint32_t)number(argv[4]);
    if (argc > 5)
        options.logical_bytes = (uint32_t)number(argv[5]);
    if (argc > 6)
        use_parent(&options, &parent, argv[6]);
    fd = open(argv[0], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    r = blk_image_create(fd, argv[0], &options, &error);
    return r < 0 ? fail("create", r, error) : 0;
}

static int cmd_info(int argc, char **argv)
{
    struct hv_error *error = NULL;
    struct blk_probe p;
    int fd = open(argv[0], O_RDONLY | O_CLOEXEC);
    int r = blk_image_probe(fd, argv[0], NULL, &p, &error);

    if (r < 0)
        return fail("probe", r, error);
    printf("format %s\nkind %s\nbytes %" PRIu64 "\nfile %" PRIu64 "\nlogical %u\nphysical %u\n"
           "block %u\nlog %d\nparent %s\nabsolute %s\n",
           formats[p.format], kinds[p.kind], p.bytes, p.file_bytes, p.logical_bytes,
           p.physical_bytes, p.block_bytes, p.is_log_pending, p.parent_relative, p.parent_absolute);
    return 0;
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static int change_one(struct blk_disk *disk, int model, const struct blk_info *info, uint64_t *seed)
{
    static uint8_t bytes[1 << 20], zeroes[1 << 20];
    uint64_t unit = info->logical_bytes, n = info->bytes / unit;
    uint64_t first = next_random(seed) % n, count = 1 + next_random(seed) % 300;
    unsigned what = next_random(seed) % 10;
    struct iovec iov;

    if (count > n - first)
        count = n - first;
    if (count * unit > sizeof(bytes))
        count = sizeof(bytes) / unit;
    iov = (struct iovec){ .iov_base = bytes, .iov_len = count * unit };
    if (what < 7) {
        for (size_t i = 0; i < iov.iov_len; i += 8)
            memcpy(bytes + i, &(uint64_t){ next_random(seed) }, 8);
        (void)!pwrite(model, bytes, iov.iov_len, (off_t)(first * unit));
        return blk_disk_write(disk, first * unit, &iov, 1, what == 0);
    }
    if (what == 9)
        return blk_disk_flush(disk);
    (void)!pwrite(model, zeroes, iov.iov_len, (off_t)(first * unit));
    return blk_disk_zero(disk, first * unit, iov.iov_len);
}

static int change(char **argv, bool is_closed)
{
    uint64_t seed = number(argv[0]) * 2 + 1, count = number(argv[1]);
    struct blk_disk *disk = open_disk(argv[2], true);
    int model = open(argv[3], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct blk_info info;
    int r = 0;

    blk_disk_get_info(disk, &info);
    if (ftruncate(model, (off_t)info.bytes) < 0)
        return fail("model", -errno, NULL);
    for (uint64_t i = 0; r == 0 && i < count; i++)
        r = change_one(disk, model, &info, &seed);
    if (r == 0)
        r = blk_disk_flush(disk);
    if (is_closed)
        blk_disk_close(disk);
    return r < 0 ? fail("random", r, NULL) : 0;
}

static int cmd_random(int argc, char **argv)
{
    return change(argv, true);
}

static int cmd_crash(int argc, char **argv)
{
    return change(argv, false);
}

static void print_problem(void *opaque, const char *code, const char *sentence)
{
    printf("%s: %s\n", code, sentence);
}

static int cmd_check(int argc, char **argv)
{
    struct blk_image_file file = open_one(argv[0]);
    struct hv_error *error = NULL;
    struct blk_check_result result;
    int r = blk_image_check(&file, print_problem, NULL, &result, &error);

    if (r < 0)
        return fail("check", r, error);
    printf("%u problems\n", result.n_problems);
    return result.n_problems != 0;
}

static int cmd_convert(int argc, char **argv)
{
    struct blk_create_options options = { .format = word(formats, 3, argv[2]),
                                          .kind = word(kinds, 3, argv[3]) };
    struct blk_disk *source = open_disk(argv[0], false), *parent = NULL;
    struct hv_error *error = NULL;
    struct blk_probe probe;
    int fd, r;

    if (argc > 4)
        options.block_bytes = (uint32_t)number(argv[4]);
    if (argc > 5) {
        use_parent(&options, &probe, argv[5]);
        parent = open_disk(argv[5], false);
    }
    fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    r = blk_image_convert(source, fd, argv[1], &options, parent, NULL, &error);
    blk_disk_close(source);
    blk_disk_close(parent);
    return r < 0 ? fail("convert", r, error) : 0;
}

static int cmd_resize(int argc, char **argv)
{
    struct blk_image_file file = open_one(argv[0]);
    struct hv_error *error = NULL;
    int r = blk_image_resize(&file, number(argv[1]), NULL, &error);

    return r < 0 ? fail("resize", r, error) : 0;
}

static int cmd_merge(int argc, char **argv)
{
    struct blk_image_file chain[BLK_CHAIN_MAX];
    struct hv_error *error = NULL;
    unsigned n;
    int r;

    if (open_files(argv[0], true, argv[1], chain, &n) != 0)
        return 1;
    r = blk_image_merge(chain, n, NULL, &error);
    return r < 0 ? fail("merge", r, error) : 0;
}

static int cmd_compact(int argc, char **argv)
{
    enum blk_compact_mode mode =
        strcmp(argv[1], "full") == 0 ? BLK_COMPACT_FULL : BLK_COMPACT_QUICK;
    struct blk_image_file file = open_one(argv[0]);
    struct hv_error *error = NULL;
    int r = blk_image_compact(&file, mode, NULL, &error);

    return r < 0 ? fail("compact", r, error) : 0;
}

static int cmd_reparent(int argc, char **argv)
{
    struct blk_image_file file = open_one(argv[0]);
    struct blk_create_options options = { 0 };
    struct hv_error *error = NULL;
    struct blk_probe parent;
    int r;

    use_parent(&options, &parent, argv[1]);
    r = blk_image_reparent(&file, &parent, options.parent_relative, options.parent_absolute, false,
                           &error);
    return r < 0 ? fail("reparent", r, error) : 0;
}

static const struct {
    const char *name;
    int n_least;
    int (*fn)(int argc, char **argv);
} commands[] = {
    { "create", 4, cmd_create },     { "info", 1, cmd_info },   { "random", 4, cmd_random },
    { "crash", 4, cmd_crash },       { "check", 1, cmd_check }, { "convert", 4, cmd_convert },
    { "resize", 2, cmd_resize },     { "merge", 2, cmd_merge }, { "compact", 2, cmd_compact },
    { "reparent", 2, cmd_reparent },
};

int main(int argc, char **argv)
{
    for (unsigned i = 0; argc > 1 && i < HV_ARRAY_SIZE(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0 && argc - 2 >= commands[i].n_least)
            return commands[i].fn(argc - 2, argv + 2);
    fprintf(stderr, "image-tool: unknown command or too few arguments\n");
    return 2;
}
