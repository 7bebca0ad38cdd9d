/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the library's memory comes from. Memory is taken at start; the data path takes none (B-4), which
 * a thread can have asserted between cf_alloc_forbid_enter and cf_alloc_forbid_leave.
 */
#ifndef CF_BASE_ALLOC_H
#define CF_BASE_ALLOC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"

#define CF_ALLOC_HUGE 1u /* hugepages where there are any; touched before it is returned */
#define CF_ALLOC_ZERO 2u /* all bytes zero */

#define CF_HUGE_PAGE_BYTES ((size_t)2 << 20)

#ifndef CF_ALLOCATOR_DEFINED
#define CF_ALLOCATOR_DEFINED
struct cf_allocator {
    size_t size; /* sizeof(struct cf_allocator) of the caller */
    void *ctx;
    /* NULL when there is no memory. align is a power of two. */
    void *(*alloc)(void *ctx, size_t bytes, size_t align, unsigned flags);
    /* bytes as given to alloc. */
    void (*free)(void *ctx, void *p, size_t bytes);
};
#endif

/* mmap: from 2 MiB on aligned to a hugepage, CF_ALLOC_HUGE prefers reserved pages, then transparent. */
const struct cf_allocator *cf_allocator_default(void);
/* The same in small pages that are touched when they are used: for a thousand instances in one process. */
const struct cf_allocator *cf_allocator_lazy(void);

/* Nested; per thread. While entered, the default allocator and cf_alloc assert (CF_DEBUG builds). */
void cf_alloc_forbid_enter(void);
void cf_alloc_forbid_leave(void);
bool cf_alloc_is_forbidden(void);

/* Shorthands; allocator may not be NULL, free of NULL does nothing. */
CF_CHECK void *cf_alloc(const struct cf_allocator *allocator, size_t bytes, size_t align, unsigned flags);
void cf_free(const struct cf_allocator *allocator, void *p, size_t bytes);

#endif
