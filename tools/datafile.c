/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/datafile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fs.h>

#include "engine/format.h"

static enum cf_rc fail(struct cf_error *error, const char *path, int system)
{
    memset(error, 0, sizeof(*error));
    error->rc = CF_IO;
    error->system = system;
    error->node = CF_NODE_NONE;
    snprintf(error->text, sizeof(error->text), "%.180s: %s", path, strerror(system));
    return CF_IO;
}

static enum cf_rc length_of(int fd, const char *path, uint64_t *bytes_out, struct cf_error *error)
{
    struct stat status;

    if (fstat(fd, &status) != 0)
        return fail(error, path, errno);
    *bytes_out = (uint64_t)status.st_size;
    if (S_ISBLK(status.st_mode) && ioctl(fd, BLKGETSIZE64, bytes_out) != 0)
        return fail(error, path, errno);
    if (S_ISDIR(status.st_mode))
        return fail(error, path, EISDIR);
    return CF_OK;
}

enum cf_rc datafile_probe(const char *path, struct datafile *file_out, struct cf_error *error)
{
    uint64_t first[CF_BLOCK_BYTES_MIN / sizeof(uint64_t)] = {0};
    const struct eng_super *super = eng_super_of(first);
    struct cf_error ignored;
    ssize_t got;
    enum cf_rc rc;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    memset(file_out, 0, sizeof(*file_out));
    if (fd < 0)
        return errno == ENOENT ? CF_OK : fail(error, path, errno);
    file_out->exists = true;
    rc = length_of(fd, path, &file_out->bytes, error);
    got = rc == CF_OK ? pread(fd, first, sizeof(first), 0) : 0;
    if (got < 0)
        rc = fail(error, path, errno);
    close(fd);
    _Static_assert(sizeof(file_out->cluster) > sizeof(super->cluster), "a zero byte behind the name");
    if (rc != CF_OK || got != (ssize_t)sizeof(first) ||
        eng_super_probe(first, sizeof(first), &file_out->block_bytes, &ignored) != CF_OK)
        return rc;
    file_out->is_native = true;
    file_out->file_id = super->file_id;
    file_out->blocks = super->blocks;
    memcpy(file_out->cluster, super->cluster, sizeof(super->cluster));
    file_out->is_unclean = super->attached != 0;
    return CF_OK;
}
