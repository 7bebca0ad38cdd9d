/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/shm/region.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "transport/shm/layout.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef MFD_HUGE_2MB
#define MFD_HUGE_2MB (21u << 26)
#endif

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

void xp_shm_region_clear(struct xp_shm_region *region)
{
    *region = (struct xp_shm_region){.fd = -1};
}

void xp_shm_region_close(struct xp_shm_region *region)
{
    if (region->base != NULL)
        munmap(region->base, region->map_bytes);
    if (region->fd >= 0)
        close(region->fd);
    xp_shm_region_clear(region);
}

static uint64_t round_up(uint64_t bytes, uint64_t unit)
{
    return (bytes + unit - 1) / unit * unit;
}

static bool map_new(struct xp_shm_region *region, const char *name, uint64_t bytes, bool huge)
{
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING | (huge ? MFD_HUGETLB | MFD_HUGE_2MB : 0);
    uint64_t map_bytes = round_up(bytes, huge ? CF_HUGE_PAGE_BYTES : XP_SHM_PAGE_BYTES);
    int fd = memfd_create(name, flags);
    void *base;

    if (fd < 0)
        return false;
    base = MAP_FAILED;
    if (ftruncate(fd, (off_t)map_bytes) == 0)
        base = mmap(NULL, map_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        int saved = errno;
        close(fd);
        errno = saved;
        return false;
    }
    *region = (struct xp_shm_region){
        .fd = fd, .base = base, .bytes = bytes, .map_bytes = map_bytes, .is_huge = huge};
    return true;
}

/* fallocate reports a lack of memory, where a touch would raise SIGBUS; the touch then maps the page. */
static bool prefault(struct xp_shm_region *region)
{
    uint64_t step = region->is_huge ? CF_HUGE_PAGE_BYTES : XP_SHM_PAGE_BYTES;

    if (!region->is_huge && region->map_bytes >= CF_HUGE_PAGE_BYTES)
        (void)madvise(region->base, region->map_bytes,
                      MADV_HUGEPAGE); /* a hint: refused on kernels without it */
    if (fallocate(region->fd, 0, 0, (off_t)region->map_bytes) != 0)
        return false;
    for (uint64_t at = 0; at < region->map_bytes; at += step)
        *(volatile uint8_t *)((uint8_t *)region->base + at) = 0;
    return true;
}

enum cf_rc xp_shm_region_create(struct xp_shm_region *region, const char *name, uint64_t bytes, bool huge,
                                int *errno_out)
{
    bool mapped = false;

    cf_assert(bytes > 0);
    xp_shm_region_clear(region);
    if (huge && bytes >= CF_HUGE_PAGE_BYTES) {
        mapped = map_new(region, name, bytes, true);
        if (mapped && !prefault(region)) {
            xp_shm_region_close(region);
            mapped = false;
        }
    }
    if (!mapped && !(map_new(region, name, bytes, false) && prefault(region)))
        goto undo_region;
    if (fcntl(region->fd, F_ADD_SEALS, SEALS) != 0)
        goto undo_region;
    return CF_OK;

undo_region:
    *errno_out = errno;
    xp_shm_region_close(region);
    return *errno_out == ENOMEM || *errno_out == ENOSPC ? CF_MEMORY : CF_SYSTEM;
}

const char *xp_shm_region_attach(struct xp_shm_region *region, int fd, uint64_t bytes)
{
    struct stat facts;
    int seals = fcntl(fd, F_GET_SEALS);
    const char *why = NULL;

    xp_shm_region_clear(region);
    region->fd = fd;
    if (seals < 0 || (seals & SEALS) != SEALS)
        why = "its memory is not sealed";
    else if (fstat(fd, &facts) != 0 || facts.st_size < 0 || (uint64_t)facts.st_size < bytes)
        why = "its memory is smaller than it said";
    if (why == NULL) {
        uint64_t map_bytes = (uint64_t)facts.st_size;
        void *base = mmap(NULL, map_bytes, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
        if (base == MAP_FAILED) {
            why = "its memory cannot be mapped";
        } else {
            region->base = base;
            region->bytes = bytes;
            region->map_bytes = map_bytes;
        }
    }
    if (why != NULL)
        xp_shm_region_close(region);
    return why;
}
