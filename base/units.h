/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers with units, as people write them. Parsers read the whole string or refuse: 0, or -1 with *out
 * untouched. cf_parse_error says what was wrong with a text that a parser refused.
 */
#ifndef CF_BASE_UNITS_H
#define CF_BASE_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum cf_parse_kind { CF_PARSE_SIZE, CF_PARSE_DURATION, CF_PARSE_U64, CF_PARSE_DOUBLE, CF_PARSE_BOOL };

CF_CHECK int cf_parse_size(const char *text, uint64_t *bytes_out);  /* 8192, 8KiB, 64MiB, 1GiB, 4KB = 4000 */
CF_CHECK int cf_parse_duration(const char *text, uint64_t *ns_out); /* 200us, 5ms, 10s, 1m, 2h, 0 */
CF_CHECK int cf_parse_u64(const char *text, uint64_t *value_out);   /* decimal or 0x... */
CF_CHECK int cf_parse_double(const char *text, double *value_out);  /* finite */
CF_CHECK int cf_parse_bool(const char *text, bool *value_out);      /* true false yes no on off 1 0 */

/* One clause on why text is not a value of the kind; "" when it is one. */
void cf_parse_error(enum cf_parse_kind kind, const char *text, char *err, size_t err_bytes);

/* Shortest exact form with a unit: 64MiB, 200us, 1500ns. Returns buf. 32 bytes are always enough. */
char *cf_format_size(uint64_t bytes, char *buf, size_t buf_bytes);
char *cf_format_duration(uint64_t ns, char *buf, size_t buf_bytes);

#endif
