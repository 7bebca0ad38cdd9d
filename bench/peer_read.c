/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: how long does it take to read a block of 8 KiB from a file, past the page cache or out of it?
 *
 *   peer_read direct|cached FILE [ROUNDS]
 *
 * Blocks are drawn at random, one read after the other. FILE is made, 64 MiB, when it is not there.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/rng.h"
#include "base/units.h"
#include "bench/figures.h"

#define BLOCK_BYTES 8192u
#define BLOCKS 8192u
#define ROUNDS_DEFAULT 2000u
#define ALIGN_BYTES 4096u

static void stop(const char *what)
{
    fprintf(stderr, "peer_read: %s: %s\n", what, strerror(errno));
    exit(3);
}

/* Of random bytes: nothing below may have a shorter way to write or find them. */
static void file_make(const char *path, uint8_t *block)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct cf_rng rng;

    if (fd < 0 && errno == EEXIST)
        return;
    if (fd < 0)
        stop(path);
    cf_rng_seed(&rng, 1);
    for (uint32_t b = 0; b < BLOCKS; b++) {
        for (uint32_t i = 0; i < BLOCK_BYTES; i += 8) {
            uint64_t word = cf_rng_next(&rng);

            memcpy(block + i, &word, sizeof word);
        }
        if (write(fd, block, BLOCK_BYTES) != BLOCK_BYTES)
            stop("write");
    }
    if (fsync(fd) != 0 || close(fd) != 0)
        stop("sync");
}

int main(int argc, char **argv)
{
    bool is_direct = argc >= 3 && strcmp(argv[1], "direct") == 0;
    uint8_t *block = aligned_alloc(ALIGN_BYTES, BLOCK_BYTES);
    struct cf_hist *hist = malloc(sizeof *hist);
    uint64_t rounds = ROUNDS_DEFAULT;
    struct cf_rng rng;
    int fd;

    if (argc < 3 || (!is_direct && strcmp(argv[1], "cached") != 0) || block == NULL || hist == NULL ||
        (argc > 3 && cf_parse_u64(argv[3], &rounds) != 0) || rounds == 0) {
        fprintf(stderr, "usage: peer_read direct|cached FILE [ROUNDS]\n");
        return 2;
    }
    cf_hist_init(hist);
    file_make(argv[2], block);
    bench_pin(0);
    fd = open(argv[2], O_RDONLY | O_CLOEXEC | (is_direct ? O_DIRECT : 0));
    if (fd < 0 && is_direct && errno == EINVAL) {
        printf("not run: the file system of %s has no O_DIRECT\n", argv[2]);
        return 0;
    }
    if (fd < 0)
        stop(argv[2]);
    for (uint32_t b = 0; !is_direct && b < BLOCKS; b++)
        if (pread(fd, block, BLOCK_BYTES, (off_t)b * BLOCK_BYTES) != BLOCK_BYTES)
            stop("read");
    cf_rng_seed(&rng, (uint64_t)getpid());
    for (uint64_t i = 0; i < rounds; i++) {
        off_t offset = (off_t)cf_rng_below(&rng, BLOCKS) * BLOCK_BYTES;
        uint64_t begin_ns = cf_now_ns();

        if (pread(fd, block, BLOCK_BYTES, offset) != BLOCK_BYTES)
            stop("read");
        cf_hist_add(hist, cf_now_ns() - begin_ns);
    }
    bench_distribution("fetch-8KiB", hist);
    close(fd);
    free(hist);
    free(block);
    return 0;
}
