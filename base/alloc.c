/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/assert.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif

static _Thread_local unsigned forbid_depth;

void cf_alloc_forbid_enter(void)
{
    forbid_depth++;
}

void cf_alloc_forbid_leave(void)
{
    cf_assert(forbid_depth > 0);
    forbid_depth--;
}

bool cf_alloc_is_forbidden(void)
{
    return forbid_depth > 0;
}

/*
 * The length of a mapping follows from the bytes asked for alone, because free is told nothing else:
 * whole hugepages from one hugepage on, else whole pages. 0: too much.
 */
static size_t mapping_bytes(size_t bytes)
{
    size_t unit = bytes >= CF_HUGE_PAGE_BYTES ? CF_HUGE_PAGE_BYTES : (size_t)sysconf(_SC_PAGESIZE);

    if (bytes == 0 || bytes > SIZE_MAX / 2)
        return 0;
    return (bytes + unit - 1) / unit * unit;
}

static void *map(size_t length, int flags)
{
    void *p = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

/* A mapping at a multiple of align: maps align more and gives head and tail back. */
static void *map_aligned(size_t length, size_t align)
{
    size_t head, tail;
    char *p;

    if (length > SIZE_MAX - align)
        return NULL;
    p = map(length + align, 0);
    if (p == NULL)
        return NULL;
    head = (align - (uintptr_t)p % align) % align;
    tail = align - head;
    if (head > 0)
        munmap(p, head);
    if (tail > 0)
        munmap(p + head + length, tail);
    return p + head;
}

/* Touches every page now, so that the data path takes no fault for its first use. */
static void prefault(char *p, size_t length)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    if (madvise(p, length, MADV_POPULATE_WRITE) == 0)
        return;
    for (size_t at = 0; at < length; at += page)
        *(volatile char *)(p + at) = 0;
}

/* Fresh anonymous mappings are zero, which serves CF_ALLOC_ZERO. */
static void *default_alloc(void *ctx, size_t bytes, size_t align, unsigned flags)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t length = mapping_bytes(bytes);
    bool is_large = length >= CF_HUGE_PAGE_BYTES;
    void *p = NULL;

    (void)ctx;
    cf_assert_slow(!cf_alloc_is_forbidden()); /* B-4 */
    cf_assert(align != 0);
    cf_assert((align & (align - 1)) == 0);
    if (length == 0)
        return NULL;
    if (is_large && align < CF_HUGE_PAGE_BYTES)
        align = CF_HUGE_PAGE_BYTES;
    if (is_large && (flags & CF_ALLOC_HUGE) != 0 && align == CF_HUGE_PAGE_BYTES)
        p = map(length, MAP_HUGETLB | (21 << MAP_HUGE_SHIFT)); /* 2^21 bytes; fails when none is reserved */
    if (p == NULL) {
        p = align <= page ? map(length, 0) : map_aligned(length, align);
        /* Advice only: without transparent hugepages the memory is as good, and slower. */
        if (p != NULL && is_large && (flags & CF_ALLOC_HUGE) != 0)
            (void)madvise(p, length, MADV_HUGEPAGE);
    }
    if (p != NULL && (flags & CF_ALLOC_HUGE) != 0)
        prefault(p, length);
    return p;
}

static void default_free(void *ctx, void *p, size_t bytes)
{
    int rc;

    (void)ctx;
    if (p == NULL)
        return;
    rc = munmap(p, mapping_bytes(bytes));
    cf_assert(rc == 0);
}

const struct cf_allocator *cf_allocator_default(void)
{
    static const struct cf_allocator allocator = {
        .size = sizeof(struct cf_allocator),
        .ctx = NULL,
        .alloc = default_alloc,
        .free = default_free,
    };

    return &allocator;
}

static void *lazy_alloc(void *ctx, size_t bytes, size_t align, unsigned flags)
{
    return default_alloc(ctx, bytes, align, flags & ~CF_ALLOC_HUGE);
}

const struct cf_allocator *cf_allocator_lazy(void)
{
    static const struct cf_allocator allocator = {
        .size = sizeof(struct cf_allocator),
        .ctx = NULL,
        .alloc = lazy_alloc,
        .free = default_free,
    };

    return &allocator;
}

void *cf_alloc(const struct cf_allocator *allocator, size_t bytes, size_t align, unsigned flags)
{
    cf_assert_slow(!cf_alloc_is_forbidden()); /* B-4 */
    return allocator->alloc(allocator->ctx, bytes, align, flags);
}

void cf_free(const struct cf_allocator *allocator, void *p, size_t bytes)
{
    if (p != NULL)
        allocator->free(allocator->ctx, p, bytes);
}
