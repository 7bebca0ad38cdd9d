/* SPDX-License-Identifier: Apache-2.0 */
/* The walk beside the caches: plain reads of the file, nothing of the engine but the layout of a block. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/format.h"
#include "tools/workload/workload.h"

#define DIGEST_BUFFER_BYTES 65536u

/* Bytes read, short at the end of the file; -1 with errno. */
static ssize_t read_at(int fd, void *buffer, size_t bytes, uint64_t offset)
{
    size_t got = 0;

    while (got < bytes) {
        ssize_t count = pread(fd, (char *)buffer + got, bytes - got, (off_t)(offset + got));

        if (count == 0)
            break;
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -1;
        got += (size_t)count;
    }
    return (ssize_t)got;
}

static enum cf_rc walk(struct wl_plan *plan, int fd, uint32_t block_bytes, uint8_t *image,
                       struct wl_sums *sums_out, char *text, size_t text_bytes)
{
    const uint8_t *data = image + ENG_BLOCK_HEADER_BYTES;
    uint64_t block = 0;
    ssize_t got;

    for (;; block++) {
        got = read_at(fd, image, block_bytes, (block + 1) * block_bytes);
        if (got != (ssize_t)block_bytes)
            break;
        if (block == WL_HEAD_BLOCK) {
            enum cf_rc rc = wl_head_adopt(plan, (const struct wl_head *)(const void *)data, text, text_bytes);

            if (rc != CF_OK)
                return rc;
        } else {
            plan->workload->inspect(plan, block, data, sums_out);
        }
    }
    if (got != 0) {
        snprintf(text, text_bytes, "block %llu: %s", (unsigned long long)block,
                 got < 0 ? strerror(errno) : "the file ends inside it");
        return CF_IO;
    }
    return CF_OK;
}

enum cf_rc wl_plain(struct wl_plan *plan, const char *path, uint32_t block_bytes, struct wl_sums *sums_out,
                    char *text, size_t text_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *image;
    enum cf_rc rc;

    memset(sums_out, 0, sizeof(*sums_out));
    if (fd < 0) {
        snprintf(text, text_bytes, "%s: %s", path, strerror(errno));
        return CF_IO;
    }
    image = aligned_alloc(64, block_bytes);
    if (image == NULL) {
        close(fd);
        snprintf(text, text_bytes, "no memory for a block");
        return CF_MEMORY;
    }
    rc = walk(plan, fd, block_bytes, image, sums_out, text, text_bytes);
    free(image);
    close(fd);
    return rc;
}

enum cf_rc wl_digest(const char *path, uint8_t digest_out[WL_DIGEST_BYTES], uint64_t *bytes_out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    crypto_hash_sha256_state state;
    uint8_t *buffer;
    uint64_t bytes = 0;
    ssize_t got = -1;

    if (fd < 0)
        return errno == ENOENT ? CF_NOT_FOUND : CF_IO;
    buffer = malloc(DIGEST_BUFFER_BYTES);
    crypto_hash_sha256_init(&state);
    while (buffer != NULL && (got = read_at(fd, buffer, DIGEST_BUFFER_BYTES, bytes)) > 0) {
        crypto_hash_sha256_update(&state, buffer, (unsigned long long)got);
        bytes += (uint64_t)got;
    }
    crypto_hash_sha256_final(&state, digest_out);
    free(buffer);
    close(fd);
    *bytes_out = bytes;
    return got == 0 ? CF_OK : CF_IO;
}

void wl_digest_text(const uint8_t digest[WL_DIGEST_BYTES], char text[2 * WL_DIGEST_BYTES + 1])
{
    sodium_bin2hex(text, 2 * WL_DIGEST_BYTES + 1, digest, WL_DIGEST_BYTES);
}
