/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHEFUSION_STATUS_H
#define CACHEFUSION_STATUS_H

/*
 * Result codes. Every call that can fail returns enum cf_rc: CF_OK is 0, everything else is negative and
 * belongs to one of four classes. Details of the last failure of a session are in cf_session_error().
 */
#include <stddef.h>
#include <stdint.h>

#include <cachefusion/export.h>

#ifdef __cplusplus
extern "C" {
#endif

enum cf_rc {
#define CF_STATUS(name, value, cls, meaning, remedy) name = value,
#include <cachefusion/status.def>
#undef CF_STATUS
};

enum cf_rc_class {
    CF_CLASS_NONE = 0,   /* success */
    CF_CLASS_RETRY = 1,  /* nothing is wrong: try again */
    CF_CLASS_CALLER = 2, /* the caller's mistake, or the operator's */
    CF_CLASS_PEER = 3,   /* an instance was lost; sticky until the instance is closed */
    CF_CLASS_FATAL = 4,  /* this instance cannot go on; sticky until it is closed */
};

/* What went wrong, in words and numbers. Filled by the calls that take one; text always ends in a zero byte. */
struct cf_error {
    int32_t rc;     /* enum cf_rc */
    int32_t system; /* errno of the system call behind it, 0 when there is none */
    uint16_t node;  /* the instance concerned, or 0xffff */
    uint16_t reserved[3];
    char text[232];
};

/* "CF_TIMEOUT", never NULL. Any thread. */
CF_API const char *cf_rc_name(enum cf_rc rc);
/* One sentence in English: what it means. Never NULL. Any thread. */
CF_API const char *cf_rc_text(enum cf_rc rc);
/* One sentence in English: what the caller should do. Never NULL. Any thread. */
CF_API const char *cf_rc_remedy(enum cf_rc rc);
/* The class of a code. Any thread. */
CF_API enum cf_rc_class cf_rc_class(enum cf_rc rc);

#ifdef __cplusplus
}
#endif
#endif
