/* SPDX-License-Identifier: Apache-2.0 */
/* Runs in a Linux guest: read a disk at random with many requests in flight.
 *   deep DEVICE DEPTH REQUESTS
 * Or be busy for as long, without any, to see what time alone costs.
 *   deep spin MILLISECONDS */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BYTES = 4096, DEPTH_MAX = 256 };

struct reader {
    aio_context_t context;
    int fd;
    uint64_t n_places, seed;
    struct iocb blocks[DEPTH_MAX];
};

static void die(const char *what)
{
    (void)printf("deep: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* One by one, as a program does whose requests come from many places */
static void submit(struct reader *reader, struct iocb *block)
{
    reader->seed = reader->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    block->aio_offset = (int64_t)((reader->seed >> 33) % reader->n_places * BYTES);
    if (syscall(SYS_io_submit, reader->context, 1L, &block) != 1)
        die("io_submit");
}

/* Wait for some, and send as many anew while there are any left to send. */
static unsigned reap(struct reader *reader, unsigned depth, unsigned *left)
{
    struct io_event events[DEPTH_MAX];
    long n = syscall(SYS_io_getevents, reader->context, 1L, (long)depth, events, NULL);

    if (n < 1)
        die("io_getevents");
    for (long i = 0; i < n; i++) {
        if (events[i].res != BYTES)
            die("a read came back short");
        if (*left > 0) {
            (*left)--;
            submit(reader, (struct iocb *)(uintptr_t)events[i].obj);
        }
    }
    return (unsigned)n;
}

static void read_all(struct reader *reader, unsigned depth, unsigned requests)
{
    char *memory = aligned_alloc(BYTES, (size_t)depth * BYTES);
    unsigned left = requests - depth, done = 0;

    if (!memory)
        die("memory");
    for (unsigned i = 0; i < depth; i++) {
        reader->blocks[i] = (struct iocb){ .aio_lio_opcode = IOCB_CMD_PREAD,
                                           .aio_fildes = (uint32_t)reader->fd,
                                           .aio_buf = (uintptr_t)(memory + (size_t)i * BYTES),
                                           .aio_nbytes = BYTES };
        submit(reader, &reader->blocks[i]);
    }
    while (done < requests)
        done += reap(reader, depth, &left);
    free(memory);
}

static uint64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int spin(unsigned ms)
{
    uint64_t start = now_ms();

    while (now_ms() - start < ms)
        ;
    (void)printf("deep: spun %u ms\n", ms);
    return 0;
}

int main(int argc, char **argv)
{
    unsigned depth = argc == 4 ? (unsigned)atoi(argv[2]) : 0;
    unsigned requests = argc == 4 ? (unsigned)atoi(argv[3]) : 0;
    struct reader reader = { .seed = 1 };
    uint64_t bytes, start;

    if (argc == 3 && strcmp(argv[1], "spin") == 0)
        return spin((unsigned)atoi(argv[2]));
    if (depth < 1 || depth > DEPTH_MAX || requests < depth) {
        (void)fprintf(stderr, "Usage: deep DEVICE DEPTH REQUESTS | deep spin MS\n");
        return 2;
    }
    reader.fd = open(argv[1], O_RDONLY | O_DIRECT);
    if (reader.fd < 0 || ioctl(reader.fd, BLKGETSIZE64, &bytes) < 0 || bytes < BYTES)
        die(argv[1]);
    reader.n_places = bytes / BYTES;
    if (syscall(SYS_io_setup, (long)depth, &reader.context) < 0)
        die("io_setup");
    start = now_ms();
    read_all(&reader, depth, requests);
    (void)printf("deep: %u reads, %u in flight, %" PRIu64 " ms\n", requests, depth,
                 now_ms() - start);
    return 0;
}
