/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_LOCK_REPORT_H
#define GRD_LOCK_REPORT_H

/*
 * Filling a caller's array with reports to the deadlock detector, a part at a time. The cursor holds where to go
 * on: number of the record, and how many of its reports have been told. What changes between two parts may be
 * told twice or not in this round; the next one mends it.
 */
#include <cachefusion/types.h>

#include "grd/detect.h"

/* Records looked at in one part: some microseconds. */
#define GRD_LOCK_SCAN_MAX 512u

struct grd_lock_reports {
    struct grd_detect_report *item;
    uint32_t item_max, count;
    uint32_t told; /* of the record at hand, by this part and those before */
    uint32_t skip; /* of them, by those before */
    bool is_full;
};

static inline struct grd_detect_report *grd_lock_reports_add(struct grd_lock_reports *reports)
{
    if (reports->skip > 0) {
        reports->skip--;
        return NULL;
    }
    if (reports->count == reports->item_max) {
        reports->is_full = true;
        return NULL;
    }
    reports->told++;
    return &reports->item[reports->count++];
}

static inline void grd_lock_reports_resume(struct grd_lock_reports *reports, uint64_t cursor,
                                           uint32_t *record_out)
{
    *record_out = (uint32_t)(cursor >> 32);
    reports->told = reports->skip = (uint32_t)cursor;
}

/* The record has told all it has. */
static inline void grd_lock_reports_next(struct grd_lock_reports *reports)
{
    reports->told = reports->skip = 0;
}

static inline uint64_t grd_lock_reports_cursor(const struct grd_lock_reports *reports, uint32_t record)
{
    return (uint64_t)record << 32 | reports->told;
}

/* A block in 64 bits: file and number as far as they go. */
static inline uint64_t grd_block_report_key(const struct cf_block_key *key)
{
    return (uint64_t)key->file << 40 | (key->block & ((UINT64_C(1) << 40) - 1));
}

/* A demand's number in the place of an ask's: the two never meet. */
#define GRD_LOCK_REPORT_DEMAND (UINT64_C(1) << 63)

/* A grant's id changes with each grant and each change of its mode. */
static inline uint64_t grd_lock_grant_id(uint64_t tenure, uint8_t mode)
{
    return tenure << 3 | mode;
}

#endif
